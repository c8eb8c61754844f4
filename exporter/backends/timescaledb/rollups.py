"""Continuous aggregates: number points by the hour and by the day, kept up by the database.

Each covers all times: what is materialized, and what came since, read from the points. They
are for SQL and dashboards, and `exporter.query` reads what is materialized and up to date
(`exporter.query.coverage`). Community Edition only.

They have no retention of their own. Chunks of points that are dropped leave an entry in the
invalidation log, and the next refresh takes them out; chunks of a roll-up that are dropped leave
none, and points that are still there would be missing in it without a trace.
"""

from __future__ import annotations

from typing import Final

from psycopg2 import sql

from exporter.backends.postgresql.connecting import Cursor
from exporter.backends.timescaledb.capabilities import Capabilities

__all__ = ["ROLLUPS", "create_rollups"]

# Name -> bucket, and how often the database brings it up to date. A bucket is left to be computed
# from the points until it is over, so that the open one is not materialized again and again.
ROLLUPS: Final = {
    "metric_rollups_hourly": ("1 hour", "30 minutes"),
    "metric_rollups_daily": ("1 day", "6 hours"),
}
# A NaN counts as a point and goes into nothing else, as in `exporter.query`.
_CREATE: Final = """
    CREATE MATERIALIZED VIEW IF NOT EXISTS {name}
    WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
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
    GROUP BY 1, 2
    WITH NO DATA"""
_ADD_POLICY: Final = """
    SELECT {add_continuous_aggregate_policy}({name}::regclass,
        start_offset => NULL::interval, end_offset => {bucket}::interval,
        schedule_interval => {schedule}::interval, if_not_exists => true)"""


def create_rollups(cursor: Cursor, capabilities: Capabilities) -> None:
    """Create the roll-ups that are missing, and the policies that keep them up to date.

    Args:
        cursor: with a transaction open; `system_metrics` is a hypertable.
        capabilities: of this database, a Community Edition.
    """
    for name, (bucket, schedule) in ROLLUPS.items():
        cursor.execute("SELECT to_regclass(%s) IS NULL", (name,))
        if cursor.fetchone() != (True,):
            continue
        cursor.execute(
            sql.SQL(_CREATE).format(
                name=sql.Identifier(name),
                bucket=sql.Literal(bucket),
                time_bucket=capabilities.name("time_bucket"),
                last=capabilities.name("last"),
            )
        )
        cursor.execute(
            sql.SQL(_ADD_POLICY).format(
                add_continuous_aggregate_policy=capabilities.name(
                    "add_continuous_aggregate_policy"
                ),
                name=sql.Literal(name),
                bucket=sql.Literal(bucket),
                schedule=sql.Literal(schedule),
            )
        )
