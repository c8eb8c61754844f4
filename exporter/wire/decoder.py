"""The fast decoder: tries four tiers, each for what the one before could not read.

1. Templates read whole ResourceMetrics messages of steady senders (`exporter.wire.template_cache`).
2. Layouts read number points with fixed-width fields at known offsets (`point_layouts`).
3. The columnar decoder reads histograms and number points with exemplars (`columnar_decoder`).
4. The official messages read everything else, one point at a time (`batch_builder`).

It gives the same result as `decode_reference`: bytes are reused without parsing only if the same
bytes were parsed before, and the official parser must accept every request that contains something
new.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError as ProtobufDecodeError

from exporter.model import Batch, Points
from exporter.series_cache import MetricEntry, ResourceEntry, ScopeEntry, SeriesCache
from exporter.wire.batch_builder import BatchBuilder, PointKeys, keys_of, lesser_duplicates
from exporter.wire.columnar_decoder import ColumnarDecoder, DecodedColumns
from exporter.wire.decode_result import Decoded, Rejections
from exporter.wire.lazy_messages import LazyRequest
from exporter.wire.limits import check_message_count
from exporter.wire.point_layouts import Layout, LayoutBatch, find_layout, is_only_attributes
from exporter.wire.reference_decoder import decode_reference, parse_request
from exporter.wire.series_lookup import POINT_MESSAGES, metric_entry, resource_entry, scope_entry
from exporter.wire.series_sequence_cache import remember
from exporter.wire.template import TemplateMatch
from exporter.wire.template_cache import MatchedRequest, build_templates, match_templates
from exporter.wire.time_window import ANY_TIME, TimeWindow

_NUMBERS: Final = frozenset({"gauge", "sum"})


def decode(data: bytes, series: SeriesCache, window: TimeWindow = ANY_TIME) -> Decoded:
    """Decode one serialized ExportMetricsServiceRequest.

    Args:
        data: the request as received, after decompression.
        series: the series cache; new series are added to it.
        window: the times that points may have; points at other times are rejected.

    Returns:
        The points of every type, the definitions of series not emitted before, and the rejected
        points with their reasons. The points are not in the order of the request.

    Raises:
        DecodeError: the bytes are not such a request; the cache is unchanged. Any other exception
            is a bug.
    """
    check_message_count(data)
    matched = match_templates(data, series, window)
    if _is_complete(matched):
        points = [match.points for match in matched.matches]
        if len(points) < 2 or not _has_duplicate_keys(list(map(keys_of, points))):
            return Decoded(Batch(points=Points.concatenate(points)), Rejections())
    try:
        with series.transaction() as transaction:
            decoder = _RequestDecoder(series, window)
            decoder.read(LazyRequest.FromString(matched.rest))
            columns = decoder.finish(matched.matches)
            if transaction.added or not decoder.builder.is_empty:
                # Something is new or was decoded alone: the request as a whole must be valid.
                parse_request(data)
            if not _has_duplicates(columns, decoder.builder, matched.matches):
                build_templates(matched.unmatched, decoder.resources, series)
                for block, series_ids in columns.looked_up:
                    remember(block, series_ids, series)
                return decoder.builder.build(
                    transaction.new_series,
                    points=columns.points,
                    histograms=columns.histograms,
                    exemplars=columns.exemplars,
                )
    except ProtobufDecodeError:
        # A request with an invalid part is invalid; the reference raises the error for it.
        return decode_reference(data, series, window)
    # Of two points of one series, time and start only one is kept. Only the reference decoder has
    # all points together, and their order.
    decoded = decode_reference(data, series, window)
    new_series = (*transaction.new_series, *decoded.batch.new_series)
    return replace(decoded, batch=replace(decoded.batch, new_series=new_series))


class _RequestDecoder:
    """Decodes what templates did not match."""

    def __init__(self, series: SeriesCache, window: TimeWindow) -> None:
        self.builder = BatchBuilder(series, window)
        self.resources: list[ResourceEntry] = []
        self._series = series
        self._window = window
        self._columnar = ColumnarDecoder(window)
        self._batches: dict[Layout, LayoutBatch] = {}
        self._latest: LayoutBatch | None = None

    def read(self, request: Any) -> None:
        """Read a lazy request: collect its points for numpy, decode rejected ones at once."""
        series = self._series
        for resource_metrics in request.resource_metrics:
            resource = resource_entry(
                series, tuple(resource_metrics.resource), resource_metrics.schema_url
            )
            self.resources.append(resource)
            for scope_metrics in resource_metrics.scope_metrics:
                scope = scope_entry(
                    series, resource, tuple(scope_metrics.scope), scope_metrics.schema_url
                )
                for metric in scope_metrics.metrics:
                    self._read_metric(scope, metric)

    def _read_metric(self, scope: ScopeEntry, metric: Any) -> None:
        type_name = metric.WhichOneof("data")
        if type_name is None:
            return
        data = getattr(metric, type_name)
        entry = metric_entry(self._series, scope, metric, type_name, data)
        points = data.data_points
        if entry.rejection_reason:
            for point in points:
                self._decode_with_official_message(entry, point)
        elif type_name in _NUMBERS and points:
            self._read_numbers(entry, list(points))
        else:
            self._columnar.add(entry, points)

    def _decode_with_official_message(
        self, entry: MetricEntry, point: bytes, attributes: bytes | None = None
    ) -> None:
        """Decode a point with the official message.

        Args:
            entry: the metric of the point.
            point: its bytes.
            attributes: the bytes of its attributes as the sender wrote them, under which the
                series is to be found next time; None if they are not known.
        """
        series_id = self.builder.add_point(entry, POINT_MESSAGES[entry.key.type].FromString(point))
        if series_id is None or attributes is None or attributes in entry.series_ids:
            return
        self._series.add_series_id(entry, attributes, series_id)

    def _read_numbers(self, entry: MetricEntry, points: list[bytes]) -> None:
        batch = self._batch_for(points[0])
        if batch is None or batch.layout.is_too_long_for(points):
            self._columnar.add(entry, points)
            return
        start, end = batch.layout.head_bytes, -batch.layout.tail_bytes or None
        first = points[0][start:end]
        if first not in entry.series_ids and not is_only_attributes(first):
            self._columnar.add(entry, points)
            return
        attributes = [point[start:end] for point in points]
        try:
            series_ids = list(map(entry.series_ids.__getitem__, attributes))
        except KeyError:
            points, series_ids = self._decode_unknown_attributes(
                entry, batch.layout, points, attributes
            )
        batch.add(entry, points, series_ids)

    def _batch_for(self, point: bytes) -> LayoutBatch | None:
        batch = self._latest
        if batch is None or not batch.layout.matches(point):
            layout = find_layout(point)
            if layout is None:
                return None
            batch = self._batches.setdefault(layout, LayoutBatch(layout))
            self._latest = batch
        return batch

    def _decode_unknown_attributes(
        self,
        entry: MetricEntry,
        layout: Layout,
        points: Sequence[bytes],
        attributes: Sequence[bytes],
    ) -> tuple[list[bytes], list[int]]:
        """Decode the points with unknown attributes; returns the other points and their series."""
        known: list[bytes] = []
        series_ids: list[int] = []
        others: list[bytes] = []
        for point, raw in zip(points, attributes, strict=True):
            series_id = entry.series_ids.get(raw)
            if series_id is not None:
                known.append(point)
                series_ids.append(series_id)
            elif is_only_attributes(raw) and layout.matches(point):
                self._decode_with_official_message(entry, point, raw)
            else:
                others.append(point)
        self._columnar.add(entry, others)
        return known, series_ids

    def finish(self, matches: Sequence[TemplateMatch]) -> DecodedColumns:
        """Decode what was collected; points that numpy cannot decode go to the builder.

        Args:
            matches: what templates matched of the same request.
        """
        for match in matches:
            for entry, point in match.other_points:
                self._columnar.add(entry, [point])
        decoded_batches = []
        for batch in self._batches.values():
            points, unmatched = batch.decode(self._window)
            decoded_batches.append(points)
            for position in unmatched:
                entry, point = batch.point_at(position)
                self._columnar.add(entry, [point])
        columns = self._columnar.decode()
        for undecoded in columns.undecoded:
            self._decode_with_official_message(*undecoded)
        columns.points += (match.points for match in matches)
        columns.points += (points for points in decoded_batches if len(points))
        return columns


def _is_complete(matched: MatchedRequest) -> bool:
    """Whether templates have read the whole request.

    That is usual for steady senders. The other tiers take as long again even if they find nothing
    to do, so they are left out.
    """
    return not matched.rest and not any(match.other_points for match in matched.matches)


def _has_duplicates(
    columns: DecodedColumns, builder: BatchBuilder, matches: Sequence[TemplateMatch]
) -> bool:
    if _has_duplicate_keys([*columns.histogram_keys, builder.histogram_keys()]):
        return True
    keys = builder.number_keys()
    if not len(keys[0]) and len(columns.points) == len(matches) == 1:
        return False  # a template has no two points of one series
    return _has_duplicate_keys([*map(keys_of, columns.points), keys])


def _has_duplicate_keys(columns: Sequence[PointKeys]) -> bool:
    """Whether two points have the same series, time and start."""
    series_ids = np.concatenate([ids for ids, _, _ in columns])
    # The cheaper test first: usually each series occurs once.
    in_order = np.sort(series_ids)
    if not (in_order[1:] == in_order[:-1]).any():
        return False
    times = np.concatenate([times for _, times, _ in columns])
    starts = np.concatenate([starts for _, _, starts in columns])
    return len(lesser_duplicates((series_ids, times, starts))) > 0
