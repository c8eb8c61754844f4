"""A request's bytes to rows: the same for one that arrives and one that comes from the spool.

Used with the queue's lock held, which guards the series and what is known of their costs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from exporter.costs.cost_deriver import CostDeriver
from exporter.costs.events import decode_cost_events
from exporter.intern import SeriesCache
from exporter.spool import Signal
from exporter.wire import Decoded, Rejections, TimeWindow, decode

__all__ = ["RequestDecoder"]


class RequestDecoder:
    """Decodes requests and finds what they cost.

    Args:
        series: the cache that they are decoded with.
        cost_deriver: finds costs among points.
        cluster_id_attributes: for cost events, as for series.
        node_id_attributes: likewise.
    """

    def __init__(
        self,
        series: SeriesCache,
        cost_deriver: CostDeriver,
        *,
        cluster_id_attributes: Sequence[str],
        node_id_attributes: Sequence[str],
    ) -> None:
        self._series = series
        self._cost_deriver = cost_deriver
        self._cluster_id_attributes = tuple(cluster_id_attributes)
        self._node_id_attributes = tuple(node_id_attributes)

    def read(self, signal: Signal, data: bytes, window: TimeWindow) -> Decoded:
        """Decode one request of a signal.

        Raises:
            DecodeError: it is no such request; nothing was learned from it.
        """
        if signal == "logs":
            return decode_cost_events(
                data,
                window,
                cluster_id_attributes=self._cluster_id_attributes,
                node_id_attributes=self._node_id_attributes,
            )
        decoded = decode(data, self._series, window)
        batch, refused = self._cost_deriver.derive(decoded.batch)
        if not refused:
            return Decoded(batch, decoded.rejections)
        return Decoded(batch, Rejections(Counter(decoded.rejections.counts) + Counter(refused)))

    def forget_series(self) -> None:
        """Give the memory back that known series take; each is learned again when it is seen."""
        self._series.clear()

    def read_again(self, signal: Signal, data: bytes, window: TimeWindow) -> Decoded:
        """Decode a request that was accepted before, without a limit on series.

        Raises:
            DecodeError: it is none, after all.
        """
        with self._series.without_limit():
            return self.read(signal, data, window)
