"""The tables of a store: their columns, kinds of value and keys, once for every backend. Pure.

Writing, reading, copying between stores and exporting to files all take names, order and types from
here. The SQL migrations create the tables; a test compares them with this description.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

__all__ = [
    "COST_ENTRIES",
    "COST_STREAMS",
    "EXEMPLARS",
    "FACT_TABLES",
    "HISTOGRAMS",
    "POINTS",
    "SERIES",
    "SQL_TYPES",
    "SUMMARIES",
    "Column",
    "Kind",
    "Table",
]

Kind = Literal[
    "time",
    "id",
    "number",
    "count",
    "integer",
    "boolean",
    "text",
    "json",
    "numbers",
    "counts",
    "amount",
]

SQL_TYPES: Final[Mapping[str, Mapping[Kind, str]]] = {
    "sqlite": {
        "time": "INTEGER",  # microseconds since 1970 UTC
        "id": "INTEGER",
        "number": "REAL",
        "count": "INTEGER",
        "integer": "INTEGER",
        "boolean": "INTEGER",
        "text": "TEXT",
        "json": "TEXT",
        "numbers": "TEXT",  # JSON arrays
        "counts": "TEXT",
        # The columns <name>_units, <name>_nanos and <name>_attos: sums of integers are exact.
        "amount": "INTEGER",
    },
    "postgresql": {
        "time": "timestamp with time zone",
        "id": "bigint",
        "number": "double precision",
        "count": "bigint",
        "integer": "integer",
        "boolean": "boolean",
        "text": "text",
        "json": "jsonb",
        "numbers": "double precision[]",
        "counts": "numeric(20,0)[]",  # OTLP's bucket counts are unsigned 64-bit integers
        "amount": "numeric",
    },
}
"""The type of each kind of column, by `Dialect.name`."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        name: as in docs/schema.md.
        kind: what its values are.
        nullable: whether it may be NULL.
    """

    name: str
    kind: Kind
    nullable: bool = False


# Compared by identity: as a key of a cache, a hash of all columns would take 2 to 5 us.
@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """One table.

    Attributes:
        name: as in docs/schema.md.
        columns: those that the exporter writes, in the order of the table.
        key: names of the columns that identify a row.
        replaces: whether a row with the key of a stored row replaces it; otherwise it is left out.
    """

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ("timestamp", "series_id")
    replaces: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its columns, in their order."""
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> Column:
        """The column with this name.

        Raises:
            KeyError: the table has no such column.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"{self.name} has no column {name}")


def _columns(kind: Kind, *names: str, nullable: bool = False) -> tuple[Column, ...]:
    return tuple(Column(name, kind, nullable) for name in names)


_TIMESTAMP: Final = Column("timestamp", "time")
_SERIES_ID: Final = Column("series_id", "id")
_START_TIMESTAMP: Final = Column("start_timestamp", "time", nullable=True)
# Points of one series and time that have other starts are of several processes.
_POINT_KEY: Final = ("timestamp", "series_id", "start_timestamp")

SERIES: Final = Table(
    "metric_series",
    (
        _SERIES_ID,
        *_columns("text", "metric_name", "metric_type", "unit", "description"),
        Column("temporality", "text", nullable=True),
        Column("is_monotonic", "boolean", nullable=True),
        *_columns("text", "cluster_id", "node_id"),
        Column("service_name", "text", nullable=True),
        Column("resource", "json"),
        Column("resource_schema_url", "text"),
        Column("scope", "json"),
        Column("scope_schema_url", "text"),
        Column("attributes", "json"),
    ),
    key=("series_id",),
)
"""One row a series. The database fills one more column, first_seen."""

POINTS: Final = Table(
    "system_metrics",
    (_TIMESTAMP, _SERIES_ID, Column("value", "number", nullable=True), _START_TIMESTAMP),
    key=_POINT_KEY,
)

HISTOGRAMS: Final = Table(
    "metric_histograms",
    (
        _TIMESTAMP,
        _SERIES_ID,
        _START_TIMESTAMP,
        Column("count", "count", nullable=True),
        *_columns("number", "sum", "min", "max", nullable=True),
        # Explicit histograms have the next two, exponential ones the seven after them.
        Column("bounds", "numbers", nullable=True),
        Column("bucket_counts", "counts", nullable=True),
        Column("scale", "integer", nullable=True),
        Column("zero_count", "count", nullable=True),
        Column("zero_threshold", "number", nullable=True),
        Column("positive_offset", "integer", nullable=True),
        Column("positive_counts", "counts", nullable=True),
        Column("negative_offset", "integer", nullable=True),
        Column("negative_counts", "counts", nullable=True),
    ),
    key=_POINT_KEY,
)

SUMMARIES: Final = Table(
    "metric_summaries",
    (
        _TIMESTAMP,
        _SERIES_ID,
        _START_TIMESTAMP,
        Column("count", "count", nullable=True),
        Column("sum", "number", nullable=True),
        *_columns("numbers", "quantiles", "quantile_values"),
    ),
    key=_POINT_KEY,
)

EXEMPLARS: Final = Table(
    "metric_exemplars",
    (
        _TIMESTAMP,
        _SERIES_ID,
        Column("value", "number"),
        *_columns("text", "trace_id", "span_id"),
        Column("attributes", "json"),
    ),
    key=("timestamp", "series_id", "trace_id", "span_id", "attributes", "value"),
)

COST_ENTRIES: Final = Table(
    "cost_entries",
    (
        _TIMESTAMP,
        *_columns("text", "entry_id", "resource_id", "category"),
        Column("amount", "amount"),
        Column("currency", "text"),
        Column("region", "text", nullable=True),
        *_columns("text", "cluster_id", "node_id"),
        Column("service_name", "text", nullable=True),
        Column("tags", "json"),
        *_columns("text", "description", "billing_period", "source", "source_name"),
        Column("period_start", "time", nullable=True),
        Column("period_end", "time"),
        # The point of a series that the entry was derived from, and the basis of its price.
        Column("series_id", "id", nullable=True),
        Column("stream_start", "time", nullable=True),
        _START_TIMESTAMP,
        Column("value", "number", nullable=True),
        Column("point_count", "count", nullable=True),
        Column("basis", "json", nullable=True),
    ),
    key=("timestamp", "entry_id"),
    replaces=False,
)

COST_STREAMS: Final = Table(
    "cost_streams",
    (
        _SERIES_ID,
        Column("stream_start", "time"),
        *_columns("time", "earliest_start", "latest_start", nullable=True),
        *_columns("boolean", "has_fall", "is_split"),
        *_columns("time", "last_timestamp", "last_start_timestamp", nullable=True),
        Column("last_value", "number", nullable=True),
        Column("last_count", "count", nullable=True),
        *_columns("time", "closed_timestamp", "closed_start_timestamp", nullable=True),
        Column("closed_value", "number", nullable=True),
        Column("closed_count", "count", nullable=True),
        Column("zero_length_points", "count"),
        Column("lone_start", "time", nullable=True),
        Column("quantity_id", "id", nullable=True),
    ),
    key=("series_id", "stream_start"),
)

FACT_TABLES: Final = (POINTS, HISTOGRAMS, SUMMARIES, EXEMPLARS, COST_ENTRIES)
"""The tables that grow with time, in the order of docs/schema.md."""
