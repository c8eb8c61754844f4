"""SQL composed of literal text, other SQL and bound values, so that no value becomes text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from string import Formatter
from typing import Any

from exporter.backends.base import Backend
from exporter.backends.dialect import Dialect
from exporter.time_units import MICROSECONDS_PER_SECOND


@dataclass(frozen=True, slots=True)
class Sql:
    """A piece of SQL with placeholders, and the values bound to them.

    Attributes:
        texts: the text around the placeholders: one more than there are parameters.
        parameters: the bound values.
    """

    texts: tuple[str, ...]
    parameters: tuple[object, ...] = ()

    def render(self, placeholder: str) -> str:
        """The text for a driver that writes its bound values as `placeholder`."""
        return placeholder.join(self.texts)


def sql(template: str, **parts: object) -> Sql:
    """Fill a template; the template is always a literal of the program or of a dialect.

    Args:
        template: SQL with names in braces.
        parts: for each name either `Sql`, which is inserted, or a value, which is bound.

    Raises:
        KeyError: the template has a name that `parts` lacks.
    """
    texts = [""]
    parameters: list[object] = []
    for literal, name, _, _ in Formatter().parse(template):
        texts[-1] += literal
        if name is None:
            continue
        part = parts[name]
        inner = part if isinstance(part, Sql) else Sql(("", ""), (part,))
        texts[-1] += inner.texts[0]
        texts.extend(inner.texts[1:])
        parameters.extend(inner.parameters)
    return Sql(tuple(texts), tuple(parameters))


def joined(separator: str, pieces: Iterable[Sql]) -> Sql:
    """All pieces with a literal separator between them."""
    result = Sql(("",))
    for number, piece in enumerate(pieces):
        template = "{result}{separator}{piece}" if number else "{result}{piece}"
        result = sql(template, result=result, separator=Sql((separator,)), piece=piece)
    return result


def fetch_all(backend: Backend, statement: Sql) -> list[tuple[Any, ...]]:
    """All rows that a started backend answers the statement with."""
    return backend.fetch(statement.render(backend.dialect.placeholder), statement.parameters)


def time_bucket(time: Sql, width_micros: int, dialect: Dialect) -> Sql:
    """The bucket of a stored time, to group by; buckets begin at multiples of their width.

    It is computed for each row, and takes a tenth of the time of `bucket_start_micros`.
    """
    return sql(dialect.bucket, time=time, width=width_micros)


def bucket_start_micros(bucket: Sql, width_micros: int, dialect: Dialect) -> Sql:
    """The start of a `time_bucket` in microseconds; computed for each group, not for each row."""
    is_whole_seconds = width_micros % MICROSECONDS_PER_SECOND == 0
    return sql(dialect.whole_second_micros if is_whole_seconds else dialect.micros, time=bucket)
