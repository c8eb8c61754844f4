"""Runs a decoder and compares the result with what the data model says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import google.protobuf.message
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from exporter.errors import DecodeError
from exporter.series_cache import SeriesCache
from exporter.wire import ANY_TIME, Decoded, TimeWindow, decode, decode_reference
from kit.otlp.model import Expected, Identity, expect
from kit.otlp.observed import Definitions, observe

if TYPE_CHECKING:
    from collections.abc import Callable

    Decode = Callable[[bytes, SeriesCache, TimeWindow], Decoded]

both_decoders = pytest.mark.parametrize("decoder", [decode, decode_reference])


class DecoderSession:
    """A decoder with one series cache, and all series definitions that it has emitted."""

    def __init__(
        self, decoder: Decode, *, max_entries: int = 1_000_000, window: TimeWindow = ANY_TIME
    ) -> None:
        self._decoder = decoder
        self._window = window
        self.cache = SeriesCache(max_entries=max_entries)
        self._definitions = Definitions()

    def decode(self, data: bytes) -> Expected | None:
        """What was stored and rejected; None for a DecodeError."""
        try:
            decoded = self._decoder(data, self.cache, self._window)
        except DecodeError:
            return None
        return observe(decoded, self._definitions)

    def ids(self) -> dict[Identity, int]:
        """Series ids by identity."""
        return self._definitions.ids()


def expect_bytes(data: bytes) -> Expected | None:
    """What must be stored and rejected; None if the bytes are not a request."""
    try:
        request = ExportMetricsServiceRequest.FromString(data)
    except google.protobuf.message.DecodeError:
        return None
    return expect(request)


def assert_stored(found: Expected | None, expected: Expected | None) -> None:
    """Same rows, same rejections, and series definitions with metadata from the request."""
    if found is None or expected is None:
        assert found is expected
        return
    assert found.numbers == expected.numbers
    assert found.histograms == expected.histograms
    assert found.summaries == expected.summaries
    assert found.exemplars == expected.exemplars
    assert found.rejected == expected.rejected
    for identity, metadata in found.metadata.items():
        assert metadata <= expected.metadata[identity]


def assert_defined(found: Expected | None, expected: Expected | None) -> None:
    """As `assert_stored`, and this request defined every series."""
    assert_stored(found, expected)
    assert found is None or expected is None or found.metadata.keys() == expected.metadata.keys()
