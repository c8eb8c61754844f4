"""Creates and changes hypertables, policies and roll-ups as the options say.

It may run repeatedly, and in several programs at once.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

from exporter.backends.postgresql.connection import Connection, Cursor, transaction
from exporter.backends.postgresql.partitioning import FACT_TABLE_NAMES
from exporter.backends.timescaledb.columnstore import (
    FIRST_SAFE_VERSION,
    DirectCompress,
    enable_columnstore,
)
from exporter.backends.timescaledb.extension import Capabilities
from exporter.backends.timescaledb.hypertables import (
    create_hypertable,
    create_indexes,
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
from exporter.tables import COST_ENTRIES
from exporter.time_units import SECONDS_PER_DAY

_log = logging.getLogger(__name__)

# These are not compressed. A late point updates the entry of the next point, and each insert looks
# up the key of the entry. Both are slow in the columnstore, and few rows would save little space.
_NEVER_COMPRESSED: Final = frozenset({COST_ENTRIES.name})
# Any number that no other program's advisory locks use: "OFOH" as ASCII.
_SETUP_LOCK: Final = 0x4F464F48


@dataclass(frozen=True, slots=True)
class HypertableOptions:
    """What a user configures about hypertables.

    Attributes:
        chunk_interval_seconds: the time span of new chunks. None keeps the current span, a day for
            a new table.
        enable_compression: compress chunks, by a policy and by COPY. None keeps the policies.
        compress_after_seconds: the age of a chunk's end at which the policy compresses it. Late
            rows are inserted more slowly afterwards, so it should exceed the time for which senders
            retry.
        direct_compress: whether COPY writes compressed rows; see `columnstore`.
        retention_days: the age at which the database drops chunks, but for those of cost entries.
            None keeps the policies.
        rollups: create continuous aggregates of number points and costs. False keeps existing ones.
    """

    chunk_interval_seconds: float | None = None
    enable_compression: bool | None = None
    compress_after_seconds: float = SECONDS_PER_DAY
    direct_compress: DirectCompress = "auto"
    retention_days: float | None = None
    rollups: bool = True


def configure_hypertables(
    connection: Connection, capabilities: Capabilities, options: HypertableOptions, label: str
) -> None:
    """Convert the fact tables to hypertables, with their policies and roll-ups.

    Args:
        connection: with no transaction open; the schema is migrated.
        capabilities: of this database.
        options: what the user configured.
        label: the backend and the location of its database, for messages.

    Raises:
        BackendRefusedError: a table of the backend `postgresql` cannot be converted.
        psycopg2.Error: a statement failed.
    """
    for table in FACT_TABLE_NAMES:
        with transaction(connection) as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_SETUP_LOCK,))
            _ensure_hypertable(cursor, capabilities, options, table, label)
        move_partitions(connection, table, label)
    if not capabilities.is_community:
        return
    with transaction(connection) as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_SETUP_LOCK,))
        for table in FACT_TABLE_NAMES:
            if table not in _NEVER_COMPRESSED:
                _set_compression(cursor, capabilities, options, table)
            if options.retention_days is not None:
                _set_retention(cursor, capabilities, options.retention_days, table)
        if options.rollups:
            create_rollups(cursor, capabilities)


def warn_about_limitations(
    capabilities: Capabilities, options: HypertableOptions, label: str
) -> None:
    """Log what the options ask for and this installation cannot do, or not safely."""
    if not capabilities.is_community:
        _log.warning(
            "%s: the extension %s has the Apache license, without columnstore, "
            "policies and continuous aggregates: rows stay uncompressed, there are no roll-ups, "
            "and old rows are deleted only while the exporter runs; install the Community "
            "Edition to change this",
            label,
            capabilities.version,
        )
    elif (
        options.enable_compression
        and options.direct_compress == "on"
        and capabilities.version_numbers < FIRST_SAFE_VERSION
    ):
        _log.warning(
            "%s: direct_compress is on, and the extension %s may lose rows with it; "
            "update it to %d.%d or later, or set direct_compress to auto",
            label,
            capabilities.version,
            *FIRST_SAFE_VERSION,
        )


def _ensure_hypertable(
    cursor: Cursor,
    capabilities: Capabilities,
    options: HypertableOptions,
    table: str,
    label: str,
) -> None:
    interval_seconds = options.chunk_interval_seconds

    def convert() -> None:
        create_hypertable(cursor, capabilities, table, interval_seconds or SECONDS_PER_DAY)

    if is_hypertable(cursor, table):
        if interval_seconds is not None:
            set_chunk_interval(cursor, capabilities, table, interval_seconds)
    elif is_partitioned(cursor, table):
        _log.info(
            "%s: the backend postgresql has partitioned %s; converting it to a "
            "hypertable, newest rows first",
            label,
            table,
        )
        replace_partitioned(cursor, table, convert, label)
    else:
        convert()
    create_indexes(cursor, capabilities, table, label)


def _set_compression(
    cursor: Cursor, capabilities: Capabilities, options: HypertableOptions, table: str
) -> None:
    if options.enable_compression:
        enable_columnstore(cursor, capabilities, table)
        set_policy(cursor, capabilities, COLUMNSTORE, table, options.compress_after_seconds)
    elif options.enable_compression is None:
        return
    elif remove_policy(cursor, capabilities, COLUMNSTORE, table):
        _log.info(
            "removed the compression policy of %s, because enable_compression is off; compressed "
            "chunks stay compressed",
            table,
        )


def _set_retention(
    cursor: Cursor, capabilities: Capabilities, retention_days: float, table: str
) -> None:
    if table != COST_ENTRIES.name:
        set_policy(cursor, capabilities, RETENTION, table, retention_days * SECONDS_PER_DAY)
    # A job would drop entries without closing their streams, and imported bills.
    elif remove_policy(cursor, capabilities, RETENTION, table):
        _log.info("removed the retention policy of %s: the exporter itself drops old costs", table)
