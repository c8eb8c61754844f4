"""Which bucket of time a row lies in, as SQL; buckets begin at multiples of their length."""

from __future__ import annotations

from exporter.backends.dialect import Dialect
from exporter.query.sql import Sql, sql

__all__ = ["cut_of", "start_of"]

_MICROS_PER_SECOND = 1_000_000


def cut_of(time: Sql, width_micros: int, dialect: Dialect) -> Sql:
    """The bucket that a stored time lies in, to group by: a tenth of the time of `start_of`."""
    return sql(dialect.bucket, time=time, width=width_micros)


def start_of(cut: Sql, width_micros: int, dialect: Dialect) -> Sql:
    """The start in microseconds of what `cut_of` gives, for each group and not for each row."""
    is_whole = width_micros % _MICROS_PER_SECOND == 0
    return sql(dialect.whole_second_micros if is_whole else dialect.micros, time=cut)
