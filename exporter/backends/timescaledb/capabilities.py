"""What the TimescaleDB in a database can do: looked up in its catalogue, once a connection.

Names of functions and settings are asked for where they tell what is there. Only a defect that a
release mended has to be told by the version.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from psycopg2 import sql

from exporter.backends.postgresql.connection import Cursor

__all__ = ["Capabilities", "read_capabilities"]

_LOOK_UP: Final = """
    SELECT extension.extversion,
           schema.nspname,
           coalesce(current_setting('timescaledb.license', true), ''),
           EXISTS (SELECT FROM pg_proc
                   WHERE pronamespace = schema.oid AND proname = 'by_range'),
           EXISTS (SELECT FROM pg_proc
                   WHERE pronamespace = schema.oid AND proname = 'add_columnstore_policy'),
           EXISTS (SELECT FROM pg_settings
                   WHERE name = 'timescaledb.enable_direct_compress_copy')
    FROM pg_extension AS extension
    JOIN pg_namespace AS schema ON schema.oid = extension.extnamespace
    WHERE extension.extname = 'timescaledb'"""
_NUMBERS: Final = re.compile(r"(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What one installation of the extension offers.

    Attributes:
        version: as the extension tells it, such as "2.28.1".
        schema: where its functions are; not everybody has that schema in search_path.
        license: "timescale" for the Community Edition, "apache" for builds without the columnstore,
            policies and continuous aggregates.
        has_by_range: `create_hypertable` takes `by_range(...)` (2.13).
        has_columnstore_names: compression goes by the name of columnstore (2.18).
        has_direct_compress_copy: COPY can write compressed rows (2.21).
    """

    version: str
    schema: str
    license: str
    has_by_range: bool
    has_columnstore_names: bool
    has_direct_compress_copy: bool

    @property
    def is_community(self) -> bool:
        """Whether there are a columnstore, policies and continuous aggregates."""
        return self.license == "timescale"

    @property
    def version_numbers(self) -> tuple[int, int]:
        """Major and minor version; (0, 0) if `version` does not begin with them."""
        found = _NUMBERS.match(self.version)
        return (int(found[1]), int(found[2])) if found else (0, 0)

    def name(self, function: str) -> sql.Identifier:
        """A function of the extension by its full name."""
        return sql.Identifier(self.schema, function)


def read_capabilities(cursor: Cursor) -> Capabilities | None:
    """What the extension of this database can do; None if the database does not have it."""
    cursor.execute(_LOOK_UP)
    row = cursor.fetchone()
    return None if row is None else Capabilities(*row)
