"""Which messages of a request are recognised by a template, and when a new one is learned.

A template costs as much as decoding its message ten times over, so it is learned from the second
message that no template fits, then after eight more, after 32 more and so on while none ever
fits: a sender that orders its points anew each time pays for fewer and fewer attempts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from exporter.intern import ResourceEntry, SeriesCache
from exporter.wire.ages import TimeWindow
from exporter.wire.learning import learn, resource_span
from exporter.wire.templates import Recognised, Template
from exporter.wire.walk import BYTES, UnwalkableError, fields

__all__ = ["Attempts", "Recognition", "learn_from", "recognise"]

_RESOURCE_METRICS: Final = 1
_FIRST_LESSON: Final = 2
_LESSON_GROWTH: Final = 4
# Of one resource and length: a sender that cuts its series into batches may take turns.
_MAX_TEMPLATES: Final = 4
# Of one resource: histograms with exemplars vary in length, and most lengths never come again.
_MAX_LENGTHS: Final = 64
# Lengths of messages, over all senders, for which it is known where the resource stands.
_MAX_PLACES: Final = 10_000
# Of one length: each costs a look-up.
_MAX_PLACES_OF_LENGTH: Final = 8


class Attempts:
    """The templates for one resource's messages of one length, and how they fared."""

    __slots__ = ("_helped", "_lesson_after", "_misses", "_templates")

    def __init__(self) -> None:
        self._templates: list[Template] = []
        # Since the last lesson: messages that no template fitted, and whether one fitted at all.
        self._misses = 0
        self._helped = False
        self._lesson_after = _FIRST_LESSON

    def read(self, message: bytes, window: TimeWindow) -> Recognised | None:
        """What the first template that fits reads from the message."""
        for template in self._templates:
            recognised = template.read(message, window)
            if recognised is not None:
                self._helped = True
                self._lesson_after = _FIRST_LESSON
                return recognised
        return None

    @property
    def is_in_vain(self) -> bool:
        """Whether nothing came of the last lesson so far."""
        return self._lesson_after > _FIRST_LESSON

    def missed(self, patience: int) -> bool:
        """Count a message that no template fitted; whether to learn from it.

        Args:
            patience: how many messages more than usual to wait for.
        """
        self._misses += 1
        if self._misses < self._lesson_after + patience:
            return False
        self._misses = 0
        self._lesson_after *= _LESSON_GROWTH
        return True

    def add(self, template: Template) -> int:
        """Use this template too, and let go of the others if none of them helped.

        Returns:
            By how many points the memory of templates grew.
        """
        before = self.points
        self._templates = [template, *self._templates[: _MAX_TEMPLATES - 1 if self._helped else 0]]
        self._helped = False
        return self.points - before

    @property
    def points(self) -> int:
        """How many points all templates have together."""
        return sum(template.points for template in self._templates)


@dataclass(frozen=True, slots=True)
class Recognition:
    """A request, parted into what templates read and what is left to decode.

    Attributes:
        parts: what was read, a part for each message that was recognised.
        rest: the request without these messages; itself a request.
        unknown: the ResourceMetrics messages of `rest`, in their order.
    """

    parts: tuple[Recognised, ...]
    rest: bytes
    unknown: tuple[bytes, ...]


def recognise(data: bytes, series: SeriesCache, window: TimeWindow) -> Recognition:
    """Read what templates can of one serialized ExportMetricsServiceRequest."""
    try:
        top = list(fields(data, 0, len(data)))
    except UnwalkableError:
        return Recognition((), data, ())
    if any(field.number != _RESOURCE_METRICS or field.wire_type != BYTES for field in top):
        return Recognition((), data, ())
    parts: list[Recognised] = []
    unknown: list[bytes] = []
    rest: list[bytes] = []
    for field in top:
        message = data[field.start : field.end]
        part = _read(message, series, window)
        if part is None:
            unknown.append(message)
            rest.append(data[field.tag : field.end])
        else:
            parts.append(part)
    return Recognition(tuple(parts), b"".join(rest) if parts else data, tuple(unknown))


def _read(message: bytes, series: SeriesCache, window: TimeWindow) -> Recognised | None:
    for start, end, schema_url in series.places_of_resource.get(len(message), ()):
        pieces = (message[start:end],) if end else ()
        resource = series.resource(pieces, schema_url)
        attempts = resource.attempts.get(len(message)) if resource is not None else None
        if attempts is not None:
            part: Recognised | None = attempts.read(message, window)
            if part is not None:
                return part
    return None


def learn_from(
    messages: Sequence[bytes], resources: Sequence[ResourceEntry], series: SeriesCache
) -> None:
    """Learn templates from messages that were decoded, as often as that has paid so far.

    Args:
        messages: ResourceMetrics messages that no template fitted.
        resources: the resource of each.
        series: where templates are kept.
    """
    if not messages:
        return
    for message, resource in zip(messages, resources, strict=True):
        attempts = resource.attempts.get(len(message))
        if attempts is None:
            if len(resource.attempts) >= _MAX_LENGTHS:
                _, oldest = resource.attempts.popitem(last=False)
                series.count_template_points(-oldest.points)
            attempts = resource.attempts[len(message)] = Attempts()
        # Where exemplars come and go each length is new, and seldom comes again.
        in_vain = sum(each.is_in_vain for each in resource.attempts.values())
        if attempts.missed(in_vain):
            template = learn(message, resource)
            if template is not None:
                series.count_template_points(attempts.add(template))
                _remember_place(message, resource, series)


def _remember_place(message: bytes, resource: ResourceEntry, series: SeriesCache) -> None:
    places = series.places_of_resource
    if len(places) >= _MAX_PLACES:
        places.clear()
    of_length = places.setdefault(len(message), [])
    place = (*resource_span(message), resource.schema_url)
    if place not in of_length:
        of_length[:] = [place, *of_length[: _MAX_PLACES_OF_LENGTH - 1]]
