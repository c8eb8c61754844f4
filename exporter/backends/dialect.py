"""How one database's SQL differs from another's, as data: a new database is a new value here.

Each snippet is a template for `exporter.query.sql`: a name in braces stands for a piece of SQL
or for a bound value, whichever the caller passes. Nothing here runs SQL or knows a driver.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

__all__ = ["POSTGRESQL", "SQLITE", "Dialect"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Dialect:
    """Snippets that `exporter.query` composes its statements from.

    Attributes:
        name: for messages.
        placeholder: what the driver takes for a bound value.
        micros: a stored time `{time}` as integer microseconds since 1970 UTC.
        seconds: a stored time `{time}` as seconds since 1970 UTC, a double.
        bucket: the start of the stretch of `{width}` microseconds that a stored time `{time}` lies
            in, as a stored time; the first begins with 1970.
        whole_micros: as `micros`, of a time that is a whole second; cheaper.
        near_micros: as `micros`, cheaper, and after the year 2242 off by one now and then.
        within_day: the stored time `{time}` or another of its day, UTC, whichever rows are grouped
            by faster.
        moment: integer microseconds as a bound value that stored times compare with. It is a
            constant for the planner, which leaves out partitions before it plans their scans.
        instant: integer microseconds `{micros}` as a time that stored ones compare with.
        number: a stored measurement `{value}`, with NULL for a NaN as well.
        glob: whether `{column}` matches `{pattern}`.
        glob_pattern: `*` and `?` in the spelling that `glob` wants; all else is literal.
        attribute_equals: true or false, NULL if the JSON object `{document}` has no member
            `{key}`. A string equals `{text}`; a number equals `{number}` (NULL: no number
            asked for); true, false and null equal their names; arrays and objects their JSON
            `{json}` (NULL: no array or object asked for).
        members: a SELECT of series_id, grp and cumulative out of `{members}`, a JSON array of
            arrays of three integers, or out of `{series_ids}`, `{groups}` and `{cumulatives}`,
            the same as three lists such as `{1,2}`. series_id must have the column's own type
            there, or the join with the points cannot use an index.
        series_id_in_list: the condition that a point `m` is of one of `{series_ids}`, a list such
            as `{1,2}`, whose ids the planner sees; None where a join is as fast.
        array_items: a row source in FROM that has the 0-based `key` and the numeric `value` of
            each element of the JSON array `{array}`; NULL is an empty array.
        number_array: the type of a column that holds an array of measurements.
        count_array: the type of a column that holds an array of counts.
        cost_amount: the amount of a cost entry `m`, exactly, as text that `exporter.query.costs`
            reads: a decimal number, or two integers, units and nanos.
        cost_total: the sum of the amounts of a group of them, likewise.
        member_text: the member `{key}` of the JSON object `{document}` as text, NULL if there is
            none.
        may_have_rollups: whether it is worth asking the catalogue for roll-ups (TimescaleDB's).
        ordered_join: the join that keeps the points as the outer loop, so that their order by
            time is kept and the small side is looked up.
    """

    name: str
    placeholder: str
    micros: str
    seconds: str
    bucket: str
    whole_micros: str
    near_micros: str
    within_day: str
    moment: Callable[[int], object]
    instant: str
    number: str
    glob: str
    glob_pattern: Callable[[str], str]
    attribute_equals: str
    members: str
    series_id_in_list: str | None
    array_items: str
    number_array: str
    count_array: str
    ordered_join: str
    cost_amount: str
    cost_total: str
    member_text: str
    may_have_rollups: bool = False


def _sqlite_glob_pattern(pattern: str) -> str:
    # GLOB knows character classes as well, which nobody expects in the name of a metric.
    return pattern.replace("[", "[[]")


SQLITE = Dialect(
    name="sqlite",
    placeholder="?",
    micros="{time}",
    seconds="{time} / 1000000.0",
    bucket="({time} / {width}) * {width}",
    whole_micros="{time}",
    near_micros="{time}",
    # Rows are read in the order of time; for anything made of it they are sorted first: 0.45 us a
    # row where this takes 0.16.
    within_day="{time}",
    moment=int,
    instant="{micros}",
    # The column is REAL; only a NaN is kept as text (see sql/sqlite/0001_initial.sql).
    number="CASE WHEN typeof({value}) <> 'text' THEN {value} END",
    glob="{column} GLOB {pattern}",
    glob_pattern=_sqlite_glob_pattern,
    # json_each and not a JSON path: a path cannot name every key that has quotes in it.
    attribute_equals="""(
        SELECT CASE
            WHEN member.type IN ('true', 'false', 'null') THEN member.type = {text}
            WHEN member.type IN ('integer', 'real') THEN COALESCE(member.value = {number}, FALSE)
            ELSE member.value = {text}
        END
        FROM json_each({document}) AS member
        WHERE member.key = {key}
    )""",
    # Without the CAST the column has no affinity and SQLite scans the list for every point:
    # 34 s instead of 0.7 s for a million points of a thousand series.
    members="""
        SELECT
            CAST(json_extract(value, '$[0]') AS INTEGER) AS series_id,
            json_extract(value, '$[1]') AS grp,
            json_extract(value, '$[2]') AS cumulative
        FROM json_each({members})""",
    series_id_in_list=None,
    array_items="json_each({array})",
    number_array="TEXT",
    count_array="TEXT",
    ordered_join="CROSS JOIN",
    cost_amount="m.amount_units || ' ' || m.amount_nanos",
    cost_total="sum(m.amount_units) || ' ' || sum(m.amount_nanos)",
    member_text="""(
        SELECT CASE
            WHEN member.type IN ('true', 'false') THEN member.type
            ELSE CAST(member.value AS TEXT)
        END
        FROM json_each({document}) AS member
        WHERE member.key = {key}
    )""",
)


def _like_pattern(pattern: str) -> str:
    for literal in ("\\", "%", "_"):
        pattern = pattern.replace(literal, f"\\{literal}")
    return pattern.replace("*", "%").replace("?", "_")


def _aware(micros: int) -> datetime:
    try:
        return _EPOCH + timedelta(microseconds=micros)
    except OverflowError:  # before the year 1, from looking back; no point is older than 1970
        return _EARLIEST


# The driver takes a bare percent sign for a placeholder's, so there is none here.
POSTGRESQL = Dialect(
    name="postgresql",
    placeholder="%s",
    # extract() answers with a numeric, which is exact.
    micros="CAST(extract(epoch FROM {time}) * 1000000 AS BIGINT)",
    # Half the time of extract(), which makes a numeric; a tenth of it for the bucket.
    seconds="date_part('epoch', {time})",
    bucket="date_bin({width} * INTERVAL '1 microsecond', {time}, TIMESTAMPTZ 'epoch')",
    whole_micros="CAST(date_part('epoch', {time}) AS BIGINT) * 1000000",
    near_micros="CAST(date_part('epoch', {time}) * 1000000 AS BIGINT)",
    within_day="date_bin(INTERVAL '1 day', {time}, TIMESTAMPTZ 'epoch')",
    moment=_aware,
    # Seconds and microseconds apart: a factor of an interval is a double, and loses the last
    # digit of microseconds after 2255.
    instant="""(
        TIMESTAMPTZ 'epoch' + CAST({micros} AS BIGINT) / 1000000 * INTERVAL '1 second'
        + mod(CAST({micros} AS BIGINT), 1000000) * INTERVAL '1 microsecond'
    )""",
    # NULLIF would turn counts into doubles.
    number="CASE WHEN {value} <> CAST('NaN' AS DOUBLE PRECISION) THEN {value} END",
    glob="{column} LIKE {pattern}",
    glob_pattern=_like_pattern,
    attribute_equals="""(
        SELECT CASE jsonb_typeof(member.value)
            WHEN 'string' THEN member.value #>> '{{}}' = {text}
            WHEN 'number' THEN
                COALESCE(CAST(member.value #>> '{{}}' AS NUMERIC) = {number}, FALSE)
            WHEN 'boolean' THEN CAST(member.value AS TEXT) = {text}
            WHEN 'null' THEN {text} = 'null'
            ELSE COALESCE(member.value = CAST({json} AS JSONB), FALSE)
        END
        FROM (SELECT {document} -> {key} AS value) AS member
        WHERE member.value IS NOT NULL
    )""",
    # Of arrays the planner knows how long they are. JSON it takes for 100 rows, and then reads
    # every point of the range to find those of ten series.
    members="""
        SELECT series_id, grp, cumulative
        FROM unnest(
            CAST({series_ids} AS BIGINT[]),
            CAST({groups} AS INTEGER[]),
            CAST({cumulatives} AS INTEGER[])
        ) AS member (series_id, grp, cumulative)""",
    series_id_in_list="m.series_id = ANY(CAST({series_ids} AS BIGINT[]))",
    array_items="""LATERAL (
        SELECT place - 1 AS key, CAST(element AS DOUBLE PRECISION) AS value
        FROM unnest({array}) WITH ORDINALITY AS items (element, place)
    )""",
    number_array="DOUBLE PRECISION[]",
    count_array="NUMERIC(20, 0)[]",
    ordered_join="JOIN",
    cost_amount="CAST(m.amount AS TEXT)",
    cost_total="CAST(sum(m.amount) AS TEXT)",
    member_text="({document} ->> {key})",
    may_have_rollups=True,
)
