"""COPY of prepared binary streams into the points table."""

from __future__ import annotations

import io
import time
from collections.abc import Iterable
from typing import Final

import psycopg2

_COPY: Final = """
    COPY system_metrics ("timestamp", series_id, value, start_timestamp)
    FROM STDIN (FORMAT binary)"""
_COPY_BUFFER_BYTES: Final = 1 << 18


def seconds_to_copy(cursor: psycopg2.extensions.cursor, streams: Iterable[bytes]) -> float:
    """Seconds for these streams; with autocommit each is one transaction."""
    began = time.perf_counter()
    for stream in streams:
        cursor.copy_expert(_COPY, io.BytesIO(stream), _COPY_BUFFER_BYTES)
    return time.perf_counter() - began
