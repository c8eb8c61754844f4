"""Typed rows to and from CSV and Parquet files, and to Arrow. Only this module uses pyarrow.

A cell that is None is null, which is empty in CSV. In CSV a decimal has no exponent, and a time is
ISO 8601 in UTC.
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Context, Decimal
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Literal

from exporter import tables
from exporter.errors import PermanentError
from exporter.json_text import non_finite_name
from exporter.time_units import seconds_to_micros

__all__ = [
    "Column",
    "ColumnFileError",
    "FileFormat",
    "Kind",
    "Row",
    "open_writer",
    "read_rows",
    "to_arrow",
]

Kind = Literal["text", "decimal", "time", "float", "integer", "boolean"]
FileFormat = Literal["csv", "parquet"]
Row = dict[str, Any]

_PARQUET_BATCH_ROWS: Final = 10_000
# 38 digits fit into 16 bytes: 20 before the point, 18 after it.
_DECIMAL_PRECISION: Final = 38
_DECIMAL_SCALE: Final = 18
_DECIMAL_QUANTUM: Final = Decimal(1).scaleb(-_DECIMAL_SCALE)
_DECIMAL_CONTEXT: Final = Context(prec=_DECIMAL_PRECISION)
_MAX_CELL_CHARACTERS: Final = 16 * 1024 * 1024
_PARQUET_MAGIC: Final = b"PAR1"
_UTF8_WITH_OPTIONAL_BOM: Final = "utf-8-sig"


_STORED_KINDS: Final[Mapping[str, tables.Kind]] = {
    column.name: column.kind
    for table in (tables.SERIES, *tables.FACT_TABLES)
    for column in table.columns
}
_ARROW_KINDS: Final[Mapping[tables.Kind | None, Kind]] = {
    "number": "float",
    "count": "integer",
    "integer": "integer",
    "id": "integer",
    "boolean": "boolean",
    "text": "text",
    "json": "text",
}


class ColumnFileError(PermanentError):
    """A file cannot be read or written; the message names it and says what to do."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a file.

    Attributes:
        name: its header.
        kind: the type of its cells: str, Decimal, aware datetime, float, int or bool.
        time_digits: decimal places of the seconds of a time in CSV, 0 or 6.
    """

    name: str
    kind: Kind = "text"
    time_digits: Literal[0, 6] = 0


@contextmanager
def open_writer(
    path: Path, file_format: FileFormat, columns: Sequence[Column]
) -> Iterator[Callable[[Sequence[Row]], None]]:
    """Write a file, which replaces an older one only if the block ends without an error.

    Args:
        path: the file.
        file_format: CSV or Parquet.
        columns: in their order; a row without one has null there.

    Yields:
        A function that appends rows.

    Raises:
        ColumnFileError: it cannot be written, or pyarrow, which Parquet needs, is not installed.
    """
    # Written beside the file under another name and renamed, so that no reader sees half of it.
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    open_format = _parquet_writer if file_format == "parquet" else _csv_writer
    try:
        with open_format(part, columns) as write:
            yield write
        part.replace(path)
    except OSError as error:
        raise ColumnFileError(
            f"writing {path}: {error.strerror or error}; choose an existing folder with free space"
        ) from error
    finally:
        part.unlink(missing_ok=True)


def read_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Read a CSV or Parquet file in bounded memory.

    Args:
        path: the file; its first bytes show the format.

    Yields:
        For each row its position, and its cells by name. The position is the number of its last
        line in CSV, and its number from 1 up in Parquet. CSV cells are texts, or None if the line
        is too short.

    Raises:
        ColumnFileError: it cannot be read, or pyarrow, which Parquet needs, is not installed.
    """
    try:
        with path.open("rb") as file:
            is_parquet = file.read(len(_PARQUET_MAGIC)) == _PARQUET_MAGIC
        yield from _read_parquet(path) if is_parquet else _read_csv(path)
    except UnicodeDecodeError as error:
        raise ColumnFileError(f"reading {path}: {error}; save it as UTF-8") from error
    except (OSError, csv.Error) as error:
        raise ColumnFileError(f"reading {path}: {error}; is it a whole file?") from error


@contextmanager
def _csv_writer(path: Path, columns: Sequence[Column]) -> Iterator[Callable[[Sequence[Row]], None]]:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([column.name for column in columns])

        def write(rows: Sequence[Row]) -> None:
            writer.writerows(
                [_csv_cell(row.get(column.name), column) for column in columns] for row in rows
            )

        yield write


