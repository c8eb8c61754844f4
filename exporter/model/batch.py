"""What one transaction stores."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from exporter.model.costs import CostEntry, CostSample, CostStream
from exporter.model.histograms import Exemplar, HistogramPoint, SummaryPoint
from exporter.model.lazy_sequence import concatenate
from exporter.model.points import NO_POINTS, Points
from exporter.model.series import Series

DeadLetterKind = Literal["point", "histogram", "summary", "exemplar", "series", "cost"]


@dataclass(frozen=True, slots=True)
class Watermark:
    """The position of a writer, committed with the batch that reaches it.

    Attributes:
        writer_id: names the writer, the same after its restart.
        sequence: 1 or more; grows from batch to batch of the writer.
    """

    writer_id: str
    sequence: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One row that a backend refused for its content, in a form that every backend can store.

    Attributes:
        kind: of the row; with a series all of its points in the batch are refused.
        reason: the backend's error message.
        series_id: of the row, or of the series itself; 0 for a cost entry without a series.
        metric_name: its first characters; None if the batch did not define the series.
        time_unix_nano: of the row; None for a series.
        content: JSON object with the fields of the refused value, under the names in this package;
            NaN and infinities are the strings "NaN", "Infinity" and "-Infinity".
    """

    kind: DeadLetterKind
    reason: str
    series_id: int
    metric_name: str | None
    time_unix_nano: int | None
    content: str


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction stores: points of every kind, costs, and the definitions of new series.

    Its rows are its points, histograms, summaries, exemplars, costs and cost samples, in this
    order.

    Attributes:
        new_series: the definition of every series that the backend may not have yet. Writing one
            that it already has is harmless.
        points: of gauges and sums.
        histograms: of both kinds; may be columns whose rows are made when first read.
        summaries: summary points.
        exemplars: may be columns whose rows are made when first read.
        watermark: with one the backend stores the batch once, however often it is written.
        dead_letters: rows that the backend refused; they are stored in a table of their own.
        costs: complete cost entries.
        cost_samples: points from which the backend computes cost entries.
        cost_streams: no rows: the streams of a store that was copied.
    """

    new_series: tuple[Series, ...] = ()
    points: Points = field(default_factory=lambda: NO_POINTS)
    histograms: Sequence[HistogramPoint] = ()
    summaries: tuple[SummaryPoint, ...] = ()
    exemplars: Sequence[Exemplar] = ()
    watermark: Watermark | None = None
    dead_letters: tuple[DeadLetter, ...] = ()
    costs: tuple[CostEntry, ...] = ()
    cost_samples: tuple[CostSample, ...] = ()
    cost_streams: tuple[CostStream, ...] = ()

    @property
    def rows(self) -> int:
        """Number of data points of any type, exemplars, costs and cost samples."""
        return self.entries + len(self.exemplars) + len(self.cost_samples)

    @property
    def entries(self) -> int:
        """Number of data points of any type and complete cost entries.

        Exemplars and cost samples belong to points, so they are not counted.
        """
        return len(self.points) + len(self.histograms) + len(self.summaries) + len(self.costs)

    def without(self, series_ids: Collection[int]) -> Batch:
        """The batch without the points, exemplars and cost samples of these series."""
        if not series_ids:
            return self
        kept = ~np.isin(self.points.series_id, np.fromiter(series_ids, np.int64))
        rows: dict[str, Any] = {
            name: tuple(row for row in getattr(self, name) if row.series_id not in series_ids)
            for name in _ROWS_OF_SERIES
        }
        return replace(self, points=self.points.take(np.flatnonzero(kept)), **rows)

    def take(self, positions: npt.NDArray[np.intp]) -> Batch:
        """The batch with only these rows; definitions, watermark and dead letters stay.

        Args:
            positions: of the wanted rows, ascending.
        """
        rows: dict[str, Any] = {}
        begin = len(self.points)
        for name in _OBJECT_ROWS:
            items = getattr(self, name)
            first, end = np.searchsorted(positions, (begin, begin + len(items)))
            rows[name] = tuple(items[index] for index in (positions[first:end] - begin).tolist())
            begin += len(items)
        points = self.points.take(positions[: np.searchsorted(positions, len(self.points))])
        return replace(self, points=points, **rows)

    @classmethod
    def merge(cls, parts: Iterable[Batch]) -> Batch:
        """One batch with the rows of all parts in their order, and the last watermark.

        The parts come from one writer in its order, so the last watermark covers all of them.
        """
        parts = list(parts)
        if len(parts) == 1:
            return parts[0]

        def all_of(name: str) -> tuple[Any, ...]:
            return tuple(item for part in parts for item in getattr(part, name))

        return cls(
            new_series=all_of("new_series"),
            points=Points.concatenate(part.points for part in parts),
            histograms=concatenate([part.histograms for part in parts]),
            summaries=all_of("summaries"),
            exemplars=concatenate([part.exemplars for part in parts]),
            watermark=next(
                (part.watermark for part in reversed(parts) if part.watermark is not None), None
            ),
            dead_letters=all_of("dead_letters"),
            costs=all_of("costs"),
            cost_samples=all_of("cost_samples"),
            cost_streams=all_of("cost_streams"),
        )


# The rows besides the points, in the order of `Batch.take`.
_OBJECT_ROWS: Final = ("histograms", "summaries", "exemplars", "costs", "cost_samples")
_ROWS_OF_SERIES: Final = ("histograms", "summaries", "exemplars", "cost_samples")
