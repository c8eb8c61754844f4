"""What a backend returns from a write, and its sizes."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.model.costs import NO_COST_COUNTS, CostCounts


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What a backend did with a batch.

    Attributes:
        stored: data points and complete cost entries that the backend now has because of this
            batch, or of an earlier one with the same cost entries.
        refused: data points that were left out because their series id belongs to another series
            there (a hash collision); each series is named in a log line.
        evicted: rows that a bounded backend deleted to make room, over all its tables.
        altered_texts: texts of rows, definitions and dead letters that had a character which the
            backend cannot store, and which was replaced.
        forgotten_series: ids whose definition the backend no longer has.
        already_stored: whether an earlier attempt at this batch, or a later batch of its writer,
            had been stored, so that nothing was written. `stored` counts as if it had been
            written now, and so does `altered_texts` if this backend object made that attempt.
        cost_counts: of the cost samples; zero if the batch was stored by an earlier attempt.
    """

    stored: int
    refused: int = 0
    evicted: int = 0
    altered_texts: int = 0
    forgotten_series: frozenset[int] = frozenset()
    already_stored: bool = False
    cost_counts: CostCounts = NO_COST_COUNTS


@dataclass(frozen=True, slots=True)
class TableSize:
    """The size of one fact table.

    Attributes:
        table: its name, as in docs/schema.md.
        rows: number of rows; the database's own estimate if counting would read the whole table.
        rows_are_exact: whether the rows were counted.
        size_bytes: with indexes and partitions; None if unknown.
        oldest_unix_nano: time of the oldest row, None without rows.
        newest_unix_nano: time of the newest row, None without rows.
        times_are_exact: False if they are the bounds of the outermost partitions with rows,
            because finding the rows would read these partitions whole.
        partitions: number of partitions or chunks; None if the backend makes none.
        compressed_partitions: number of compressed ones; None if the backend cannot compress.
        compression_ratio: bytes before over bytes after, of the compressed partitions; None
            without compressed partitions.
    """

    table: str
    rows: int
    rows_are_exact: bool
    size_bytes: int | None
    oldest_unix_nano: int | None
    newest_unix_nano: int | None
    times_are_exact: bool = True
    partitions: int | None = None
    compressed_partitions: int | None = None
    compression_ratio: float | None = None


@dataclass(frozen=True, slots=True)
class StoreSizes:
    """The size of a backend.

    Attributes:
        tables: every fact table, in the order of docs/schema.md; empty ones too.
        series: number of defined series, with points or without.
        total_bytes: all tables with indexes, and files that belong to this store alone. Not other
            programs' tables in the same database.
        free_bytes: of these, free space that new rows will use; None if unknown.
    """

    tables: tuple[TableSize, ...]
    series: int
    total_bytes: int
    free_bytes: int | None = None
