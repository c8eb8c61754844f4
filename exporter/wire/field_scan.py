"""Finds the fields of thousands of small messages at once.

Each numpy step reads one field of every message.

The offset of a field is known once the field before it is read. The first fields of all messages
are therefore read together, then the second ones, and so on: a dozen steps for each request
instead of a dozen for each point (0.3 us a point; an official message takes 17 us).

Only expected fields are followed: one-byte tags out of a given set. A message with anything else,
or a truncated one, is marked invalid and goes to the official messages. These accept every valid
one, unless the content of one of its length-delimited fields is invalid.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

from exporter.model import Int64Array
from exporter.wire.protobuf_reader import FIXED64, VARINT
from exporter.wire.vectorized_buffer import BoolArray, ByteBuffer, Spans

# The offset of a field that a message does not have. It is in the padding, where every number
# is 0, which is also the default value of a field.
MISSING: Final = -1
_WIRE_TYPE: Final = 7
_FIXED_BYTES: Final = 8
# Four length bytes hold 256 MiB, and some encoders write four for any length.
_MAX_LENGTH_BYTES: Final = 4
# A step costs as much as an official message, so a scan of messages with many fields is stopped.
# Some senders write each histogram bucket as a field of its own, of which there are up to 160.
_MIN_STEPS: Final = 32
_MAX_STEPS: Final = 256


class FieldColumn(NamedTuple):
    """Fields with one tag, at most one of each message, in the order of the messages.

    Attributes:
        message: the index of the message.
        tag: the offset of the tag.
        value: the number of a varint; of other wire types the offset of the content.
        end: the offset after the field.
    """

    message: Int64Array
    tag: Int64Array
    value: Int64Array
    end: Int64Array

    def take(self, chosen: BoolArray) -> FieldColumn:
        """The chosen fields."""
        return FieldColumn(*(column[chosen] for column in self))


_EMPTY: Final = np.empty(0, np.int64)


class ScanResult:
    """The fields of scanned messages.

    Attributes:
        valid: which messages contain only expected fields; the others have no reliable fields.
    """

    __slots__ = ("_columns", "valid")

    def __init__(self, message_count: int) -> None:
        self.valid = np.ones(message_count, np.bool_)
        # By tag. The second column of a tag has the second such field of a message, and so on.
        self._columns: dict[int, list[FieldColumn]] = {}

    def add(self, tag: int, column: FieldColumn) -> None:
        """Add a field of some messages."""
        self._columns.setdefault(tag, []).append(column)

    def has_field(self, tag: int) -> bool:
        """Whether any message has a field with the tag."""
        return tag in self._columns

    def last_value(self, tag: int, default: int = MISSING) -> Int64Array:
        """The value of each message's last field with the tag; in protobuf the last one counts."""
        columns = self._columns.get(tag, ())
        if columns and self._is_complete(columns[-1]):
            return columns[-1].value
        values = np.full(len(self.valid), default, np.int64)
        for column in columns:
            values[self._messages_of(column)] = column.value
        return values

    def single_span(self, tag: int) -> tuple[Int64Array, Int64Array]:
        """Start and end of the content of each message's field with the tag, 0 and 0 if missing.

        A message with several such fields is marked invalid: they would have to be merged.
        """
        columns = self._columns.get(tag, ())
        if len(columns) == 1 and self._is_complete(columns[0]):
            return columns[0].value, columns[0].end
        start, end = np.zeros((2, len(self.valid)), np.int64)
        for column in columns:
            messages = self._messages_of(column)
            self.valid[messages] &= end[messages] == 0
            start[messages], end[messages] = column.value, column.end
        return start, end

    def adjacent_span(self, tag: int) -> tuple[Int64Array, Int64Array]:
        """Start and end of all fields with the tag in each message, tags included.

        A message in which these fields are not adjacent is marked invalid.
        """
        columns = self._columns.get(tag, ())
        if columns and all(map(self._is_complete, columns)):
            for before, column in pairwise(columns):
                self.valid &= before.end == column.tag
            return columns[0].tag, columns[-1].end
        start, end, covered = np.zeros((3, len(self.valid)), np.int64)
        for column in columns:
            messages = self._messages_of(column)
            # The first field of a message sets the start, the last one the end.
            start[messages] = np.where(end[messages] == 0, column.tag, start[messages])
            covered[messages] += column.end - column.tag
            end[messages] = column.end
        self.valid &= covered == end - start
        return start, end

    def all_spans(self, tag: int) -> Spans:
        """The content of every field with the tag; those of one message keep their order."""
        columns = self._columns.get(tag, [])
        if not columns:
            return Spans(_EMPTY, _EMPTY, _EMPTY)
        message, _, start, end = map(np.concatenate, zip(*columns, strict=True))
        if len(columns) > 1:
            order = np.argsort(message, kind="stable")
            message, start, end = message[order], start[order], end[order]
        return Spans(message, start, end)

    def _messages_of(self, column: FieldColumn) -> Int64Array | slice:
        # Most columns are complete, and a slice is ten times as fast as a list of all indexes.
        return slice(None) if self._is_complete(column) else column.message

    def _is_complete(self, column: FieldColumn) -> bool:
        return len(column.message) == len(self.valid)


