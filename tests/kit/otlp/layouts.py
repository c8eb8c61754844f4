"""Layouts: the choices that protobuf leaves to an encoder of OTLP requests.

An encoder chooses the order of fields, the width of varints, packed or unpacked numbers, and
whether a sub-message is written in one fragment or several. `ENCODERS` has the choices of known
senders, `random_layouts` draws others. `kit.otlp.encode` writes a message in a layout.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.proto.resource.v1 import resource_pb2

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor


@dataclass(frozen=True, slots=True)
class Irregularities:
    """Probabilities, from 0 to 1, of what protobuf allows although no known encoder does it.

    Attributes:
        shuffle: the fields of a message are in random order.
        interleave: the elements of repeated fields are mixed with other fields.
        split: a singular sub-message or a packed list is written in two fragments.
        unknown: a field that is not in the schema precedes a field.
        override: a singular number or text is first written with another value; for a oneof
            another member is written first.
        pad: a tag, a length or a varint is one to four bytes longer than necessary.
    """

    shuffle: float = 0.0
    interleave: float = 0.0
    split: float = 0.0
    unknown: float = 0.0
    override: float = 0.0
    pad: float = 0.0


REGULAR: Final = Irregularities()


@dataclass(frozen=True, slots=True, repr=False)
class Layout:
    """The choices of one encoder.

    Attributes:
        name: for test ids and falsifying examples.
        order: for every message type the field numbers in the order of writing.
        length_bytes: minimum width of the length of a sub-message or a packed list, 1 to 5.
        unpacked: "Message.field" of the repeated numbers that are not packed.
        explicit_defaults: probability that an unset field without presence is written.
        irregularities: probabilities of unusual encodings.
        seed: of the random numbers.
    """

    name: str
    order: Mapping[str, tuple[int, ...]]
    length_bytes: int = 1
    unpacked: frozenset[str] = frozenset()
    explicit_defaults: float = 0.0
    irregularities: Irregularities = REGULAR
    seed: int = 0

    def __repr__(self) -> str:
        choices = (self.name, self.length_bytes, sorted(self.unpacked), self.explicit_defaults)
        return f"Layout({choices}, order..., {self.irregularities}, seed={self.seed})"

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:  # noqa: FBT001 - hypothesis calls it
        # The orders would fill a screen for every falsifying example.
        printer.text(repr(self))


PACKABLE: Final = frozenset(
    {
        "HistogramDataPoint.bucket_counts",
        "HistogramDataPoint.explicit_bounds",
        "Buckets.bucket_counts",
    }
)


def _message_types() -> tuple[Descriptor, ...]:
    found: list[Descriptor] = []
    for module in (metrics_service_pb2, resource_pb2, common_pb2, metrics_pb2):
        for descriptor in module.DESCRIPTOR.message_types_by_name.values():
            found += [descriptor, *descriptor.nested_types]
    return tuple(found)


MESSAGE_TYPES: Final = _message_types()


def _ascending(message_type: Descriptor) -> tuple[int, ...]:
    return tuple(sorted(known.number for known in message_type.fields))


def _declared_backwards(message_type: Descriptor) -> tuple[int, ...]:
    return tuple(known.number for known in reversed(message_type.fields))


def _members(message_type: Descriptor) -> frozenset[int]:
    """Numbers of the fields in a oneof with several members; `optional` is a oneof of one."""
    return frozenset(
        member.number
        for oneof in message_type.oneofs
        for member in oneof.fields
        if len(oneof.fields) > 1
    )


def _oneofs_last(message_type: Descriptor) -> tuple[int, ...]:
    members = _members(message_type)
    return tuple(sorted(_ascending(message_type), key=lambda number: number in members))


def _oneofs_together(message_type: Descriptor) -> tuple[int, ...]:
    """Ascending, with the whole oneof in the position of its highest number."""
    members = _members(message_type)

    def position(number: int) -> tuple[int, int]:
        return (max(members) if number in members else number, number)

    return tuple(sorted(_ascending(message_type), key=position))


def _orders(
    rule: Callable[[Descriptor], tuple[int, ...]], **special: tuple[int, ...]
) -> dict[str, tuple[int, ...]]:
    return {message_type.name: rule(message_type) for message_type in MESSAGE_TYPES} | special


# Python, C++ and JavaScript write as "upb"; Java, Rust and rotel as "rust_java"; the Collector
# as "gogo" until 0.131 and as "pdata" since 0.133.
ENCODERS: Final = (
    Layout("upb", _orders(_ascending)),
    Layout("rust_java", _orders(_ascending, NumberDataPoint=(2, 3, 4, 6, 5, 7, 8))),
    Layout("google_go", _orders(_oneofs_last)),
    Layout("gogo", _orders(_oneofs_together)),
    Layout("pdata", _orders(_declared_backwards, Exemplar=(4, 5, 6, 3, 2, 7))),
    Layout(
        "dotnet",
        _orders(
            _ascending,
            Sum=(3, 2, 1),
            Histogram=(2, 1),
            ExponentialHistogram=(2, 1),
            NumberDataPoint=(4, 6, 2, 3, 7, 5, 8),
            HistogramDataPoint=(2, 3, 9, 4, 5, 11, 12, 6, 7, 8, 10),
            ExponentialHistogramDataPoint=(2, 3, 1, 5, 4, 12, 13, 6, 7, 14, 8, 9, 11, 10),
            Exemplar=(7, 3, 6, 2, 4, 5),
        ),
        length_bytes=4,
        unpacked=frozenset({"Buckets.bucket_counts"}),
    ),
    Layout("explicit_defaults", _orders(_ascending), explicit_defaults=1.0),
    Layout("unpacked", _orders(_ascending), unpacked=PACKABLE),
)


def _shuffled_orders(seed: int) -> dict[str, tuple[int, ...]]:
    rng = random.Random(seed)

    def shuffled(message_type: Descriptor) -> tuple[int, ...]:
        numbers = list(_ascending(message_type))
        rng.shuffle(numbers)
        return tuple(numbers)

    return _orders(shuffled)


_probabilities = st.sampled_from([0.0, 0.0, 0.1, 0.5, 1.0])
_irregularities = st.builds(
    Irregularities,
    shuffle=_probabilities,
    interleave=_probabilities,
    split=_probabilities,
    unknown=_probabilities,
    override=_probabilities,
    pad=_probabilities,
)


@st.composite
def random_layouts(draw: st.DrawFn) -> Layout:
    """Any legal layout: encoders with a consistent order, and random ones."""
    seed = draw(st.integers(0, 10_000))
    if draw(st.booleans()):
        order: Mapping[str, tuple[int, ...]] = draw(st.sampled_from(ENCODERS)).order
    else:
        order = _shuffled_orders(seed)
    return Layout(
        name="random",
        order=order,
        length_bytes=draw(st.integers(1, 5)),
        unpacked=draw(st.sampled_from([frozenset(), PACKABLE])),
        explicit_defaults=draw(_probabilities),
        irregularities=draw(st.just(REGULAR) | _irregularities),
        seed=seed,
    )
