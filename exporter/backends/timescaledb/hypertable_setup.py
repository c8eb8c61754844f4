"""Brings the fact tables of a database to what the options say; safe twice, and beside another."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

from exporter.backends.postgresql.connection import Connection, Cursor, transaction
from exporter.backends.postgresql.partitioning import FACT_TABLE_NAMES
from exporter.backends.timescaledb.capabilities import Capabilities
from exporter.backends.timescaledb.columnstore import (
    FIRST_SAFE_VERSION,
    DirectCompress,
    enable_columnstore,
)
from exporter.backends.timescaledb.hypertables import (
    create_hypertable,
    index_hypertable,
    is_hypertable,
    set_chunk_interval,
)
from exporter.backends.timescaledb.partition_conversion import (
    is_partitioned,
    move_partitions,
    replace_partitioned,
)
from exporter.backends.timescaledb.policies import (
    COLUMNSTORE,
    RETENTION,
    remove_policy,
    set_policy,
)
from exporter.backends.timescaledb.rollups import create_rollups

__all__ = ["HypertableOptions", "configure_hypertables", "warn_about_limitations"]

_log = logging.getLogger(__name__)

_SECONDS_PER_DAY: Final = 86_400
# A late point changes the entry of the next one, and each entry is looked up by its key before it
# is stored: both are slow in the columnstore, and there are few rows to save space with.
_CHANGED_LATER: Final = frozenset({"cost_entries"})
# Any number that no other program's advisory locks use: "OFOH" as ASCII.
_SETUP_LOCK: Final = 0x4F464F48


@dataclass(frozen=True, slots=True)
class HypertableOptions:
    """What a user decides about hypertables.

    Attributes:
        chunk_interval_seconds: how much time one chunk holds; for chunks yet to be made. None
            leaves it as it is: a day in a new table.
        enable_compression: compress chunks, by a policy and as they are written; None leaves the
            policies as they are.
        compress_after_seconds: how old a chunk's end is when the policy compresses it. Late rows
            still go in, but by a slower way, so it should be longer than senders try again.
        direct_compress: whether COPY writes compressed rows; see `columnstore`.
        retention_days: age of the chunks that the database drops by itself; None leaves the
            policies as they are.
        rollups: make continuous aggregates of number points and costs; those that are there stay.
    """

    chunk_interval_seconds: float | None = None
    enable_compression: bool | None = None
    compress_after_seconds: float = _SECONDS_PER_DAY
    direct_compress: DirectCompress = "auto"
    retention_days: float | None = None
    rollups: bool = True


def configure_hypertables(
    connection: Connection, capabilities: Capabilities, options: HypertableOptions, location: str
) -> None:
    """Make hypertables of the fact tables, with their policies and roll-ups.

    Args:
        connection: with no transaction open; the schema is migrated.
        capabilities: of this database.
        options: see there.
        location: for messages.

    Raises:
        BackendRefusedError: a table of the backend `postgresql` cannot be converted.
        psycopg2.Error: the database refuses something.
    """
    for table in FACT_TABLE_NAMES:
        with transaction(connection) as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_SETUP_LOCK,))
            _make_hypertable(cursor, capabilities, options, table, location)
        move_partitions(connection, table, location)
    if not capabilities.is_community:
        return
    with transaction(connection) as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_SETUP_LOCK,))
        for table in FACT_TABLE_NAMES:
            if table not in _CHANGED_LATER:
                _compress(cursor, capabilities, options, table)
            _retain(cursor, capabilities, options, table)
        if options.rollups:
            create_rollups(cursor, capabilities)


def warn_about_limitations(
    capabilities: Capabilities, options: HypertableOptions, location: str
) -> None:
    """Say once what the options ask for and this installation cannot do, or not safely."""
    if not capabilities.is_community:
        _log.warning(
            "timescaledb %s: the extension %s is built under the Apache license, which has no "
            "columnstore, policies or continuous aggregates: rows stay uncompressed, there are no "
            "roll-ups, and old rows are deleted only while the exporter runs; install the "
            "Community Edition for these",
            location,
            capabilities.version,
        )
    elif (
        options.enable_compression
        and options.direct_compress == "on"
        and capabilities.version_numbers < FIRST_SAFE_VERSION
    ):
        _log.warning(
            "timescaledb %s: direct_compress is on, and the extension %s may lose rows with it; "
            "update it to %d.%d or later, or set direct_compress to auto",
            location,
            capabilities.version,
            *FIRST_SAFE_VERSION,
        )


def _make_hypertable(
    cursor: Cursor,
    capabilities: Capabilities,
    options: HypertableOptions,
    table: str,
    location: str,
) -> None:
    interval_seconds = options.chunk_interval_seconds

    def make() -> None:
        create_hypertable(cursor, capabilities, table, interval_seconds or _SECONDS_PER_DAY)

    if is_hypertable(cursor, table):
        if interval_seconds is not None:
            set_chunk_interval(cursor, capabilities, table, interval_seconds)
    elif is_partitioned(cursor, table):
        _log.info(
            "timescaledb %s: %s is partitioned, as the backend postgresql leaves it; converting "
            "it into a hypertable, newest rows first",
            location,
            table,
        )
        replace_partitioned(cursor, table, make, location)
    else:
        make()
    index_hypertable(cursor, capabilities, table, location)


def _compress(
    cursor: Cursor, capabilities: Capabilities, options: HypertableOptions, table: str
) -> None:
    if options.enable_compression:
        enable_columnstore(cursor, capabilities, table)
        set_policy(cursor, capabilities, COLUMNSTORE, table, options.compress_after_seconds)
    elif options.enable_compression is None:
        return
    elif remove_policy(cursor, capabilities, COLUMNSTORE, table):
        _log.info(
            "%s is not compressed any more, because enable_compression is off; chunks that are "
            "compressed already stay so",
            table,
        )


def _retain(
    cursor: Cursor, capabilities: Capabilities, options: HypertableOptions, table: str
) -> None:
    if options.retention_days is not None:
        after_seconds = options.retention_days * _SECONDS_PER_DAY
        set_policy(cursor, capabilities, RETENTION, table, after_seconds)
