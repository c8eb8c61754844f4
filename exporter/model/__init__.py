"""The values that travel through the exporter: plain, frozen, and without behaviour of their own.

Number points travel as parallel numpy columns, because there are millions of them; everything
rarer travels as one small object each. Times are nanoseconds since 1970 UTC, as on the wire; a
backend converts them to its own resolution. A start time of 0 means that it is unknown.
"""

from exporter.model.batch import Batch, DeadLetter, DeadLetterKind, Watermark
from exporter.model.costs import (
    CostBasis,
    CostCursor,
    CostEntry,
    CostKind,
    CostPoint,
    CostSample,
    CostSource,
    SeriesPoint,
)
from exporter.model.histograms import Exemplar, ExponentialBuckets, HistogramPoint, SummaryPoint
from exporter.model.points import NO_POINTS, Int64Array, Points
from exporter.model.results import StoreSizes, TableSize, WriteResult
from exporter.model.series import MetricType, Series, Temporality

__all__ = [
    "NO_POINTS",
    "Batch",
    "CostBasis",
    "CostCursor",
    "CostEntry",
    "CostKind",
    "CostPoint",
    "CostSample",
    "CostSource",
    "DeadLetter",
    "DeadLetterKind",
    "Exemplar",
    "ExponentialBuckets",
    "HistogramPoint",
    "Int64Array",
    "MetricType",
    "Points",
    "Series",
    "SeriesPoint",
    "StoreSizes",
    "SummaryPoint",
    "TableSize",
    "Temporality",
    "Watermark",
    "WriteResult",
]
