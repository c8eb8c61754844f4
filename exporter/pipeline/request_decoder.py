"""Decodes the bytes of a request into a batch.

New and replayed requests are decoded in the same way.

Called with the queue's lock held, which guards the series cache and the cost deriver.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from exporter.costs.cost_deriver import CostDeriver
from exporter.costs.events import CostEventRule, decode_cost_events
from exporter.series_cache import SeriesCache
from exporter.spool import Signal
from exporter.wire import Decoded, Rejections, TimeWindow, decode


class RequestDecoder:
    """Decodes requests of both signals and derives their costs.

    Args:
        series: the cache of known series.
        costs: derives cost samples from points.
        cost_events: which log records are costs besides `openfinops.cost`.
        cluster_id_attributes: see `SeriesCache`; for cost events.
        node_id_attributes: see `SeriesCache`; for cost events.
    """

    def __init__(
        self,
        series: SeriesCache,
        costs: CostDeriver,
        *,
        cost_events: Sequence[CostEventRule] = (),
        cluster_id_attributes: Sequence[str],
        node_id_attributes: Sequence[str],
    ) -> None:
        self._series = series
        self._costs = costs
        self._cost_events = tuple(cost_events)
        self._cluster_id_attributes = tuple(cluster_id_attributes)
        self._node_id_attributes = tuple(node_id_attributes)

    def decode(self, signal: Signal, data: bytes, window: TimeWindow) -> Decoded:
        """Decode one request.

        Raises:
            DecodeError: the bytes are not a request of this signal; the caches are unchanged.
        """
        if signal == "logs":
            return decode_cost_events(
                data,
                window,
                rules=self._cost_events,
                cluster_id_attributes=self._cluster_id_attributes,
                node_id_attributes=self._node_id_attributes,
            )
        decoded = decode(data, self._series, window)
        batch, refused = self._costs.derive(decoded.batch)
        if not refused:
            return Decoded(batch, decoded.rejections)
        return Decoded(batch, Rejections(Counter(decoded.rejections.counts) + Counter(refused)))

    def decode_replayed(self, signal: Signal, data: bytes, window: TimeWindow) -> Decoded:
        """Decode a request that was accepted before.

        `max_series` does not count: what was acknowledged is not rejected later.

        Raises:
            DecodeError: it can no longer be decoded.
        """
        with self._series.without_series_limit():
            return self.decode(signal, data, window)

    def clear_series(self) -> None:
        """Free the memory of known series; each is cached again when it is next seen."""
        self._series.clear()
