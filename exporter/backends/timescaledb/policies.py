"""Policies: jobs of the database that compress or drop old chunks. Community Edition only.

They run in the server, also while no receiver runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from psycopg2 import sql

from exporter.backends.postgresql.connection import Cursor
from exporter.backends.timescaledb.extension import Capabilities

_FIND_JOB: Final = """
    SELECT job_id, (config ->> %s)::interval = make_interval(secs => %s)
    FROM timescaledb_information.jobs
    WHERE proc_name = %s
        AND format('%%I.%%I', hypertable_schema, hypertable_name)::regclass = %s::regclass"""
_ALTER: Final = """
    SELECT {alter_job}(job_id, config => config || jsonb_build_object(
        {key}, make_interval(secs => {seconds})::text))
    FROM timescaledb_information.jobs WHERE job_id = {job_id}"""


@dataclass(frozen=True, slots=True)
class Policy:
    """One kind of policy, in TimescaleDB's terms.

    Attributes:
        procedure: the procedure that its job runs.
        key: the job's setting for the age of the chunks.
        add: the statement that creates one.
        add_by_older_name: the statement before 2.18, if it differs.
    """

    procedure: str
    key: str
    add: str
    add_by_older_name: str | None = None


RETENTION: Final = Policy(
    procedure="policy_retention",
    key="drop_after",
    add="SELECT {add_retention_policy}"
    "({table}::regclass, drop_after => {after}, if_not_exists => true)",
)
COLUMNSTORE: Final = Policy(
    procedure="policy_compression",
    key="compress_after",
    add="CALL {add_columnstore_policy}({table}::regclass, after => {after}, if_not_exists => true)",
    add_by_older_name="SELECT {add_compression_policy}"
    "({table}::regclass, {after}, if_not_exists => true)",
)
_ADD_FUNCTIONS: Final = ("add_retention_policy", "add_columnstore_policy", "add_compression_policy")


def set_policy(
    cursor: Cursor, capabilities: Capabilities, policy: Policy, table: str, after_seconds: float
) -> None:
    """Create a policy for chunks of this age, counted from their end, or change its age.

    Args:
        cursor: with a transaction open.
        capabilities: of this database, a Community Edition.
        policy: which kind.
        table: a hypertable.
        after_seconds: the age. A policy with another age is changed and keeps its schedule.
    """
    job = _find_job(cursor, policy, table, after_seconds)
    if job is None:
        cursor.execute(_add_statement(capabilities, policy, table, after_seconds))
    elif not job[1]:
        cursor.execute(
            sql.SQL(_ALTER).format(
                alter_job=capabilities.function("alter_job"),
                key=sql.Literal(policy.key),
                seconds=sql.Literal(after_seconds),
                job_id=sql.Literal(job[0]),
            )
        )


def remove_policy(cursor: Cursor, capabilities: Capabilities, policy: Policy, table: str) -> bool:
    """Remove a policy from a hypertable; returns whether there was one."""
    job = _find_job(cursor, policy, table, 0)
    if job is None:
        return False
    cursor.execute(
        sql.SQL("SELECT {}({})").format(capabilities.function("delete_job"), sql.Literal(job[0]))
    )
    return True


def _find_job(
    cursor: Cursor, policy: Policy, table: str, after_seconds: float
) -> tuple[int, bool] | None:
    """The id of a policy's job, and whether it has this age."""
    cursor.execute(_FIND_JOB, (policy.key, after_seconds, policy.procedure, table))
    row: tuple[int, bool] | None = cursor.fetchone()
    return row


def _add_statement(
    capabilities: Capabilities, policy: Policy, table: str, after_seconds: float
) -> sql.Composed:
    older = policy.add_by_older_name
    statement = older if older and not capabilities.has_columnstore_names else policy.add
    return sql.SQL(statement).format(
        table=sql.Literal(table),
        after=sql.SQL("make_interval(secs => {})").format(sql.Literal(after_seconds)),
        **{name: capabilities.function(name) for name in _ADD_FUNCTIONS},
    )
