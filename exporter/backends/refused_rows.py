"""Finds the rows that a backend refuses, so that the rest of their batch can be stored.

Decides by dry runs alone. Series come first: the rows of a series whose definition is refused need
no dry run. Then the remaining rows are halved until each refused row is alone. One refused row of
n takes about 2 log2(n) dry runs, which together take as long as 4 dry runs of all rows.
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

_Positions = npt.NDArray[np.intp]
# The reason why the rows at these positions are refused together, or None if they are accepted.
_Attempt = Callable[[_Positions], str | None]

_SERIES_REFUSED: Final = (
    "the definition of its series was refused; the dead letter of kind series with this series_id "
    "has the reason"
)


def isolate_refused_rows(
    batch: Batch, dry_run: Callable[[Batch], None]
) -> tuple[Batch, list[DeadLetter]]:
    """Divide a refused batch into what can be stored and what cannot.

    Args:
        batch: the refused batch. Each dry run uses its watermark but not its dead letters.
        dry_run: `Backend.dry_run`: raises RowRefusedError for the content of a row. Every other
            error is raised to the caller.

    Returns:
        The batch without what is refused, in its order, with its watermark and earlier dead
        letters: its definitions were accepted together, and so were its rows with their
        definitions. And a dead letter for each definition and row that was left out.
    """
    names = {one.series_id: one.metric_name for one in batch.new_series}
    refused_series = _refused_series(batch, dry_run)
    dead = [
        dead_letter_of_series(one, refused_series[one.series_id])
        for one in batch.new_series
        if one.series_id in refused_series
    ]
    of_refused_series = np.isin(_series_ids(batch), np.fromiter(refused_series, np.int64))
    rows_of_series = batch.take(np.flatnonzero(of_refused_series))
    dead += dead_letters_of_rows(rows_of_series, _SERIES_REFUSED, names)
    kept = _without_definitions(batch.take(np.flatnonzero(~of_refused_series)), refused_series)
    refused_rows = _refused_rows(kept, dry_run)
    for position, reason in sorted(refused_rows.items()):
        dead += dead_letters_of_rows(kept.take(np.array([position], np.intp)), reason, names)
    accepted = np.setdiff1d(np.arange(kept.rows), np.fromiter(refused_rows, np.intp))
    return kept.take(accepted), dead


def _refused_series(batch: Batch, dry_run: Callable[[Batch], None]) -> dict[int, str]:
    """The reasons by id of the series whose definition alone is refused."""
    ids = np.unique(np.array([one.series_id for one in batch.new_series], np.int64))

    def attempt(positions: _Positions) -> str | None:
        chosen = set(ids[positions].tolist())
        defined = tuple(one for one in batch.new_series if one.series_id in chosen)
        return _reason(Batch(new_series=defined, watermark=batch.watermark), dry_run)

    return {int(ids[index]): reason for index, reason in _refused(len(ids), attempt).items()}


def _refused_rows(batch: Batch, dry_run: Callable[[Batch], None]) -> dict[int, str]:
    """Reasons, by position, for refused rows of series whose definition is accepted."""

    def attempt(positions: _Positions) -> str | None:
        # Only the definitions of these rows: with thousands of others each dry run takes long.
        part = replace(batch.take(positions), dead_letters=())
        others = {one.series_id for one in batch.new_series} - set(_series_ids(part).tolist())
        return _reason(_without_definitions(part, others), dry_run)

    return _refused(batch.rows, attempt)


def _refused(size: int, attempt: _Attempt) -> dict[int, str]:
    """The reasons by position of what is refused; all others are accepted together."""
    everything = np.arange(size)
    reason = attempt(everything) if size else None
    if reason is None:
        return {}
    refused = _bisect_refused(everything, reason, attempt)
    remaining = np.setdiff1d(everything, np.fromiter(refused, np.intp))
    return refused | _find_conflicting_rows(remaining, attempt)


def _bisect_refused(part: _Positions, reason: str, attempt: _Attempt) -> dict[int, str]:
    """Halve a refused part until each refused position is alone."""
    refused: dict[int, str] = {}
    stack = [(part, reason)]
    while stack:
        part, reason = stack.pop()
        if len(part) == 1:
            refused[int(part[0])] = reason
            continue
        middle = len(part) // 2
        for half in (part[middle:], part[:middle]):
            found = attempt(half)
            if found is not None:
                stack.append((half, found))
    return refused


def _find_conflicting_rows(remaining: _Positions, attempt: _Attempt) -> dict[int, str]:
    """Find rows that are accepted alone but refused together with the other rows.

    A unique index that somebody has added refuses rows in this way.
    """
    refused: dict[int, str] = {}
    accepted = 0
    while len(remaining) and (reason := attempt(remaining)) is not None:
        # A binary search: the first `accepted` are accepted, the first `too_many` are refused.
        too_many = len(remaining)
        while too_many - accepted > 1:
            middle = (accepted + too_many) // 2
            found = attempt(remaining[:middle])
            if found is None:
                accepted = middle
            else:
                too_many, reason = middle, found
        refused[int(remaining[accepted])] = reason
        remaining = np.delete(remaining, accepted)
    return refused


def _reason(batch: Batch, dry_run: Callable[[Batch], None]) -> str | None:
    try:
        dry_run(batch)
    except RowRefusedError as error:
        return str(error)
    return None


def _without_definitions(batch: Batch, series_ids: Collection[int]) -> Batch:
    defined = tuple(one for one in batch.new_series if one.series_id not in series_ids)
    return replace(batch, new_series=defined)


def _series_ids(batch: Batch) -> Int64Array:
    """The series id of every row, in the order of the rows; 0 for a cost entry."""
    objects: tuple[HistogramPoint | SummaryPoint | Exemplar | CostSample, ...]
    objects = (*batch.histograms, *batch.summaries, *batch.exemplars)
    of_objects = np.array([item.series_id for item in objects], np.int64)
    of_samples = np.array([item.series_id for item in batch.cost_samples], np.int64)
    of_costs = np.zeros(len(batch.costs), np.int64)
    return np.concatenate([batch.points.series_id, of_objects, of_costs, of_samples])
