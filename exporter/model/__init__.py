"""The values that the exporter passes from stage to stage: plain and frozen.

Number points are parallel numpy columns, because there are millions of them; everything rarer is
one small object each. Times are nanoseconds since 1970 UTC, as on the wire; a backend converts them
to its own resolution. A start time of 0 is unknown.
"""

from exporter.model.batch import Batch, DeadLetter, DeadLetterKind, Watermark
from exporter.model.costs import (
    NO_COST_COUNTS,
    CostBasis,
    CostCounts,
    CostEntry,
    CostFalls,
    CostKind,
    CostPoint,
    CostSample,
    CostSource,
    CostStream,
    CostUpdate,
    SeriesPoint,
    StoredCost,
)
from exporter.model.histograms import Exemplar, ExponentialBuckets, HistogramPoint, SummaryPoint
from exporter.model.points import NO_POINTS, Int64Array, Points
from exporter.model.results import StoreSizes, TableSize, WriteResult
from exporter.model.series import MetricType, Series, Temporality

__all__ = [
    "NO_COST_COUNTS",
    "NO_POINTS",
    "Batch",
    "CostBasis",
    "CostCounts",
    "CostEntry",
    "CostFalls",
    "CostKind",
    "CostPoint",
    "CostSample",
    "CostSource",
    "CostStream",
    "CostUpdate",
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
    "StoredCost",
    "SummaryPoint",
    "TableSize",
    "Temporality",
    "Watermark",
    "WriteResult",
]
