"""Continuous aggregates: number points and costs by the hour and by the day, kept by the database.

Each covers all times: what is materialized, and what came since, read from the rows. They are for
SQL and dashboards, and `exporter.query` reads what is materialized and up to date
(`exporter.query.rollup_planner`). Community Edition only.

They have no retention of their own. Chunks of rows that are dropped leave an entry in the
invalidation log, and the next refresh takes them out; chunks of a roll-up that are dropped leave
none, and rows that are still there would be missing in it without a trace.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from psycopg2 import sql

from exporter.backends.postgresql.connection import Cursor
from exporter.backends.timescaledb.capabilities import Capabilities

__all__ = ["ROLLUPS", "Rollup", "create_rollups"]

# A NaN counts as a point and goes into nothing else, as in `exporter.query`.
_METRICS: Final = """
    SELECT {time_bucket}({bucket}::interval, "timestamp") AS bucket,
           series_id,
           count(value) AS points,
           count(value) FILTER (WHERE value <> 'NaN'::double precision) AS numbers,
           sum(value) FILTER (WHERE value <> 'NaN'::double precision) AS sum,
           min(value) FILTER (WHERE value <> 'NaN'::double precision) AS min,
           max(value) FILTER (WHERE value <> 'NaN'::double precision) AS max,
           {last}(value, "timestamp") FILTER (WHERE value IS NOT NULL) AS last_value,
           max("timestamp") FILTER (WHERE value IS NOT NULL) AS last_timestamp
    FROM system_metrics
    GROUP BY 1, 2"""
# Without entries that came to nothing, as in `exporter.query`; and without tags, of which an entry
# may have some of its own, so that there would be as many rows as entries. Nine indexes would be
# kept up for nothing: questions are about times, which choose the chunks.
_COSTS: Final = """
    SELECT {time_bucket}({bucket}::interval, "timestamp") AS bucket,
           currency, category, resource_id, region, cluster_id, node_id, service_name,
           billing_period, source,
           count(*) AS entries,
           sum(amount) AS amount
    FROM cost_entries
    WHERE series_id IS NULL OR amount <> 0
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10"""


@dataclass(frozen=True, slots=True)
class Rollup:
    """What one is made of.

    Attributes:
        bucket: its length.
        refreshed_every: how often the database brings it up to date. A bucket is left to be
            computed from the rows until it is over, so that the open one is not materialized again
            and again.
        query: its rows.
        is_indexed: whether each column that is grouped by has an index of its own.
    """

    bucket: str
    refreshed_every: str
    query: str
    is_indexed: bool


ROLLUPS: Final = {
    "metric_rollups_hourly": Rollup("1 hour", "30 minutes", _METRICS, is_indexed=True),
    "metric_rollups_daily": Rollup("1 day", "6 hours", _METRICS, is_indexed=True),
    "cost_rollups_hourly": Rollup("1 hour", "30 minutes", _COSTS, is_indexed=False),
    "cost_rollups_daily": Rollup("1 day", "6 hours", _COSTS, is_indexed=False),
}
_CREATE: Final = """
    CREATE MATERIALIZED VIEW IF NOT EXISTS {name}
    WITH (timescaledb.continuous, timescaledb.materialized_only = false,
        timescaledb.create_group_indexes = {is_indexed}) AS {query}
    WITH NO DATA"""
_ADD_POLICY: Final = """
    SELECT {add_continuous_aggregate_policy}({name}::regclass,
        start_offset => NULL::interval, end_offset => {bucket}::interval,
        schedule_interval => {refreshed_every}::interval, if_not_exists => true)"""


def create_rollups(cursor: Cursor, capabilities: Capabilities) -> None:
    """Create the roll-ups that are missing, and the policies that keep them up to date.

    Args:
        cursor: with a transaction open; the fact tables are hypertables.
        capabilities: of this database, a Community Edition.
    """
    for name, rollup in ROLLUPS.items():
        cursor.execute("SELECT to_regclass(%s) IS NULL", (name,))
        if cursor.fetchone() != (True,):
            continue
        bucket = sql.Literal(rollup.bucket)
        query = sql.SQL(rollup.query).format(
            bucket=bucket,
            time_bucket=capabilities.name("time_bucket"),
            last=capabilities.name("last"),
        )
        cursor.execute(
            sql.SQL(_CREATE).format(
                name=sql.Identifier(name), is_indexed=sql.Literal(rollup.is_indexed), query=query
            )
        )
        cursor.execute(
            sql.SQL(_ADD_POLICY).format(
                add_continuous_aggregate_policy=capabilities.name(
                    "add_continuous_aggregate_policy"
                ),
                name=sql.Literal(name),
                bucket=bucket,
                refreshed_every=sql.Literal(rollup.refreshed_every),
            )
        )
