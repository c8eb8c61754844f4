"""Matches the messages of a request with templates, and decides when to build a template.

Building a template costs ten times as much as decoding its message. It is built from the second
message that no template matches. While no template ever matches, the next ones are built after 8
more such messages, after 32 more and so on: a sender that reorders its points in every request
pays for fewer and fewer templates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from exporter.series_cache import ResourceEntry, SeriesCache
from exporter.wire.protobuf_reader import LENGTH_DELIMITED, MalformedMessageError, iter_fields
from exporter.wire.template import Template, TemplateMatch
from exporter.wire.template_builder import build_template, resource_span
from exporter.wire.time_window import TimeWindow

# ExportMetricsServiceRequest.resource_metrics, its only field.
_RESOURCE_METRICS: Final = 1
_MISSES_BEFORE_FIRST_BUILD: Final = 2
_BACK_OFF_FACTOR: Final = 4
# For one resource and length: a sender that splits its series over requests needs several.
_MAX_TEMPLATES: Final = 4
# For one resource: histograms with exemplars vary in length, and most lengths occur only once.
_MAX_LENGTHS: Final = 64
# Message lengths of all senders for which the offsets of the resource are known.
_MAX_OFFSET_LENGTHS: Final = 10_000
# For one length: each costs a look-up.
_MAX_OFFSETS_PER_LENGTH: Final = 8


class TemplateCache:
    """The templates for messages of one resource and one length, with the back-off of building."""

    __slots__ = ("_matched", "_misses", "_misses_before_build", "_templates")

    def __init__(self) -> None:
        self._templates: list[Template] = []
        # Both since the last build: messages without a match, and whether any message matched.
        self._misses = 0
        self._matched = False
        self._misses_before_build = _MISSES_BEFORE_FIRST_BUILD

    def match(self, message: bytes, window: TimeWindow) -> TemplateMatch | None:
        """What the first matching template reads from the message."""
        for template in self._templates:
            match = template.match(message, window)
            if match is not None:
                self._matched = True
                self._misses_before_build = _MISSES_BEFORE_FIRST_BUILD
                return match
        return None

    @property
    def is_backing_off(self) -> bool:
        """Whether no message has matched since the last build."""
        return self._misses_before_build > _MISSES_BEFORE_FIRST_BUILD

    def record_miss(self, extra_misses: int) -> bool:
        """Count a message without a match; whether to build a template of it.

        Args:
            extra_misses: how many more misses to wait for than the back-off asks for.
        """
        self._misses += 1
        if self._misses < self._misses_before_build + extra_misses:
            return False
        self._misses = 0
        self._misses_before_build *= _BACK_OFF_FACTOR
        return True

    def add(self, template: Template) -> int:
        """Add a template, and drop the others if none of them has matched.

        Returns:
            By how many points the cache grew.
        """
        before = self.point_count
        kept = self._templates[: _MAX_TEMPLATES - 1] if self._matched else []
        self._templates = [template, *kept]
        self._matched = False
        return self.point_count - before

    @property
    def point_count(self) -> int:
        """How many points all templates have together."""
        return sum(template.point_count for template in self._templates)


@dataclass(frozen=True, slots=True)
class MatchedRequest:
    """A request after its messages were matched with templates.

    Attributes:
        matches: one for each ResourceMetrics message that a template matched.
        rest: the request without these messages; itself a request.
        unmatched: the ResourceMetrics messages of `rest`, in their order.
    """

    matches: tuple[TemplateMatch, ...]
    rest: bytes
    unmatched: tuple[bytes, ...]


def match_templates(data: bytes, series: SeriesCache, window: TimeWindow) -> MatchedRequest:
    """Read what templates can read of one serialized ExportMetricsServiceRequest."""
    try:
        fields = list(iter_fields(data, 0, len(data)))
    except MalformedMessageError:
        return MatchedRequest((), data, ())
    if any(
        field.number != _RESOURCE_METRICS or field.wire_type != LENGTH_DELIMITED for field in fields
    ):
        return MatchedRequest((), data, ())
    matches: list[TemplateMatch] = []
    unmatched: list[bytes] = []
    rest: list[bytes] = []
    for field in fields:
        message = data[field.start : field.end]
        match = _match_message(message, series, window)
        if match is None:
            unmatched.append(message)
            rest.append(data[field.tag : field.end])
        else:
            matches.append(match)
    return MatchedRequest(tuple(matches), b"".join(rest) if matches else data, tuple(unmatched))


def _match_message(message: bytes, series: SeriesCache, window: TimeWindow) -> TemplateMatch | None:
    for start, end, schema_url in series.resource_offsets.get(len(message), ()):
        fragments = (message[start:end],) if end else ()
        resource = series.get_resource(fragments, schema_url)
        cache = resource.template_caches.get(len(message)) if resource is not None else None
        if cache is not None:
            match: TemplateMatch | None = cache.match(message, window)
            if match is not None:
                return match
    return None


def build_templates(
    messages: Sequence[bytes], resources: Sequence[ResourceEntry], series: SeriesCache
) -> None:
    """Build templates of messages that were decoded, subject to the back-off.

    Args:
        messages: ResourceMetrics messages that no template matched; none if the request could
            not be split into messages.
        resources: the resource of each.
        series: the cache, which keeps the templates.
    """
    if not messages:
        return
    for message, resource in zip(messages, resources, strict=True):
        cache = resource.template_caches.get(len(message))
        if cache is None:
            if len(resource.template_caches) >= _MAX_LENGTHS:
                _, oldest = resource.template_caches.popitem(last=False)
                series.count_template_points(-oldest.point_count)
            cache = resource.template_caches[len(message)] = TemplateCache()
        # If exemplars vary, most message lengths occur once. Each other cache that backs off
        # therefore raises the number of misses before a build by one.
        backing_off = sum(each.is_backing_off for each in resource.template_caches.values())
        if cache.record_miss(backing_off):
            template = build_template(message, resource)
            if template is not None:
                series.count_template_points(cache.add(template))
                _remember_resource_offsets(message, resource, series)


def _remember_resource_offsets(
    message: bytes, resource: ResourceEntry, series: SeriesCache
) -> None:
    offsets_by_length = series.resource_offsets
    if len(offsets_by_length) >= _MAX_OFFSET_LENGTHS:
        offsets_by_length.clear()
    known = offsets_by_length.setdefault(len(message), [])
    offsets = (*resource_span(message), resource.schema_url)
    if offsets not in known:
        known[:] = [offsets, *known[: _MAX_OFFSETS_PER_LENGTH - 1]]
