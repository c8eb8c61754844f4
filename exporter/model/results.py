"""What a backend says: of a write, and of how much it holds."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["StoreSizes", "TableSize", "WriteResult"]


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What a backend did with a batch.

    Attributes:
        stored: data points and complete cost entries that are in the backend now because of this
            batch, or of an earlier one that held the same cost entries.
        refused: data points left out because their series id belongs to another series there
            (a hash collision); each is named in a log line.
        evicted: rows that a bounded backend let go to make room, over all its tables.
        altered_texts: texts in what was written, definitions and dead letters with it, of which
            the backend cannot hold a character, so that another stands for it.
        forgotten_series: ids whose definition the backend no longer has.
        already_stored: whether an earlier attempt at this batch, or a later batch of its writer,
            had been stored, so that nothing was written now; `stored` counts as if it had been.
            `altered_texts` does so where that attempt was one of this backend object.
    """

    stored: int
    refused: int = 0
    evicted: int = 0
    altered_texts: int = 0
    forgotten_series: frozenset[int] = frozenset()
    already_stored: bool = False


@dataclass(frozen=True, slots=True)
class TableSize:
    """How much one fact table holds.

    Attributes:
        table: its name, as in docs/schema.md.
        rows: how many; the database's own estimate where counting would read the whole table.
        rows_are_exact: whether they were counted.
        size_bytes: with indexes, and with those of its partitions; None where unknown.
        oldest_unix_nano: time of the oldest row, None where there is none.
        newest_unix_nano: likewise of the newest.
        times_are_exact: False where they are the bounds of the outermost partitions that have
            rows, because finding the rows would read these partitions whole.
        partitions: how many partitions or chunks; None where the backend makes none.
        compressed_partitions: of these, compressed; None where the backend cannot compress.
        compression_ratio: bytes before over bytes after, of the compressed partitions; None
            where there are none.
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
    """How much a backend holds.

    Attributes:
        tables: every fact table, in the order of docs/schema.md; empty ones too.
        series: series that are defined, with points or without.
        total_bytes: everything that this store takes: all its tables with indexes, and files that
            belong to it alone. Not other programs' tables in the same database.
        free_bytes: of these, space without content that new rows will take; None where unknown.
    """

    tables: tuple[TableSize, ...]
    series: int
    total_bytes: int
    free_bytes: int | None = None
