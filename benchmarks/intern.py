"""Registration of new series, against the reference decoder."""

from __future__ import annotations

from benchmarks.measure import Result, side_by_side
from benchmarks.workload import SHAPES, requests
from exporter.series_cache import SeriesCache
from exporter.wire import decode, decode_reference

_SENDERS = 20


def run() -> list[Result]:
    """Compare the two decoders on the first request of many senders: every series is new."""
    shape = SHAPES[0]
    sent = requests(shape, _SENDERS, series_sets=_SENDERS)
    points = _SENDERS * shape.metrics * shape.points

    def fresh(decoder: object) -> int:
        series = SeriesCache()
        assert callable(decoder)
        return sum(len(decoder(data, series).batch.new_series) for data in sent)

    assert fresh(decode) == fresh(decode_reference) == points
    seconds, baseline_seconds = side_by_side(
        lambda: fresh(decode), lambda: fresh(decode_reference), rounds=3
    )
    name = "decode, every series new"
    return [Result(name, points, seconds, "reference decoder", baseline_seconds, 0.8)]
