"""The rows for which the statements of the pages about the schema have answers."""

from __future__ import annotations

from decimal import Decimal

from exporter.backends.dead_letters import dead_letter_of_series, dead_letters_of_rows
from exporter.model import Batch, CostEntry
from kit.backends.samples import SECOND, batch_of, exemplar, histogram, point, series


def documented_rows(time: int) -> Batch:
    """A batch with rows in the ten minutes after `time`, in nanoseconds."""
    return batch_of(
        *(point(1, time + index * SECOND, 0.5) for index in range(600)),
        point(2, time, float("nan")),
        point(2, time + SECOND, recorded=False),
        *(point(3, time + index * SECOND, index % 200, start=time) for index in range(400)),
        new_series=(
            series(1, attributes='{"cpu":0,"state":"user"}'),
            series(2, attributes='{"cpu":0,"state":"idle"}'),
            series(
                3,
                metric_name="system.network.io",
                metric_type="sum",
                temporality="cumulative",
                is_monotonic=True,
            ),
            series(
                4,
                metric_name="http.server.request.duration",
                metric_type="histogram",
                temporality="delta",
                unit="s",
            ),
        ),
        histograms=(histogram(4, time), histogram(4, time + SECOND)),
        exemplars=(exemplar(4, time), exemplar(4, time, value=9.0, trace_id="f" * 32)),
        costs=(
            CostEntry("e-1", time, "vm-1", "compute", Decimal("1.25"), "USD"),
            CostEntry("e-2", time, "vm-1", "compute", Decimal("-0.5"), "USD"),
        ),
        dead_letters=(
            dead_letter_of_series(series(9, attributes='{"cpu":9}'), "too long"),
            *dead_letters_of_rows(batch_of(point(1), point(9)), "too large", {}),
        ),
    )