def scan_fields(
    buffer: ByteBuffer, start: Int64Array, end: Int64Array, tags: frozenset[int]
) -> ScanResult:
    """Find the fields of the messages at start:end.

    Args:
        buffer: the bytes of the messages.
        start: the offset of each message.
        end: the offset after each message.
        tags: of the expected fields, which are fixed64, varint or length-delimited; a message
            with another field is marked invalid.
    """
    result = ScanResult(len(start))
    cursors = _Cursors(np.arange(len(start)), start, end).without_finished()
    tag = 0
    for _ in range(min(_MIN_STEPS + len(start), _MAX_STEPS)):
        if not len(cursors.offset):
            return result
        next_tags = buffer.bytes[cursors.offset]
        if (next_tags == next_tags[0]).all():
            tag = int(next_tags[0])
            cursors = _read_next(buffer, result, cursors, tag, tags)
            continue
        has_tag = next_tags == tag
        if not has_tag.any():
            # Lowest tag first: messages with fewer fields of a repeated field wait for those with
            # more, so that all read the fields after it together again.
            tag = int(next_tags.min())
            has_tag = next_tags == tag
        waiting = cursors.take(~has_tag)
        advanced = _read_next(buffer, result, cursors.take(has_tag), tag, tags)
        cursors = _merge(waiting, advanced)
    result.valid[cursors.message] = False
    return result


class _Cursors(NamedTuple):
    """Unfinished messages: index, offset of the next field, and offset after the message."""

    message: Int64Array
    offset: Int64Array
    end: Int64Array

    def take(self, chosen: BoolArray) -> _Cursors:
        return _Cursors(*(column[chosen] for column in self))

    def without_finished(self) -> _Cursors:
        unfinished = self.offset < self.end
        return self if unfinished.all() else self.take(unfinished)


def _read_next(
    buffer: ByteBuffer, result: ScanResult, cursors: _Cursors, tag: int, tags: frozenset[int]
) -> _Cursors:
    """Read the next field of these messages, which has this tag in all of them."""
    if tag not in tags:
        result.valid[cursors.message] = False
        return _NO_CURSORS
    column, valid = _read_fields(buffer, cursors.message, cursors.offset, tag)
    remaining = cursors.end - column.end
    if valid.all() and remaining.min() > 0:  # as in most steps
        result.add(tag, column)
        return _Cursors(column.message, column.end, cursors.end)
    valid = valid & (remaining >= 0)
    if not valid.all():
        result.valid[cursors.message[~valid]] = False
        column, cursors = column.take(valid), cursors.take(valid)
    result.add(tag, column)
    return _Cursors(column.message, column.end, cursors.end).without_finished()


def _merge(one: _Cursors, other: _Cursors) -> _Cursors:
    message, offset, end = (np.concatenate(columns) for columns in zip(one, other, strict=True))
    order = np.argsort(message, kind="stable")
    return _Cursors(message[order], offset[order], end[order])


_NO_CURSORS: Final = _Cursors(_EMPTY, _EMPTY, _EMPTY)


def _read_fields(
    buffer: ByteBuffer, messages: Int64Array, tag_offsets: Int64Array, tag: int
) -> tuple[FieldColumn, BoolArray | np.bool_]:
    """The field at each offset, and whether it could be read; its end may be out of bounds."""
    wire_type = tag & _WIRE_TYPE
    if wire_type == FIXED64:
        value = tag_offsets + 1
        return FieldColumn(messages, tag_offsets, value, value + _FIXED_BYTES), np.True_
    number, after, valid = buffer.varints(tag_offsets + 1)
    if wire_type == VARINT:
        return FieldColumn(messages, tag_offsets, number, after), valid
    # Length-delimited: the only other wire type among the expected tags.
    valid &= after <= tag_offsets + 1 + _MAX_LENGTH_BYTES
    return FieldColumn(messages, tag_offsets, after, after + number), valid
