"""Number points in PostgreSQL's binary COPY format, packed while the driver sends them. Pure.

A NULL has no bytes in this format, so rows with different NULL columns differ in length. There is
one stream for each combination of NULL columns.
"""

from __future__ import annotations

from functools import partial
from io import BufferedIOBase
from typing import Final

import numpy as np
import numpy.typing as npt

from exporter.model import Int64Array, Points
from exporter.time_units import NANOSECONDS_PER_MICROSECOND

_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER: Final = b"\xff\xff"
# timestamptz counts microseconds from 2000-01-01.
_EPOCH_MICROS: Final = 946_684_800_000_000
_NULL_SIZE: Final = -1


def binary_copy_streams(points: Points) -> list[BinaryCopyStream]:
    """Points as COPY streams with the columns in the order of `exporter.tables.POINTS`.

    Packing numpy arrays costs 60 ns a row with sorting; text costs 600.

    Returns:
        One stream for each combination of NULL columns, its rows sorted by series and time. Rows of
        one series stay together, because the NULL columns depend on the series: gauges have no
        start.
    """
    if not len(points):
        return []
    order = series_order(points.series_id, points.time_unix_nano)
    null_masks = points.recorded + 2 * (points.start_time_unix_nano > 0)
    first = int(null_masks[0])
    # Usually all rows have the same NULL columns. This branch avoids a copy of 20 ns a row.
    if (null_masks == first).all():
        return [_stream_of(points, order, first)]
    null_masks = null_masks[order]
    return [
        _stream_of(points, order[null_masks == mask], int(mask)) for mask in np.unique(null_masks)
    ]


def _stream_of(points: Points, positions: npt.NDArray[np.intp], null_mask: int) -> BinaryCopyStream:
    return BinaryCopyStream(
        points, positions, recorded=bool(null_mask & 1), started=bool(null_mask & 2)
    )


def series_order(series_id: Int64Array, time_unix_nano: Int64Array) -> npt.NDArray[np.intp]:
    """The positions in the order of series and time; equal rows keep their order."""
    # The position replaces the last bits of the id, so that one plain sort of integers gives the
    # order, two to four times as fast as an argsort. The result is wrong where points of a series
    # do not arrive in the order of their times, or two ids share their first bits; both are rare
    # and detected.
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
    """One complete COPY stream, as a file that is read once.

    Rows are packed in blocks that fit the processor's cache. Packed at once, 60,000 rows need three
    megabytes of new pages from the system, which takes longer than the packing: 12.5 ms with
    sorting, against 3.7 ms.

    Args:
        points: where the rows are.
        positions: of the rows in `points`, in the order of the stream.
        recorded: whether the rows have a value.
        started: whether the rows have a start.
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
        self._remainder = _HEADER
        self._has_ended = False

    def read(self, size: int | None = -1, /) -> bytes:
        """The next bytes, at most `size`, or all remaining bytes if `size` is negative or None."""
        if size is None or size < 0:
            return b"".join(
                iter(partial(self.read, self._row.itemsize * len(self._positions)), b"")
            )
        block = self._remainder or self._next_block(max(1, size // self._row.itemsize))
        self._remainder = block[size:]
        return block[:size]

    def _next_block(self, rows: int) -> bytes:
        positions = self._positions[self._sent : self._sent + rows]
        if len(positions):
            self._sent += len(positions)
            return self._pack(positions)
        has_ended, self._has_ended = self._has_ended, True
        return b"" if has_ended else _TRAILER

    def _pack(self, positions: npt.NDArray[np.intp]) -> bytes:
        if len(self._packed) < len(positions):
            self._packed = self._template_rows(len(positions))
        rows, points = self._packed[: len(positions)], self._points
        rows["timestamp"] = _timestamptz(points.time_unix_nano[positions])
        rows["series_id"] = points.series_id[positions]
        if self._recorded:
            rows["value"] = points.value[positions]
        if self._started:
            rows["start"] = _timestamptz(points.start_time_unix_nano[positions])
        return rows.tobytes()

    def _template_rows(self, count: int) -> npt.NDArray[np.void]:
        """Rows with the fields that are the same in every row."""
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
    micros: Int64Array = unix_nano // NANOSECONDS_PER_MICROSECOND - _EPOCH_MICROS
    return micros
