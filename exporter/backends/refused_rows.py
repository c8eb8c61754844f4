"""Finds the rows that a backend refuses, so that the rest of their batch can be stored.

Pure, but for the dry runs that it is given. Series come first: one whose definition alone is
refused takes all its rows with it at one go. Then the rows that are left are halved until each bad
one is alone. One bad row of n takes about 2 log2(n) dry runs, which together take as long as
four of all rows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from exporter.backends.dead_letters import dead_letter_of_series, dead_letters_of_rows
from exporter.errors import RowRefusedError
from exporter.model import (
    Batch,
    CostSample,
    DeadLetter,
    Exemplar,
    HistogramPoint,
    Int64Array,
    SummaryPoint,
)

__all__ = ["isolate_refused_rows"]

_Positions = npt.NDArray[np.intp]
# Why what is at these positions is refused, or None if it is not.
_Attempt = Callable[[_Positions], str | None]

_WITH_ITS_SERIES: Final = (
    "the definition of its series was refused; the letter of kind series with this series_id says "
    "why"
)


def isolate_refused_rows(
    batch: Batch, dry_run: Callable[[Batch], None]
) -> tuple[Batch, list[DeadLetter]]:
    """Tell what would be stored of a batch from what would not.

    Args:
        batch: what was refused. Every dry run has its watermark, none its dead letters.
        dry_run: `Backend.dry_run`: raises RowRefusedError if the content of a row is at fault.
            Whatever else it raises comes through.

    Returns:
        The batch less what is refused, in its order, with its watermark and earlier dead letters.
        Its definitions were accepted together, and so were its rows with their definitions. And a
        letter for each definition and row that is not in it.
    """
    names = {one.series_id: one.metric_name for one in batch.new_series}
    bad_series = _refused_series(batch, dry_run)
    dead = [
        dead_letter_of_series(one, bad_series[one.series_id])
        for one in batch.new_series
        if one.series_id in bad_series
    ]
    goes_with_series = np.isin(_series_ids(batch), np.fromiter(bad_series, np.int64))
    lost = batch.take(np.flatnonzero(goes_with_series))
    dead += dead_letters_of_rows(lost, _WITH_ITS_SERIES, names)
    kept = _less_definitions(batch.take(np.flatnonzero(~goes_with_series)), bad_series)
    bad_rows = _refused_rows(kept, dry_run)
    for place, reason in sorted(bad_rows.items()):
        dead += dead_letters_of_rows(kept.take(np.array([place], np.intp)), reason, names)
    good = np.setdiff1d(np.arange(kept.rows), np.fromiter(bad_rows, np.intp))
    return kept.take(good), dead


def _refused_series(batch: Batch, dry_run: Callable[[Batch], None]) -> dict[int, str]:
    """Ids of series whose definition alone is refused, and why."""
    ids = np.unique(np.array([one.series_id for one in batch.new_series], np.int64))

    def attempt(positions: _Positions) -> str | None:
        chosen = set(ids[positions].tolist())
        defined = tuple(one for one in batch.new_series if one.series_id in chosen)
        return _reason(Batch(new_series=defined, watermark=batch.watermark), dry_run)

    return {int(ids[place]): reason for place, reason in _refused(len(ids), attempt).items()}


def _refused_rows(batch: Batch, dry_run: Callable[[Batch], None]) -> dict[int, str]:
    """Positions of rows that are refused although their series is not, and why."""

    def attempt(positions: _Positions) -> str | None:
        # With the definitions of their series only: of thousands, each dry run would take long.
        part = replace(batch.take(positions), dead_letters=())
        others = {one.series_id for one in batch.new_series} - set(_series_ids(part).tolist())
        return _reason(_less_definitions(part, others), dry_run)

    return _refused(batch.rows, attempt)


def _refused(size: int, attempt: _Attempt) -> dict[int, str]:
    """The positions that cannot stay, and why; all others are accepted together."""
    everything = np.arange(size)
    reason = attempt(everything) if size else None
    if reason is None:
        return {}
    refused = _refused_alone(everything, reason, attempt)
    left = np.setdiff1d(everything, np.fromiter(refused, np.intp))
    return refused | _refused_beside_others(left, attempt)


def _refused_alone(part: _Positions, reason: str, attempt: _Attempt) -> dict[int, str]:
    """Halves what is refused until it is one."""
    refused: dict[int, str] = {}
    waiting = [(part, reason)]
    while waiting:
        part, reason = waiting.pop()
        if len(part) == 1:
            refused[int(part[0])] = reason
            continue
        middle = len(part) // 2
        for half in (part[middle:], part[:middle]):
            found = attempt(half)
            if found is not None:
                waiting.append((half, found))
    return refused


def _refused_beside_others(left: _Positions, attempt: _Attempt) -> dict[int, str]:
    """Drops one after the other what is accepted alone and not after those before it.

    A unique index that somebody has made refuses so.
    """
    refused: dict[int, str] = {}
    accepted = 0
    while len(left) and (reason := attempt(left)) is not None:
        # Up to `accepted` they are accepted, up to `too_many` they are not.
        too_many = len(left)
        while too_many - accepted > 1:
            middle = (accepted + too_many) // 2
            found = attempt(left[:middle])
            if found is None:
                accepted = middle
            else:
                too_many, reason = middle, found
        refused[int(left[accepted])] = reason
        left = np.delete(left, accepted)
    return refused


def _reason(batch: Batch, dry_run: Callable[[Batch], None]) -> str | None:
    try:
        dry_run(batch)
    except RowRefusedError as error:
        return str(error)
    return None


def _less_definitions(batch: Batch, series_ids: Collection[int]) -> Batch:
    defined = tuple(one for one in batch.new_series if one.series_id not in series_ids)
    return replace(batch, new_series=defined)


def _series_ids(batch: Batch) -> Int64Array:
    """Of every row, in the order of the rows; 0 for a cost entry, which has none."""
    rarer: tuple[HistogramPoint | SummaryPoint | Exemplar | CostSample, ...]
    rarer = (*batch.histograms, *batch.summaries, *batch.exemplars)
    others = np.array([item.series_id for item in rarer], np.int64)
    samples = np.array([item.series_id for item in batch.cost_samples], np.int64)
    none = np.zeros(len(batch.costs), np.int64)
    return np.concatenate([batch.points.series_id, others, none, samples])
