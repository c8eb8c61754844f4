"""What a decoder stored of a request, in the terms of `kit.otlp.model`.

It reads only the values of `exporter.model`, and fails if a batch contradicts their documentation:
JSON that is not canonical, a series without a definition, columns of different lengths.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, NoReturn

from kit.otlp.model import Expected, Identity, Json, SeriesMetadata, float_repr

if TYPE_CHECKING:
    from exporter.model import Batch, ExponentialBuckets, Series
    from exporter.wire import Decoded


def _pairs(pairs: list[tuple[str, Any]]) -> Json:
    keys = [key for key, _ in pairs]
    assert keys == sorted(set(keys)), f"keys are not sorted or not unique: {keys}"
    return ("object", tuple(pairs))


def _float(text: str) -> Json:
    return ("double", float_repr(float(text)))


def _integer(text: str) -> Json:
    return ("int", int(text))


def _constant(text: str) -> NoReturn:
    raise AssertionError(f"not JSON: {text}")


def _tagged(value: Any) -> Json:
    if isinstance(value, tuple):
        return (
            ("object", tuple((k, _tagged(v)) for k, v in value[1]))
            if value[0] == "object"
            else value
        )
    if isinstance(value, list):
        return ("array", *map(_tagged, value))
    if isinstance(value, bool):
        return ("bool", value)
    return ("null",) if value is None else ("string", value)


def _parsed(text: str) -> Json:
    """JSON as the model writes it: each part tagged with its JSON type."""
    return _tagged(
        json.loads(
            text,
            object_pairs_hook=_pairs,
            parse_float=_float,
            parse_int=_integer,
            parse_constant=_constant,
        )
    )


def _identity(series: Series) -> Identity:
    scope = dict(_parsed(series.scope)[1])
    assert set(scope) == {"name", "version", "attributes"}
    return Identity(
        series.metric_name,
        series.metric_type,
        series.unit,
        series.temporality,
        series.is_monotonic,
        _parsed(series.resource),
        scope["name"][1],
        scope["version"][1],
        scope["attributes"],
        _parsed(series.attributes),
    )


def _metadata(series: Series) -> SeriesMetadata:
    return SeriesMetadata(
        series.cluster_id,
        series.node_id,
        series.service_name,
        series.description,
        series.resource_schema_url,
        series.scope_schema_url,
    )


def _optional(number: float | None) -> str | None:
    return None if number is None else float_repr(number)


def _reals(numbers: tuple[float, ...]) -> Json:
    return tuple(map(float_repr, numbers))


def _exponential(buckets: ExponentialBuckets | None) -> Json | None:
    if buckets is None:
        return None
    return (
        buckets.scale,
        buckets.zero_count,
        float_repr(buckets.zero_threshold),
        *(buckets.positive_offset, buckets.positive_counts),
        *(buckets.negative_offset, buckets.negative_counts),
    )


class Definitions:
    """All series definitions that a cache has emitted; ids and identities match one to one."""

    def __init__(self) -> None:
        self._identities: dict[int, Identity] = {}

    def add(self, series: Series) -> Identity:
        """Add a definition; one that was added before must have the same identity."""
        identity = _identity(series)
        assert self._identities.setdefault(series.series_id, identity) == identity
        return identity

    def __getitem__(self, series_id: int) -> Identity:
        assert series_id in self._identities, "a row precedes the definition of its series"
        return self._identities[series_id]

    def ids(self) -> dict[Identity, int]:
        """Series ids by identity."""
        ids = {identity: series_id for series_id, identity in self._identities.items()}
        assert len(ids) == len(self._identities), "two ids for one identity"
        return ids


class _Rows:
    """The rows of a batch, with identities instead of series ids."""

    def __init__(self, batch: Batch, definitions: Definitions) -> None:
        self._batch = batch
        self._identities = definitions

    def numbers(self) -> Counter[Json]:
        points = self._batch.points
        columns = (
            points.series_id.tolist(),
            points.time_unix_nano.tolist(),
            points.start_time_unix_nano.tolist(),
            points.value.tolist(),
            points.recorded.tolist(),
        )
        return Counter(
            (self._identities[series_id], time, start, float_repr(value) if recorded else None)
            for series_id, time, start, value, recorded in zip(*columns, strict=True)
        )

    def histograms(self) -> Counter[Json]:
        return Counter(
            (
                *(self._identities[each.series_id], each.time_unix_nano, each.start_time_unix_nano),
                *(each.count, _optional(each.sum), _optional(each.min), _optional(each.max)),
                *(_reals(each.bounds), each.bucket_counts, _exponential(each.exponential)),
            )
            for each in self._batch.histograms
        )

    def summaries(self) -> Counter[Json]:
        return Counter(
            (
                *(self._identities[each.series_id], each.time_unix_nano, each.start_time_unix_nano),
                *(each.count, _optional(each.sum), _reals(each.quantiles), _reals(each.values)),
            )
            for each in self._batch.summaries
        )

    def exemplars(self) -> Counter[Json]:
        return Counter(
            (
                *(self._identities[each.series_id], each.time_unix_nano, float_repr(each.value)),
                *(each.trace_id, each.span_id, _parsed(each.attributes)),
            )
            for each in self._batch.exemplars
        )


def observe(decoded: Decoded, definitions: Definitions) -> Expected:
    """The stored rows and the rejections of a decoded request.

    Args:
        decoded: what the decoder returned.
        definitions: all series that earlier batches of the same cache defined; the new ones are
            added. A row whose series is not among them is a failure.
    """
    batch = decoded.batch
    metadata: dict[Identity, set[SeriesMetadata]] = {}
    for series in batch.new_series:
        metadata.setdefault(definitions.add(series), set()).add(_metadata(series))
    rows = _Rows(batch, definitions)
    rejected: Counter[str] = Counter()
    for (name, _), count in decoded.rejections.counts.items():
        rejected[name] += count
    assert decoded.rejections.total == rejected.total()
    assert bool(decoded.rejections.message()) == bool(rejected)
    return Expected(
        numbers=rows.numbers(),
        histograms=rows.histograms(),
        summaries=rows.summaries(),
        exemplars=rows.exemplars(),
        metadata=metadata,
        rejected=rejected,
    )
