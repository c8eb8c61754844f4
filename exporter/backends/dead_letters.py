"""Refused rows and series as dead letters, with their content as JSON that a person can repair.

Pure. A dead letter must not be refused itself, so its texts hold only what every database accepts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import Any, Final

from exporter.json_text import json_ready
from exporter.model import Batch, DeadLetter, DeadLetterKind, Points, Series

# Metric names are cut to this length. A name may be refused because it is too long, and every dead
# letter of the series contains it.
_NAME_CHARACTERS: Final = 500


def dead_letters_of_rows(
    batch: Batch, reason: str, names: Mapping[int, str]
) -> Iterator[DeadLetter]:
    """One dead letter for each row of a batch, in their order.

    Args:
        batch: the refused rows.
        reason: the backend's error message.
        names: known metric names by series id.
    """
    kinds: tuple[tuple[DeadLetterKind, Iterator[dict[str, Any]]], ...] = (
        ("point", _point_fields(batch.points)),
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
                reason=_valid_utf8(reason),
                series_id=series_id,
                metric_name=None if name is None else _valid_utf8(name[:_NAME_CHARACTERS]),
                time_unix_nano=fields["time_unix_nano"],
                content=_json(fields),
            )


def dead_letter_of_series(series: Series, reason: str) -> DeadLetter:
    """The dead letter for a refused definition."""
    return DeadLetter(
        kind="series",
        reason=_valid_utf8(reason),
        series_id=series.series_id,
        metric_name=_valid_utf8(series.metric_name[:_NAME_CHARACTERS]),
        time_unix_nano=None,
        content=_json(asdict(series)),
    )


def encode_dead_letter(
    letter: DeadLetter, time: Callable[[int], object], text: Callable[[str], str]
) -> dict[str, object]:
    """The row of dead_letters by column name.

    Args:
        letter: what to store.
        time: a stored time, from nanoseconds since 1970.
        text: a text as the database can hold it.
    """
    return {
        "kind": letter.kind,
        "reason": text(letter.reason),
        "series_id": letter.series_id,
        "metric_name": None if letter.metric_name is None else text(letter.metric_name),
        "timestamp": None if letter.time_unix_nano is None else time(letter.time_unix_nano),
        "content": letter.content,
    }


def _point_fields(points: Points) -> Iterator[dict[str, Any]]:
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
    ready = json_ready(fields)
    text = json.dumps(ready, ensure_ascii=False, allow_nan=False)
    if _valid_utf8(text) == text:
        return text
    return json.dumps(ready, allow_nan=False)  # lone surrogates as \ud800


def _valid_utf8(text: str) -> str:
    """The text with a question mark for each lone surrogate, which UTF-8 cannot encode."""
    return text.encode("utf-8", "replace").decode("utf-8")
