"""Where encoders put the times and the value of a NumberDataPoint.

Three fields have a fixed width of nine bytes: start (tag 0x11), time (0x19) and value (0x21 for
as_double, 0x31 for as_int). Protobuf allows any order, but one encoder always writes one. Taken
off at known places they leave the attributes, and those are the key of the series. What does not
fit a layout is decoded by the official messages, so a layout only ever saves time.
"""

from __future__ import annotations

from typing import Final

import numpy as np

__all__ = ["AS_DOUBLE", "AS_INT", "LAYOUTS", "START", "TIME", "Layout", "layout_of"]

START: Final = 0x11
TIME: Final = 0x19
AS_DOUBLE: Final = 0x21
AS_INT: Final = 0x31
_VALUES: Final = frozenset({AS_DOUBLE, AS_INT})
_FIELD_BYTES: Final = 9
_PARTS: Final = (("_tag", "u1"), ("", "<i8"))
_TAGS: Final = {"start": frozenset({START}), "time": frozenset({TIME}), "value": _VALUES}


class Layout:
    """One order of the fixed-width fields.

    Args:
        head: fields before the attributes, in their order.
        value_last: the value follows the attributes.

    Attributes:
        head_bytes: length of what stands before the attributes.
        tail_bytes: length of what stands after them.
        has_start: whether the start time is written.
        dtype: head and tail of a point as one packed record: a tag and eight bytes a field.
    """

    __slots__ = ("_tags", "dtype", "has_start", "head_bytes", "tail_bytes")

    def __init__(self, *head: str, value_last: bool = False) -> None:
        names = (*head, "value") if value_last else head
        self.head_bytes = _FIELD_BYTES * len(head)
        self.tail_bytes = _FIELD_BYTES if value_last else 0
        self.has_start = "start" in head
        self.dtype = np.dtype([(f"{name}{part}", code) for name in names for part, code in _PARTS])
        self._tags = [(_FIELD_BYTES * at, _TAGS[name]) for at, name in enumerate(head)]
        if value_last:
            self._tags.append((-_FIELD_BYTES, _TAGS["value"]))

    def fits(self, point: bytes) -> bool:
        """Whether the tags of this point stand where this layout has them."""
        if len(point) < self.head_bytes + self.tail_bytes:
            return False
        for at, tags in self._tags:  # noqa: SIM110 - a loop costs half of all() with a generator
            if point[at] not in tags:
                return False
        return True


# Longer heads first: a layout without a start would fit the beginning of one with it.
LAYOUTS: Final = (
    Layout("start", "time", "value"),  # Python, JS, Rust, Java, Envoy, rotel
    Layout("value", "time", "start"),  # Collector since 0.133, which writes backwards
    Layout("value", "start", "time"),  # .NET
    Layout("start", "time", value_last=True),  # Go SDK, Collector until 0.131 for integers
    Layout("time", "value"),  # gauges of the first row
    Layout("value", "time"),  # gauges of the second and third
    Layout("time", value_last=True),  # gauges of the fourth
)


def layout_of(point: bytes) -> Layout | None:
    """The layout that this point was written in, None where it is none of the known ones."""
    return next((layout for layout in LAYOUTS if layout.fits(point)), None)
