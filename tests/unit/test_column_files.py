"""Typed rows to files and back."""

import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from exporter.column_files import Column, ColumnFileError, FileFormat, open_writer, read_rows

COLUMNS = (
    Column("text"),
    Column("decimal", "decimal"),
    Column("time", "time"),
    Column("exact", "time", time_digits=6),
    Column("float", "float"),
    Column("integer", "integer"),
    Column("boolean", "boolean"),
)
MOMENT = datetime(2026, 11, 23, 17, 4, 5, 678_000, tzinfo=UTC)
FULL = {
    "text": 'line one\r\n"two", grün',
    "decimal": Decimal("-12345678901234567890.000000000000000001"),
    "time": MOMENT,
    "exact": MOMENT,
    "float": 0.1,
    "integer": -(2**63),
    "boolean": True,
}
EMPTY: dict[str, object] = dict.fromkeys(FULL)


def write_file(path: Path, file_format: FileFormat, rows: list[dict[str, object]]) -> None:
    with open_writer(path, file_format, COLUMNS) as write:
        for row in rows:
            write([row])


def test_csv_spelling_of_each_type_and_of_null(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    write_file(path, "csv", [FULL, EMPTY, {"float": float("nan"), "boolean": False}])
    (line, full), (_, empty), (_, last) = read_rows(path)
    assert line == 3  # the line in which the row ends
    assert full == {
        "text": FULL["text"],
        "decimal": "-12345678901234567890.000000000000000001",
        "time": "2026-11-23T17:04:05Z",
        "exact": "2026-11-23T17:04:05.678000Z",
        "float": "0.1",
        "integer": "-9223372036854775808",
        "boolean": "true",
    }
    assert set(empty.values()) == {""}
    assert (last["float"], last["boolean"]) == ("NaN", "false")


def test_parquet_has_values(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "rows.parquet"
    write_file(path, "parquet", [FULL, EMPTY])
    assert list(read_rows(path)) == [(1, FULL), (2, EMPTY)]


def test_a_price_with_more_places_than_the_parquet_type_is_rounded(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "rows.parquet"
    write_file(path, "parquet", [{"decimal": Decimal("0.1234567890123456789")}])
    ((_, row),) = read_rows(path)
    assert row["decimal"] == Decimal("0.123456789012345679")


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_an_unfinished_file_does_not_replace_the_older_one(
    tmp_path: Path, file_format: FileFormat
) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "rows"
    path.write_text("older", encoding="utf-8")
    with pytest.raises(AttributeError):
        write_file(path, file_format, [FULL, None])  # type: ignore[list-item]  # None is no row and fails
    assert [one.name for one in tmp_path.iterdir()] == ["rows"]
    assert path.read_text(encoding="utf-8") == "older"


def test_a_missing_folder_is_named_in_the_error(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "rows.csv"
    with pytest.raises(ColumnFileError, match=r"writing .*rows\.csv: No such file"):
        write_file(path, "csv", [])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"name\n\xff\n", "save it as UTF-8"),
        (b'a\n"never closed', "whole file"),
        (b"PAR1x", "whole Parquet file"),
    ],
    ids=["other encoding", "cut off", "no parquet"],
)
def test_an_unreadable_file_raises_an_error_with_its_path(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "rows"
    path.write_bytes(content)
    with pytest.raises(ColumnFileError, match=reason) as failure:
        list(read_rows(path))
    assert str(path) in str(failure.value)


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("\ufeffname\r\nx\r\n", encoding="utf-8")
    assert list(read_rows(path)) == [(2, {"name": "x"})]


def test_without_pyarrow_the_error_names_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # as if it were not installed
    with pytest.raises(ColumnFileError, match=r"openfinops-otel-exporter\[parquet\]"):
        write_file(tmp_path / "rows.parquet", "parquet", [])
