"""The SQL snippets that differ between the databases.

Each snippet is a template for `exporter.query.sql_builder`: the caller passes a piece of SQL or a
bound value for each name in braces. Runs no SQL and imports no driver.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from exporter.time_units import from_micros

_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Dialect:
    """Snippets from which `exporter.query` composes its statements.

    Attributes:
        name: for messages.
        placeholder: the driver's placeholder for a bound value.
        micros: a stored time `{time}` as integer microseconds since 1970 UTC.
        seconds: a stored time `{time}` as seconds since 1970 UTC, a double.
        bucket: the start, as a stored time, of the interval of `{width}` microseconds that contains
            the stored time `{time}`; the first interval starts at 1970.
        whole_second_micros: as `micros`, cheaper, for a time that is a whole second.
        approximate_micros: as `micros`, cheaper, and sometimes off by one after the year 2242.
        day_group: maps `{time}` to one time in the same UTC day; the fastest expression for GROUP
            BY day.
        time_parameter: integer microseconds as a bound value that stored times compare with. The
            planner sees a constant, so it leaves out partitions before it plans their scans.
        time_from_micros: integer microseconds `{micros}` as a time that stored times compare with.
        number: a stored measurement `{value}`, and NULL for a NaN.
        glob: whether `{column}` matches `{pattern}`.
        glob_pattern: translates a pattern with `*` and `?` for `glob`; all else is literal.
        attribute_equals: true or false, or NULL if the JSON object `{document}` has no member
            `{key}`. A string equals `{text}`; a number equals `{number}` (NULL: the query names no
            number); true, false and null equal their names; arrays and objects equal their JSON
            `{json}` (NULL: the query names no array or object).
        members: a SELECT of series_id, grp and cumulative from `{members}`, a JSON array of arrays
            of three integers, or from `{series_ids}`, `{groups}` and `{cumulatives}`, the same as
            three lists such as `{1,2}`. series_id must have the type of the column, because the
            join with the points cannot use an index otherwise.
        series_id_in_list: the condition that a point `m` is of one of `{series_ids}`, a list such
            as `{1,2}`, whose ids the planner sees; None where a join is as fast.
        array_items: a row source for FROM with the 0-based `key` and the numeric `value` of each
            element of the JSON array `{array}`; NULL is an empty array.
        cost_amount: the exact amount of a cost entry `m`, as text that `exporter.query.costs`
            parses: a decimal number, or three integers: units, nanos (10^-9) and attos (10^-18).
        cost_parts: numbers of a cost entry `m` whose sums are exact and cannot overflow, and the
            value of one in each; their products add up to the amount.
        json_member: the member `{key}` of the JSON object `{document}` as text, or NULL.
        ordered_join: a join with the points as the outer loop, which keeps their order by time.
    """

    name: str
    placeholder: str
    micros: str
    seconds: str
    bucket: str
    whole_second_micros: str
    approximate_micros: str
    day_group: str
    time_parameter: Callable[[int], object]
    time_from_micros: str
    number: str
    glob: str
    glob_pattern: Callable[[str], str]
    attribute_equals: str
    members: str
    series_id_in_list: str | None
    array_items: str
    ordered_join: str
    cost_amount: str
    cost_parts: tuple[tuple[str, str], ...]
    json_member: str


def _sqlite_glob_pattern(pattern: str) -> str:
    # GLOB also has character classes; in a metric name a bracket is a literal.
    return pattern.replace("[", "[[]")


SQLITE = Dialect(
    name="sqlite",
    placeholder="?",
    micros="{time}",
    seconds="{time} / 1000000.0",
    bucket="({time} / {width}) * {width}",
    whole_second_micros="{time}",
    approximate_micros="{time}",
    # Rows are read in the order of time. To group by an expression of it SQLite sorts them first:
    # 0.45 us a row, against 0.16 us.
    day_group="{time}",
    time_parameter=int,
    time_from_micros="{micros}",
    # The column is REAL; only a NaN is stored as text (see sql/sqlite/0001_initial.sql).
    number="CASE WHEN typeof({value}) <> 'text' THEN {value} END",
    glob="{column} GLOB {pattern}",
    glob_pattern=_sqlite_glob_pattern,
    # json_each, because a JSON path cannot name every key that contains quotes.
    attribute_equals="""(
        SELECT CASE
            WHEN member.type IN ('true', 'false', 'null') THEN member.type = {text}
            WHEN member.type IN ('integer', 'real') THEN COALESCE(member.value = {number}, FALSE)
            ELSE member.value = {text}
        END
        FROM json_each({document}) AS member
        WHERE member.key = {key}
    )""",
    # Without the CAST the column has no affinity, and SQLite scans the list for every point:
    # 34 s instead of 0.7 s for a million points of a thousand series.
    members="""
        SELECT
            CAST(json_extract(value, '$[0]') AS INTEGER) AS series_id,
            json_extract(value, '$[1]') AS grp,
            json_extract(value, '$[2]') AS cumulative
        FROM json_each({members})""",
    series_id_in_list=None,
    array_items="json_each({array})",
    ordered_join="CROSS JOIN",
    cost_amount="m.amount_units || ' ' || m.amount_nanos || ' ' || m.amount_attos",
    # In two parts of the units, because sum() fails if it exceeds 63 bits. Both are exact for
    # negative units too: the shift rounds down, and the lower bits are never negative.
    cost_parts=(
        ("m.amount_units >> 32", "4294967296.0"),
        ("m.amount_units & 4294967295", "1.0"),
        ("m.amount_nanos", "1e-9"),
        ("m.amount_attos", "1e-18"),
    ),
    json_member="""(
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


def _aware_datetime(micros: int) -> datetime:
    try:
        return from_micros(micros)
    except OverflowError:
        # A look-back can start before the year 1, which datetime cannot represent. Clamping is
        # safe, because no point is older than 1970.
        return _EARLIEST


# No snippet has a percent sign, which the driver would read as part of a placeholder.
POSTGRESQL = Dialect(
    name="postgresql",
    placeholder="%s",
    # extract() returns a numeric, which is exact.
    micros="CAST(extract(epoch FROM {time}) * 1000000 AS BIGINT)",
    # date_part takes half the time of extract(); for the bucket date_bin takes a tenth.
    seconds="date_part('epoch', {time})",
    bucket="date_bin({width} * INTERVAL '1 microsecond', {time}, TIMESTAMPTZ 'epoch')",
    whole_second_micros="CAST(date_part('epoch', {time}) AS BIGINT) * 1000000",
    approximate_micros="CAST(date_part('epoch', {time}) * 1000000 AS BIGINT)",
    day_group="date_bin(INTERVAL '1 day', {time}, TIMESTAMPTZ 'epoch')",
    time_parameter=_aware_datetime,
    # Seconds and microseconds are added one by one: the factor of an interval is a double, which
    # loses the last digit of microseconds after 2255.
    time_from_micros="""(
        TIMESTAMPTZ 'epoch' + CAST({micros} AS BIGINT) / 1000000 * INTERVAL '1 second'
        + mod(CAST({micros} AS BIGINT), 1000000) * INTERVAL '1 microsecond'
    )""",
    # NULLIF would convert counts to doubles.
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
    # The planner knows the length of an array. For JSON it assumes 100 rows, and then reads every
    # point of the time range to find the points of ten series.
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
    ordered_join="JOIN",
    cost_amount="CAST(m.amount AS TEXT)",
    cost_parts=(("m.amount", "1"),),
    json_member="({document} ->> {key})",
)
