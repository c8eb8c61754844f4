"""Walks thousands of small messages at once: one numpy step reads a field of each.

Fields of a point follow each other, and where one starts is known when the one before is read.
So the first fields of all points are read together, then the second ones, and so on: a dozen
steps a request instead of a dozen a point (0.3 us a point against 17 for an official message).

Only what is expected is followed: tags of one byte out of a given set. A message that holds
anything else, or is cut off, is not sound, and is left to the official messages. So a sound one
is a message that these accept, unless what stands in its length-delimited fields is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

from exporter.model import Int64Array
from exporter.wire.buffer import Bits, Buffer
from exporter.wire.walk import FIXED64, VARINT

__all__ = ["NOWHERE", "Fields", "Spans", "Swept", "sweep"]

# A place in the padding: what a field that is not written means is 0.
NOWHERE: Final = -1
_WIRE_TYPE: Final = 7
_FIXED_BYTES: Final = 8
# Bytes of a length; these hold 256 MiB, and some encoders write as many for any length.
_LONGEST_LENGTH: Final = 4
# A step costs about what an official message does, so messages of many fields end there. There
# are senders that write each bucket as a field of its own, of which there are 160 at most.
_LEAST_STEPS: Final = 32
_MOST_STEPS: Final = 256


class Fields(NamedTuple):
    """Fields with one tag, at most one of each message, in the order of these.

    `value` is a varint's number, and else where the field's content starts; `end` where it ends.
    """

    message: Int64Array
    tag_at: Int64Array
    value: Int64Array
    end: Int64Array

    def take(self, chosen: Bits) -> Fields:
        """Those that are chosen."""
        return Fields(*(column[chosen] for column in self))


_NONE: Final = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Spans:
    """Repeated sub-messages: the message that each is in, and where it stands."""

    message: Int64Array
    start: Int64Array
    end: Int64Array

    def __len__(self) -> int:
        return len(self.message)


class Swept:
    """Where the fields of the messages stand.

    Attributes:
        sound: which messages hold nothing unexpected; of the others nothing is known.
    """

    __slots__ = ("_fields", "sound")

    def __init__(self, messages: int) -> None:
        self.sound = np.ones(messages, np.bool_)
        # By tag; the second list holds the second such fields of messages that have two, ...
        self._fields: dict[int, list[Fields]] = {}

    def add(self, tag: int, fields: Fields) -> None:
        """Note a field of some messages."""
        self._fields.setdefault(tag, []).append(fields)

    def has(self, tag: int) -> bool:
        """Whether any message has a field with the tag."""
        return tag in self._fields

    def last(self, tag: int, missing: int = NOWHERE) -> Int64Array:
        """The value of each message's last field with the tag, which is the one that counts."""
        found = self._fields.get(tag, ())
        if found and self._is_of_all(found[-1]):
            return found[-1].value
        values = np.full(len(self.sound), missing, np.int64)
        for fields in found:
            values[self._owners(fields)] = fields.value
        return values

    def only(self, tag: int) -> tuple[Int64Array, Int64Array]:
        """Start and end of each message's one field with the tag, 0 and 0 where it has none.

        A message with several is not sound: what they mean together is not looked into.
        """
        found = self._fields.get(tag, ())
        if len(found) == 1 and self._is_of_all(found[0]):
            return found[0].value, found[0].end
        start, end = np.zeros((2, len(self.sound)), np.int64)
        for fields in found:
            owners = self._owners(fields)
            self.sound[owners] &= end[owners] == 0
            start[owners], end[owners] = fields.value, fields.end
        return start, end

    def run(self, tag: int) -> tuple[Int64Array, Int64Array]:
        """Start and end of each message's fields with the tag, tags included.

        A message in which they do not follow each other directly is not sound.
        """
        found = self._fields.get(tag, ())
        if found and all(map(self._is_of_all, found)):
            for before, fields in pairwise(found):
                self.sound &= before.end == fields.tag_at
            return found[0].tag_at, found[-1].end
        start, end, covered = np.zeros((3, len(self.sound)), np.int64)
        for fields in found:
            owners = self._owners(fields)
            # Further ones extend the first.
            start[owners] = np.where(end[owners] == 0, fields.tag_at, start[owners])
            covered[owners] += fields.end - fields.tag_at
            end[owners] = fields.end
        self.sound &= covered == end - start
        return start, end

    def _owners(self, fields: Fields) -> Int64Array | slice:
        # All messages, mostly: and a slice is ten times as fast as a list of all places.
        return slice(None) if self._is_of_all(fields) else fields.message

    def _is_of_all(self, fields: Fields) -> bool:
        return len(fields.message) == len(self.sound)

    def all(self, tag: int) -> Spans:
        """Every field with the tag; those of one message in their order."""
        found = self._fields.get(tag, [])
        if not found:
            return Spans(_NONE, _NONE, _NONE)
        message, _, start, end = map(np.concatenate, zip(*found, strict=True))
        if len(found) > 1:
            order = np.argsort(message, kind="stable")
            message, start, end = message[order], start[order], end[order]
        return Spans(message, start, end)


