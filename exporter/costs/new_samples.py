"""How new samples change the stored streams and entries of their series.

The usual point is newer than the last one of its stream, and needs no stored entry: `_append` adds
it. `exporter.costs.series_costs` adds all others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from exporter.costs.cost_changes import CostChanges, StoredCosts
from exporter.costs.entry_calculation import cost_of, derived_entry, sample_point
from exporter.costs.series_costs import SeriesCosts
from exporter.costs.streams import UNKNOWN_START, is_fall, is_zero_length
from exporter.model import CostEntry, CostPoint, CostSample, CostStream


def add_samples(
    samples: Iterable[CostSample],
    unknown_streams: Mapping[int, CostStream],
    stored: StoredCosts,
    recalculated: Mapping[int, tuple[int, int]],
) -> CostChanges:
    """The changes that the samples of a transaction make.

    Args:
        samples: of any series, in any order.
        unknown_streams: by series id the stored streams `UNKNOWN_START` of all series of `samples`
            and `recalculated`. A series without one has no costs yet.
        stored: the costs that are stored.
        recalculated: by series id the first and last time, in nanoseconds, of the hourly rates that
            are computed again, because their quantity has changed.

    Returns:
        The changes; its entries are sorted by time and id.

    Raises:
        RowRefusedError: an amount cannot be computed or stored.
    """
    by_series: dict[int, list[CostSample]] = {series_id: [] for series_id in recalculated}
    for sample in samples:
        by_series.setdefault(sample.series_id, []).append(sample)
    changes = CostChanges()
    # In the order of the ids, so that the changes do not depend on the order of the samples.
    for series_id, own in sorted(by_series.items()):
        unknown = unknown_streams.get(series_id) or CostStream(series_id, UNKNOWN_START)
        if series_id in recalculated or not _append(own, unknown, stored, changes):
            SeriesCosts(unknown, stored, changes).add(own, recalculated.get(series_id))
    changes.entries.sort(key=lambda entry: (entry.time_unix_nano, entry.entry_id))
    return changes


def _append(
    samples: list[CostSample], unknown: CostStream, stored: StoredCosts, changes: CostChanges
) -> bool:
    """Add samples of one series that are newer than all points of their streams: the usual case.

    The result is that of `SeriesCosts`, in a third of the time.

    Args:
        samples: in any order; they are sorted by time.
        unknown: the stream `UNKNOWN_START` of the series.
        stored: the costs that are stored.
        changes: where the changes are added.

    Returns:
        False if one of the samples is not the usual case; then nothing was added.
    """
    streams: dict[int, CostStream] = {UNKNOWN_START: unknown}
    entries: list[CostEntry] = []
    if len(samples) > 1:
        samples.sort(key=lambda sample: sample.time_unix_nano)
    for sample in samples:
        point, basis = sample_point(sample), sample.basis
        start = point.start_time_unix_nano if basis.kind == "cumulative" else UNKNOWN_START
        if start not in streams and not _find_stream(point, unknown, stored, streams):
            return False
        stream = streams[start]
        previous = stream.last
        last_time = previous.time_unix_nano if previous is not None else 0
        is_late = point.time_unix_nano <= last_time
        is_after_deleted = stream.closed is not None and last_time < stream.closed.time_unix_nano
        may_be_split = start and previous is not None and is_fall(previous, point)
        if is_late or is_after_deleted or may_be_split or basis.quantity_id is not None:
            return False
        cost = cost_of(basis, start, previous, point)
        entries.append(derived_entry(unknown.series_id, start, point, basis, cost))
        streams[start] = stream._replace(last=point)
    changes.entries += entries
    changes.streams += [stream for stream in streams.values() if stream is not unknown]
    return True


def _find_stream(
    point: CostPoint, unknown: CostStream, stored: StoredCosts, streams: dict[int, CostStream]
) -> bool:
    """Add the stream of a point with a known start to `streams`, or a new one.

    Returns:
        False if the point may belong to another stream; then `streams` is of no use.
    """
    start = point.start_time_unix_nano
    near = stored.streams_near(unknown.series_id, start)
    is_alone = len(streams) == 1 and len(near) <= 1 and not unknown.zero_length_points
    if not is_alone or is_zero_length(point):
        return False
    stream = near[0] if near else CostStream(unknown.series_id, start, start, start)
    streams[start] = stream
    return stream.stream_start == start
