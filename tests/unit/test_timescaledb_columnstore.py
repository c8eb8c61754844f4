"""Which versions, licences and batch sizes use direct compress; no database."""

from __future__ import annotations

import pytest

from exporter.backends.timescaledb.columnstore import DirectCompress, compresses_directly
from exporter.backends.timescaledb.extension import Capabilities


def capabilities(
    version: str = "2.28.0", *, terms: str = "timescale", copy: bool = True
) -> Capabilities:
    return Capabilities(
        version=version,
        schema="public",
        license=terms,
        has_by_range=True,
        has_columnstore_names=True,
        has_direct_compress_copy=copy,
    )


@pytest.mark.parametrize(
    ("version", "numbers"),
    [
        ("2.28.1", (2, 28)),
        ("2.9.3", (2, 9)),
        ("2.23.0-dev", (2, 23)),
        ("3.0", (3, 0)),
        ("10.4-rc1", (10, 4)),
        ("nightly", (0, 0)),
    ],
)
def test_versions_are_compared_as_numbers(version: str, numbers: tuple[int, int]) -> None:
    assert capabilities(version).version_numbers == numbers


@pytest.mark.parametrize(
    ("mode", "version", "rows", "expected"),
    [
        ("auto", "2.28.0", 50_000, True),
        ("auto", "2.28.0", 49_999, False),
        ("auto", "2.27.9", 1_000_000, False),
        ("auto", "2.9.0", 1_000_000, False),
        ("auto", "3.0.0", 50_000, True),
        ("auto", "nightly", 1_000_000, False),
        ("on", "2.21.0", 1, True),
        ("on", "2.28.0", 1_000_000, True),
        ("off", "2.28.0", 1_000_000, False),
        ("off", "2.21.0", 1, False),
    ],
)
def test_when_copy_writes_compressed_rows(
    mode: DirectCompress, version: str, rows: int, *, expected: bool
) -> None:
    assert compresses_directly(mode, capabilities(version), rows) is expected


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_never_without_the_capability(mode: DirectCompress) -> None:
    assert not compresses_directly(mode, capabilities(copy=False), 1_000_000)
    assert not compresses_directly(mode, capabilities(terms="apache"), 1_000_000)
    assert not compresses_directly(mode, capabilities(terms=""), 1_000_000)


def test_functions_have_the_schema_of_the_extension() -> None:
    assert capabilities().function("drop_chunks").strings == ("public", "drop_chunks")