def sweep(buffer: Buffer, start: Int64Array, end: Int64Array, tags: frozenset[int]) -> Swept:
    """Walk the messages that stand at start:end.

    Args:
        buffer: what they stand in.
        start: of each message.
        end: of each message.
        tags: of the fields to follow, which are fixed64s, varints or length-delimited; a message
            with another one is not sound.
    """
    swept = Swept(len(start))
    going = _Going(np.arange(len(start)), start, end).without_ended()
    tag = 0
    for _ in range(min(_LEAST_STEPS + len(start), _MOST_STEPS)):
        if not len(going.at):
            return swept
        heads = buffer.bytes[going.at]
        if (heads == heads[0]).all():
            tag = int(heads[0])
            going = _step(buffer, swept, going, tag, tags)
            continue
        here = heads == tag
        if not here.any():
            # One tag after the other: messages that have fewer of a repeated field wait for those
            # that have more, so that all read the fields behind it together again.
            tag = int(heads.min())
            here = heads == tag
        waiting = going.take(~here)
        going = _merged(waiting, _step(buffer, swept, going.take(here), tag, tags))
    swept.sound[going.message] = False
    return swept


class _Going(NamedTuple):
    """Messages that are not at their end: which, where the next field starts, and their end."""

    message: Int64Array
    at: Int64Array
    end: Int64Array

    def take(self, chosen: Bits) -> _Going:
        return _Going(*(column[chosen] for column in self))

    def without_ended(self) -> _Going:
        going = self.at < self.end
        return self if going.all() else self.take(going)


def _step(buffer: Buffer, swept: Swept, going: _Going, tag: int, tags: frozenset[int]) -> _Going:
    """Read the field with this tag that each of these messages is at."""
    if tag not in tags:
        swept.sound[going.message] = False
        return _NOBODY
    fields, sound = _read(buffer, going.message, going.at, tag)
    left = going.end - fields.end
    if sound.all() and left.min() > 0:  # as in most steps
        swept.add(tag, fields)
        return _Going(fields.message, fields.end, going.end)
    sound = sound & (left >= 0)
    if not sound.all():
        swept.sound[going.message[~sound]] = False
        fields, going = fields.take(sound), going.take(sound)
    swept.add(tag, fields)
    return _Going(fields.message, fields.end, going.end).without_ended()


def _merged(one: _Going, other: _Going) -> _Going:
    message, at, end = (np.concatenate(columns) for columns in zip(one, other, strict=True))
    order = np.argsort(message, kind="stable")
    return _Going(message[order], at[order], end[order])


_NOBODY: Final = _Going(_NONE, _NONE, _NONE)


def _read(
    buffer: Buffer, messages: Int64Array, tag_at: Int64Array, tag: int
) -> tuple[Fields, Bits | np.bool_]:
    """The field at each place, and whether it could be read; its end may be out of bounds."""
    wire_type = tag & _WIRE_TYPE
    if wire_type == FIXED64:
        value = tag_at + 1
        return Fields(messages, tag_at, value, value + _FIXED_BYTES), np.True_
    number, after, sound = buffer.varints(tag_at + 1)
    if wire_type == VARINT:
        return Fields(messages, tag_at, number, after), sound
    # Of the length-delimited type: `sweep` is asked for no others.
    sound &= after <= tag_at + 1 + _LONGEST_LENGTH
    return Fields(messages, tag_at, after, after + number), sound
