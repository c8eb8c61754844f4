"""Continuous aggregates of number points and costs by the hour and day. Community Edition only.

Each covers all times: materialized buckets, and newer ones computed from the rows. They serve SQL
and dashboards; `exporter.query` reads the buckets that are materialized and up to date.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from psycopg2 import sql

from exporter.backends.postgresql.connection import Cursor
from exporter.backends.timescaledb.extension import Capabilities

# A NaN counts as a point and is left out of every other column, as in `exporter.query`.
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
# Entries with the amount 0 are left out, as in `exporter.query`. Tags are left out, because they
# may be unique for each entry, and a roll-up would then have as many rows as entries. The nine
# indexes that TimescaleDB would create are of no use: queries select times, and so chunks.
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
class RollupDefinition:
    """The definition of one continuous aggregate.

    Attributes:
        bucket: the length of a bucket.
        refreshed_every: how often the database refreshes it. The current bucket is computed from
            the rows until it ends; otherwise each refresh would materialize it again.
        query: the statement that it materializes.
        is_indexed: whether TimescaleDB creates an index for each column in GROUP BY.
    """

    bucket: str
    refreshed_every: str
    query: str
    is_indexed: bool


# There is no retention policy for roll-ups. When chunks of rows are dropped, the invalidation log
# has an entry, and the next refresh removes them from the roll-up. Dropping chunks of the roll-up
# itself writes no log entry. The roll-up would then silently miss rows that still exist.
ROLLUPS: Final = {
    "metric_rollups_hourly": RollupDefinition("1 hour", "30 minutes", _METRICS, is_indexed=True),
    "metric_rollups_daily": RollupDefinition("1 day", "6 hours", _METRICS, is_indexed=True),
    "cost_rollups_hourly": RollupDefinition("1 hour", "30 minutes", _COSTS, is_indexed=False),
    "cost_rollups_daily": RollupDefinition("1 day", "6 hours", _COSTS, is_indexed=False),
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
    """Create the missing roll-ups, and the policies that refresh them.

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
            time_bucket=capabilities.function("time_bucket"),
            last=capabilities.function("last"),
        )
        cursor.execute(
            sql.SQL(_CREATE).format(
                name=sql.Identifier(name), is_indexed=sql.Literal(rollup.is_indexed), query=query
            )
        )
        cursor.execute(
            sql.SQL(_ADD_POLICY).format(
                add_continuous_aggregate_policy=capabilities.function(
                    "add_continuous_aggregate_policy"
                ),
                name=sql.Literal(name),
                bucket=bucket,
                refreshed_every=sql.Literal(rollup.refreshed_every),
            )
        )
