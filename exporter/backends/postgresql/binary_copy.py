"""Number points in PostgreSQL's binary COPY format, packed while they are sent. Pure.

From packed numpy arrays: with sorting 60 ns a row, where text costs 600. A NULL has no bytes in
this format, so rows are first sorted by which of their columns are NULL: that depends on the series
(gauges have no start), so rows of one series stay together.

A batch is packed in pieces that stay in the processor's cache. Packed whole, 60,000 rows are three
megabytes that the system hands out page by page, which took longer than the packing: 12.5 ms
with sorting, against 3.7.
"""

from __future__ import annotations

from functools import partial
from io import BufferedIOBase
from typing import Final

import numpy as np
import numpy.typing as npt

from exporter.model import Int64Array, Points

__all__ = ["BinaryCopyStream", "binary_copy_streams", "series_order"]

_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER: Final = b"\xff\xff"
# timestamptz counts microseconds from 2000-01-01.
_EPOCH_MICROS: Final = 946_684_800_000_000
_NANOSECONDS_PER_MICROSECOND: Final = 1_000
_NULL_SIZE: Final = -1


def binary_copy_streams(points: Points) -> list[BinaryCopyStream]:
    """Points as streams for COPY of (timestamp, series_id, value, start_timestamp).

    Returns:
        One stream for each pattern of NULLs that occurs, its rows sorted by series and time.
    """
    if not len(points):
        return []
    order = series_order(points.series_id, points.time_unix_nano)
    patterns = points.recorded + 2 * (points.start_time_unix_nano > 0)
    first = int(patterns[0])
    if (patterns == first).all():  # nearly always, and picking the rows took 20 ns each
        return [_rows_of(points, order, first)]
    patterns = patterns[order]
    return [
        _rows_of(points, order[patterns == pattern], int(pattern))
        for pattern in np.unique(patterns)
    ]


def _rows_of(points: Points, positions: npt.NDArray[np.intp], pattern: int) -> BinaryCopyStream:
    return BinaryCopyStream(
        points, positions, recorded=bool(pattern & 1), started=bool(pattern & 2)
    )


def series_order(series_id: Int64Array, time_unix_nano: Int64Array) -> npt.NDArray[np.intp]:
    """Positions that sort by series and time; equal ones stay as they came.

    The last bits of an id make room for the position, which sorts numbers instead of positions and
    is two to four times as fast. Points of a series nearly always come in the order of their times;
    where they do not, or two ids share their first bits, it is seen and sorted the plain way.
    """
    bits = len(series_id).bit_length()
    order = series_id >> bits
    order <<= bits
    order |= np.arange(len(series_id))
    order.sort()
    order &= (1 << bits) - 1
    ids, times = series_id[order], time_unix_nano[order]
    in_order = ids[1:] > ids[:-1]
    in_order |= (ids[1:] == ids[:-1]) & (times[1:] >= times[:-1])
    return order if in_order.all() else np.lexsort((time_unix_nano, series_id))


class BinaryCopyStream(BufferedIOBase):
    """One complete stream, as a file that is read once.

    Args:
        points: to take the rows from.
        positions: of the rows, in the order in which they are sent.
        recorded: whether they have a value.
        started: whether they have a start.
    """

    def __init__(
        self, points: Points, positions: npt.NDArray[np.intp], *, recorded: bool, started: bool
    ) -> None:
        self._points = points
        self._positions = positions
        self._recorded = recorded
        self._started = started
        self._row = _row_type(recorded=recorded, started=started)
        self._packed = np.empty(0, self._row)
        self._sent = 0
        self._rest = _HEADER
        self._has_ended = False

    def read(self, size: int | None = -1, /) -> bytes:
        """Some of the next bytes, at most `size`; all that are left if that is negative."""
        if size is None or size < 0:
            return b"".join(
                iter(partial(self.read, self._row.itemsize * len(self._positions)), b"")
            )
        piece = self._rest or self._next_piece(max(1, size // self._row.itemsize))
        self._rest = piece[size:]
        return piece[:size]

    def _next_piece(self, rows: int) -> bytes:
        positions = self._positions[self._sent : self._sent + rows]
        if len(positions):
            self._sent += len(positions)
            return self._pack(positions)
        has_ended, self._has_ended = self._has_ended, True
        return b"" if has_ended else _TRAILER

    def _pack(self, positions: npt.NDArray[np.intp]) -> bytes:
        if len(self._packed) < len(positions):
            self._packed = self._blank(len(positions))
        rows, points = self._packed[: len(positions)], self._points
        rows["timestamp"] = _timestamptz(points.time_unix_nano[positions])
        rows["series_id"] = points.series_id[positions]
        if self._recorded:
            rows["value"] = points.value[positions]
        if self._started:
            rows["start"] = _timestamptz(points.start_time_unix_nano[positions])
        return rows.tobytes()

    def _blank(self, count: int) -> npt.NDArray[np.void]:
        """Rows with all that is the same in each."""
        rows = np.empty(count, self._row)
        rows["fields"] = 4
        rows["timestamp_size"] = rows["series_id_size"] = 8
        rows["value_size"] = 8 if self._recorded else _NULL_SIZE
        rows["start_size"] = 8 if self._started else _NULL_SIZE
        return rows


def _row_type(*, recorded: bool, started: bool) -> np.dtype[np.void]:
    fields = [("fields", ">i2"), *_field("timestamp", ">i8"), *_field("series_id", ">i8")]
    fields += _field("value", ">f8") if recorded else [("value_size", ">i4")]
    fields += _field("start", ">i8") if started else [("start_size", ">i4")]
    return np.dtype(fields)


def _field(name: str, code: str) -> list[tuple[str, str]]:
    return [(f"{name}_size", ">i4"), (name, code)]


def _timestamptz(unix_nano: Int64Array) -> Int64Array:
    micros: Int64Array = unix_nano // _NANOSECONDS_PER_MICROSECOND - _EPOCH_MICROS
    return micros
