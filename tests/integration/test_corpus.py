"""Every point of captured requests is stored or rejected, in the encodings of four encoders.

Reads a folder of captured payloads (see `--corpus`). Each is there as captured or as upb encodes
it, and as the Collector, Go and .NET encode it.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import pytest
from kit.otlp.encode import encode
from kit.otlp.layouts import ENCODERS
from kit.otlp.messages import metrics_of
from kit.otlp.model import Expected, expect
from kit.otlp.observed import Definitions, observe
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from exporter.series_cache import SeriesCache
from exporter.wire import decode, decode_reference

if TYPE_CHECKING:
    from pathlib import Path

    from exporter.wire import Decoded

LAYOUTS: Final = {layout.name: layout for layout in ENCODERS}
ENCODINGS: Final = {
    "otlp": "upb",
    "otlp_variants/pdata_head": "pdata",
    "otlp_variants/gopb": "google_go",
    "otlp_variants/dotnet": "dotnet",
}


@pytest.fixture(scope="module")
def manifest(corpus: Path) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((corpus / "otlp" / "manifest.json").read_text())
    assert entries
    return entries


def stored_by_type(decoded: Decoded) -> Counter[str]:
    types = {series.series_id: series.metric_type for series in decoded.batch.new_series}
    batch = decoded.batch
    rows: list[int] = batch.points.series_id.tolist()
    rows += [histogram.series_id for histogram in batch.histograms]
    rows += [summary.series_id for summary in batch.summaries]
    return Counter(types[series_id] for series_id in rows)


def rejected_by_type(data: bytes, decoded: Decoded) -> Counter[str]:
    """Rejections by the type of their metric; in the corpus each metric name has one type."""
    request = ExportMetricsServiceRequest.FromString(data)
    types = {metric.name: str(metric.WhichOneof("data")) for metric in metrics_of(request)}
    by_type: Counter[str] = Counter()
    for (name, _), count in decoded.rejections.counts.items():
        by_type[types[name]] += count
    return by_type


@pytest.mark.parametrize("folder", ENCODINGS)
def test_every_point_is_stored_or_rejected(
    corpus: Path, manifest: list[dict[str, Any]], folder: str
) -> None:
    for entry in manifest:
        data = (corpus / folder / entry["file"]).read_bytes()
        decoded = decode(data, SeriesCache())
        found = stored_by_type(decoded) + rejected_by_type(data, decoded)
        assert found == Counter(entry["data_points"]), entry["file"]
        assert found.total() == entry["points_total"], entry["file"]


@pytest.mark.parametrize("folder", ENCODINGS)
@pytest.mark.parametrize("decoder", [decode, decode_reference])
def test_captured_requests_are_stored_as_the_data_model_says(
    corpus: Path, manifest: list[dict[str, Any]], decoder: Any, folder: str
) -> None:
    for entry in manifest:
        data = (corpus / folder / entry["file"]).read_bytes()
        found = observe(decoder(data, SeriesCache()), Definitions())
        expected = expect(ExportMetricsServiceRequest.FromString(data))
        for identity, metadata in expected.metadata.items():
            assert found.metadata.get(identity, set()) <= metadata, entry["file"]
        assert found == without_unused_metadata(expected, found), entry["file"]


def without_unused_metadata(expected: Expected, found: Expected) -> Expected:
    """Without descriptions that were not emitted: of two for one series, one is enough."""
    expected.metadata = {
        identity: metadata & found.metadata.get(identity, set())
        for identity, metadata in expected.metadata.items()
    }
    return expected


def test_one_cache_decodes_all_encodings_equally(
    corpus: Path, manifest: list[dict[str, Any]]
) -> None:
    cache = SeriesCache()
    definitions = Definitions()
    for entry in manifest:
        seen = []
        for folder in ENCODINGS:
            data = (corpus / folder / entry["file"]).read_bytes()
            found = observe(decode(data, cache), definitions)
            found.metadata.clear()  # the first encoding has defined the series
            seen.append(found)
        assert all(found == seen[0] for found in seen), entry["file"]
    assert definitions.ids()


@pytest.mark.parametrize("folder", ENCODINGS)
def test_the_layouts_of_the_test_kit_equal_those_of_the_encoders(
    corpus: Path, manifest: list[dict[str, Any]], folder: str
) -> None:
    for entry in manifest:
        data = (corpus / folder / entry["file"]).read_bytes()
        request = ExportMetricsServiceRequest.FromString(data)
        assert encode(request, LAYOUTS[ENCODINGS[folder]]) == data, entry["file"]
