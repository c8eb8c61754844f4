"""Amounts in SQLite: three integers for each, whose sums are exact and cannot overflow."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal, localcontext
from typing import Final

import pytest

from exporter.backends.dialect import SQLITE
from exporter.backends.migration_files import load_migrations
from exporter.backends.sqlite.costs import to_units_nanos_and_attos
from exporter.backends.sqlite.schema import migrate
from exporter.query.costs import cost_total, parse_amount

LARGEST: Final = "999999999999999999.999999999999999999"
AMOUNTS: Final = {
    "0": (0, 0, 0),
    "12.5": (12, 500_000_000, 0),
    "-2.25": (-3, 750_000_000, 0),
    "0.0000000001": (0, 0, 100_000_000),
    "-0.0000000001": (0, 0, -100_000_000),
    "0.0000000009": (0, 1, -100_000_000),
    "-0.0000000009": (-1, 999_999_999, 100_000_000),
    # A half is rounded to the even billionth.
    "0.0000000005": (0, 0, 500_000_000),
    "0.0000000015": (0, 2, -500_000_000),
    "0.9999999999": (1, 0, -100_000_000),
    "0.000000000000000001": (0, 0, 1),
    LARGEST: (10**18, 0, -1),
    f"-{LARGEST}": (-(10**18), 0, 1),
}


@pytest.fixture
def store() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, load_migrations("sqlite"), "here")
        yield connection


def insert(store: sqlite3.Connection, amounts: list[str], *, times: int = 1) -> None:
    integers = [to_units_nanos_and_attos(Decimal(amount)) for amount in amounts]
    store.executemany(
        "INSERT INTO cost_entries (timestamp, entry_id, resource_id, category, amount_units,"
        " amount_nanos, amount_attos, currency, cluster_id, node_id, tags, description,"
        " billing_period, source, source_name, period_end)"
        " VALUES (1, ?, '', '', ?, ?, ?, 'USD', '', '', '{}', '', '', '', '', 1)",
        [
            (f"e-{time}-{index}", *parts)
            for time in range(times)
            for index, parts in enumerate(integers)
        ],
    )


def total(store: sqlite3.Connection) -> Decimal:
    [(text,)] = store.execute(f"SELECT {cost_total(SQLITE).render('?')} FROM cost_entries AS m")  # noqa: S608
    return parse_amount(text)


@pytest.mark.parametrize(("amount", "integers"), AMOUNTS.items(), ids=AMOUNTS)
def test_an_amount_is_three_integers(
    store: sqlite3.Connection, amount: str, integers: tuple[int, int, int]
) -> None:
    assert to_units_nanos_and_attos(Decimal(amount)) == integers
    insert(store, [amount])
    [(text, number)] = store.execute(
        f"SELECT {SQLITE.cost_amount}, amount FROM cost_entries AS m"  # noqa: S608
    )
    assert format(parse_amount(text), "f") == amount
    assert number == pytest.approx(float(amount), rel=1e-9, abs=0)
    assert total(store) == Decimal(amount)


@pytest.mark.parametrize("sign", ["", "-"], ids=["costs", "credits"])
def test_the_sum_of_the_largest_amounts_does_not_overflow(
    store: sqlite3.Connection, sign: str
) -> None:
    insert(store, [sign + LARGEST, f"{sign}1000000000000000"], times=10_000)
    with localcontext(prec=60):
        assert total(store) == 10_000 * (Decimal(sign + LARGEST) + Decimal(f"{sign}1E15"))


def test_the_sum_of_all_amounts_is_exact(store: sqlite3.Connection) -> None:
    insert(store, list(AMOUNTS))
    with localcontext(prec=60):
        assert total(store) == sum(map(Decimal, AMOUNTS))
