"""Typed rows to and from CSV and Parquet files, a part at a time; the one place that needs pyarrow.

A cell that is None is null. In CSV it is empty; a decimal is plain digits, a time UTC ISO 8601, a
text as it is. A file under construction has another name, and is there or is not.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Context, Decimal
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Literal

from exporter.errors import PermanentError

__all__ = ["Column", "ColumnFileError", "FileFormat", "Kind", "Row", "open_writer", "read_rows"]

Kind = Literal["text", "decimal", "time", "float", "integer", "boolean"]
FileFormat = Literal["csv", "parquet"]
Row = dict[str, Any]

# Of a Parquet file: rows that are in memory at once.
_ROWS_AT_ONCE: Final = 10_000
# 20 digits before the point and 18 after it, in 16 bytes.
_DECIMAL_DIGITS: Final = (38, 18)
_ALL_DIGITS: Final = Context(prec=_DECIMAL_DIGITS[0])
_LONGEST_CELL: Final = 16 * 1024 * 1024
_PARQUET: Final = b"PAR1"
_BYTE_ORDER_MARK: Final = "utf-8-sig"


class ColumnFileError(PermanentError):
    """A file cannot be read or written; the message names it and says what to do."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a file.

    Attributes:
        name: its header.
        kind: of its cells: str, Decimal, aware datetime, float, int or bool.
        time_digits: of a time in CSV, how many decimal places its seconds have: 0 or 6.
    """

    name: str
    kind: Kind = "text"
    time_digits: Literal[0, 6] = 0


@contextmanager
def open_writer(
    path: Path, file_format: FileFormat, columns: Sequence[Column]
) -> Iterator[Callable[[Sequence[Row]], None]]:
    """Write a file, which takes the place of an older one when all went well.

    Args:
        path: the file.
        file_format: what to write.
        columns: in their order; a row that lacks one has null there.

    Yields:
        A function that appends rows.

    Raises:
        ColumnFileError: it cannot be written, or Parquet needs a package that is not there.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    opened = _parquet_writer if file_format == "parquet" else _csv_writer
    try:
        with opened(part, columns) as write:
            yield write
        part.replace(path)
    except OSError as error:
        raise ColumnFileError(
            f"writing {path}: {error.strerror or error}; choose a folder that is there, with room"
        ) from error
    finally:
        part.unlink(missing_ok=True)


def read_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Read a file, whichever of the two it is, in bounded memory.

    Args:
        path: the file.

    Yields:
        For each row its place, and its cells by name. The place is, in CSV, the line that it ends
        at; in Parquet its number from 1 up. CSV has texts only, None where a line is too short.

    Raises:
        ColumnFileError: it cannot be read, or Parquet needs a package that is not there.
    """
    try:
        with path.open("rb") as file:
            is_parquet = file.read(len(_PARQUET)) == _PARQUET
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
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, bool):
        return "true" if value else "false"
    return value


def _read_csv(path: Path) -> Iterator[tuple[int, Row]]:
    previous = csv.field_size_limit(_LONGEST_CELL)
    try:
        with path.open(encoding=_BYTE_ORDER_MARK, newline="") as file:
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
    types = {
        "text": arrow.string(),
        "decimal": arrow.decimal128(*_DECIMAL_DIGITS),
        "time": arrow.timestamp("us", tz="UTC"),
        "float": arrow.float64(),
        "integer": arrow.int64(),
        "boolean": arrow.bool_(),
    }
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


def _arrow_cells(rows: Iterable[Row], column: Column, arrow: Any, arrow_type: Any) -> Any:
    cells = [row.get(column.name) for row in rows]
    if column.kind == "decimal":
        places = Decimal(1).scaleb(-_DECIMAL_DIGITS[1])
        cells = [_fitting(cell, places) for cell in cells]
    return arrow.array(cells, arrow_type)


def _fitting(cell: Decimal | None, places: Decimal) -> Decimal | None:
    """The number with as many places as the type has; prices with more are rounded there."""
    if cell is None or cell.as_tuple().exponent >= places.as_tuple().exponent:  # type: ignore[operator]  # finite, so both are integers
        return cell
    return cell.quantize(places, context=_ALL_DIGITS)


def _read_parquet(path: Path) -> Iterator[tuple[int, Row]]:
    arrow, parquet = _pyarrow()
    place = 0
    try:
        with parquet.ParquetFile(path) as file:
            for part in file.iter_batches(batch_size=_ROWS_AT_ONCE):
                for row in part.to_pylist():
                    place += 1
                    yield place, row
    except arrow.ArrowException as error:
        raise ColumnFileError(f"reading {path}: {error}; is it a whole Parquet file?") from error


def _pyarrow() -> tuple[Any, Any]:
    try:
        # An extra, and it takes 60 ms.
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise ColumnFileError(
            "Parquet needs the package pyarrow, which is not installed; install "
            "openfinops-otel-exporter[parquet], or use CSV"
        ) from error
