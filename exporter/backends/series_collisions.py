"""Series definitions before they are stored: one for each id, and hash collisions of ids."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Final

from exporter.model import Series

_log = logging.getLogger(__name__)

# Description, schema URLs and what is derived from the attributes (cluster, node, service) may
# change while a series stays the same.
IDENTITY: Final = (
    "metric_name",
    "metric_type",
    "unit",
    "temporality",
    "is_monotonic",
    "resource",
    "scope",
    "attributes",
)
identity_of: Final = attrgetter(*IDENTITY)

_JSON_COLUMNS: Final = frozenset({"resource", "scope", "attributes"})
_SHOWN_CHARACTERS: Final = 200


def latest_by_id(definitions: Iterable[Series], refused: set[int]) -> dict[int, Series]:
    """The last definition of each series id.

    Args:
        definitions: an id may occur several times.
        refused: ids that two different series share; they are left out. Collisions among the
            definitions are added, and logged.
    """
    latest: dict[int, Series] = {}
    for series in definitions:
        first = latest.get(series.series_id)
        if first is not None and identity_of(first) != identity_of(series):
            record_collision(series.series_id, identity_of(first), identity_of(series), refused)
        elif series.series_id not in refused:
            latest[series.series_id] = series
    return latest


def record_collision(
    series_id: int, stored: Sequence[object], received: Sequence[object], refused: set[int]
) -> None:
    """Add the id to the refused ones and log both identities, once for each id.

    Args:
        series_id: of two different series.
        stored: the identity that keeps the id, in the order of `IDENTITY`.
        received: the identity whose points are refused.
        refused: the ids that are refused until the next start.
    """
    if series_id in refused:
        return
    refused.add(series_id)
    _log.error(
        "series id %d: metrics %r and %r have the same id (a hash collision); points with this id "
        "cannot be told apart and are refused until the next start; %s",
        series_id,
        stored[0],
        received[0],
        "; ".join(
            f"{name}: stored {_shortened(kept)}, received {_shortened(other)}"
            for name, kept, other in zip(IDENTITY, stored, received, strict=True)
            if _value(name, kept) != _value(name, other)
        ),
    )


def _value(name: str, value: object) -> object:
    # PostgreSQL formats jsonb differently.
    return json.loads(value) if name in _JSON_COLUMNS and isinstance(value, str) else value


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."
