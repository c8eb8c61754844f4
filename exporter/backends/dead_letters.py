"""Refused rows and series as dead letters, as JSON that a person can read and repair. Pure.

A letter must never be refused itself, so its texts hold nothing that a database could not take.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from decimal import Decimal
from typing import Any, Final

from exporter.model import Batch, DeadLetter, DeadLetterKind, Points, Series

__all__ = ["dead_letter_of_series", "dead_letters_of_rows"]

# A name may be refused because it is too long, and comes with each row of its series.
_NAME_CHARACTERS: Final = 500


def dead_letters_of_rows(
    batch: Batch, reason: str, names: Mapping[int, str]
) -> Iterator[DeadLetter]:
    """One letter for each row of a batch, in their order.

    Args:
        batch: all rows of which are dead.
        reason: why.
        names: of metrics by series id, where they are known.
    """
    kinds: tuple[tuple[DeadLetterKind, Iterator[dict[str, Any]]], ...] = (
        ("point", _points(batch.points)),
        ("histogram", map(asdict, batch.histograms)),
        ("summary", map(asdict, batch.summaries)),
        ("exemplar", map(asdict, batch.exemplars)),
        ("cost", map(asdict, batch.costs)),
        ("cost", map(asdict, batch.cost_samples)),
    )
    for kind, rows in kinds:
        for fields in rows:
            series_id = fields.get("series_id", 0)
            name = names.get(series_id)
            yield DeadLetter(
                kind=kind,
                reason=_storable(reason),
                series_id=series_id,
                metric_name=None if name is None else _storable(name[:_NAME_CHARACTERS]),
                time_unix_nano=fields["time_unix_nano"],
                content=_json(fields),
            )


def dead_letter_of_series(series: Series, reason: str) -> DeadLetter:
    """The letter for a definition that is refused."""
    return DeadLetter(
        kind="series",
        reason=_storable(reason),
        series_id=series.series_id,
        metric_name=_storable(series.metric_name[:_NAME_CHARACTERS]),
        time_unix_nano=None,
        content=_json(asdict(series)),
    )


def _points(points: Points) -> Iterator[dict[str, Any]]:
    columns = {
        "series_id": points.series_id.tolist(),
        "time_unix_nano": points.time_unix_nano.tolist(),
        "start_time_unix_nano": points.start_time_unix_nano.tolist(),
        "value": points.value.tolist(),
        "recorded": points.recorded.tolist(),
    }
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(columns, values, strict=True))


def _json(fields: Mapping[str, Any]) -> str:
    text = json.dumps(_spelled(fields), ensure_ascii=False, allow_nan=False)
    if _storable(text) == text:
        return text
    return json.dumps(_spelled(fields), allow_nan=False)  # lone surrogates as \ud800


def _spelled(value: Any) -> Any:
    """The value with names for the numbers that JSON does not have, as elsewhere in a store."""
    if isinstance(value, dict):
        return {name: _spelled(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_spelled(item) for item in value]
    if isinstance(value, Decimal):
        return str(value)
    if not isinstance(value, float) or math.isfinite(value):
        return value
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _storable(text: str) -> str:
    """The text without what UTF-8 cannot say."""
    return text.encode("utf-8", "replace").decode("utf-8")
