"""The content of the stores of earlier versions in `tests/migrations`.

`sqlite_NNNN.sql` is the dump of a store with `BATCH` whose schema had version NNNN. The dump of a
released version is never written again, because it must come from that version.
"""

from __future__ import annotations

import math
from typing import Final

from exporter.model import Batch
from kit.backends.samples import (
    NOW,
    SECOND,
    batch_of,
    exemplar,
    exponential,
    histogram,
    point,
    series,
    summary,
)

BATCH: Final[Batch] = batch_of(
    point(1, value=0.25),
    point(1, NOW + SECOND, value=math.nan),
    point(1, NOW + 2 * SECOND, recorded=False),
    point(-2, value=42.0, start=NOW - SECOND),
    point(-2, NOW + SECOND, value=math.inf, start=NOW - SECOND),
    new_series=(
        series(1),
        series(-2, metric_type="sum", temporality="cumulative", is_monotonic=True, unit="By"),
        series(3, metric_type="histogram", temporality="delta", service_name=None),
        series(4, metric_type="exponential_histogram", temporality="delta", description="Größe"),
        series(5, metric_type="summary", resource_schema_url="https://example.org/1"),
    ),
    histograms=(histogram(3), exponential(4)),
    summaries=(summary(5, values=(5.0, math.nan)),),
    exemplars=(exemplar(3), exemplar(3, value=math.nan)),
)