def _csv_cell(value: Any, column: Column) -> Any:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        text = value.replace(tzinfo=None).isoformat(
            timespec="microseconds" if column.time_digits else "seconds"
        )
        return f"{text}Z"
    if isinstance(value, float) and not math.isfinite(value):
        return non_finite_name(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return value


def _read_csv(path: Path) -> Iterator[tuple[int, Row]]:
    previous = csv.field_size_limit(_MAX_CELL_CHARACTERS)
    try:
        with path.open(encoding=_UTF8_WITH_OPTIONAL_BOM, newline="") as file:
            reader = csv.DictReader(file, strict=True)
            for row in reader:
                yield reader.line_num, row
    finally:
        csv.field_size_limit(previous)


@contextmanager
def _parquet_writer(
    path: Path, columns: Sequence[Column]
) -> Iterator[Callable[[Sequence[Row]], None]]:
    arrow, parquet = _pyarrow()
    types = _arrow_types(arrow)
    schema = arrow.schema([(column.name, types[column.kind]) for column in columns])
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:

        def write(rows: Sequence[Row]) -> None:
            writer.write_table(
                arrow.table(
                    {
                        column.name: _arrow_cells(rows, column, arrow, types[column.kind])
                        for column in columns
                    },
                    schema=schema,
                )
            )

        yield write


def _arrow_types(arrow: Any) -> dict[Kind, Any]:
    return {
        "text": arrow.string(),
        "decimal": arrow.decimal128(_DECIMAL_PRECISION, _DECIMAL_SCALE),
        "time": arrow.timestamp("us", tz="UTC"),
        "float": arrow.float64(),
        "integer": arrow.int64(),
        "boolean": arrow.bool_(),
    }


def _arrow_cells(rows: Iterable[Row], column: Column, arrow: Any, arrow_type: Any) -> Any:
    cells = [row.get(column.name) for row in rows]
    if column.kind == "decimal":
        cells = [_round_to_scale(cell) for cell in cells]
    return arrow.array(cells, arrow_type)


def _round_to_scale(number: Decimal | None) -> Decimal | None:
    """The number with the decimal places that the Parquet type has; only long prices have more."""
    if number is None or number.as_tuple().exponent >= -_DECIMAL_SCALE:  # type: ignore[operator]  # finite, so it is an integer
        return number
    return number.quantize(_DECIMAL_QUANTUM, context=_DECIMAL_CONTEXT)


def to_arrow(rows: Iterable[Mapping[str, Any]]) -> Any:
    """Rows of `exporter.query.Reader` as a `pyarrow.Table`, which `.to_pandas()` makes a DataFrame.

    The columns are the names in all rows, in the order of their first appearance; a row without one
    has null there. Times are timestamps in UTC, exact amounts decimals with 18 decimal places.
    `attributes`, `resource`, `scope` and `tags` are JSON texts, because the rows have different
    names in them; lists are lists.

    Raises:
        ColumnFileError: pyarrow is not installed; it comes with openfinops-otel-exporter[parquet].
    """
    arrow, _ = _pyarrow()
    rows = list(rows)
    types = _arrow_types(arrow)
    columns = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        cells = [row.get(name) for row in rows]
        kind = _arrow_kind(name, cells)
        if kind == "time":
            cells = [None if cell is None else seconds_to_micros(cell) for cell in cells]
        elif kind == "decimal":
            cells = [_round_to_scale(cell) for cell in cells]
        elif kind == "text":
            cells = [_json_text(cell) if isinstance(cell, dict) else cell for cell in cells]
        columns[name] = arrow.array(cells, None if kind is None else types[kind])
    return arrow.table(columns)


def _arrow_kind(name: str, cells: Sequence[Any]) -> Kind | None:
    """The kind of a column; None to let pyarrow infer it from lists and numbers.

    If the store has a column of this name, its type counts, so that it does not depend on the rows
    that were read. Texts come first: a tag may have the name of any column.
    """
    if any(isinstance(cell, str | dict) for cell in cells):
        return "text"
    if name.endswith("timestamp") or _STORED_KINDS.get(name) == "time":
        return "time"
    if any(isinstance(cell, Decimal) for cell in cells):
        return "decimal"
    kind = _STORED_KINDS.get(name)
    if kind is None and all(cell is None for cell in cells):
        return "text"
    return _ARROW_KINDS.get(kind)


def _json_text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)


def _read_parquet(path: Path) -> Iterator[tuple[int, Row]]:
    arrow, parquet = _pyarrow()
    position = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_PARQUET_BATCH_ROWS):
                for row in batch.to_pylist():
                    position += 1
                    yield position, row
    except arrow.ArrowException as error:
        raise ColumnFileError(f"reading {path}: {error}; is it a whole Parquet file?") from error


def _pyarrow() -> tuple[Any, Any]:
    try:
        # Imported at first use: it is an extra, and its import takes 60 ms.
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise ColumnFileError(
            "Parquet and Arrow need the package pyarrow, which is not installed; install "
            "openfinops-otel-exporter[parquet], or use CSV"
        ) from error
