"""OTLP protobuf bytes -> points, series definitions and rejections.

`decode` is what the pipeline calls. `decode_reference` gives the same result through the official
messages; tests compare the two. Neither does I/O or reads a clock; both add new series to the
series cache that they are given, and raise nothing but `DecodeError`.
"""

from exporter.wire.decode_result import Decoded, Rejections
from exporter.wire.decoder import decode
from exporter.wire.reference_decoder import decode_reference
from exporter.wire.time_window import ANY_TIME, AgeLimits, TimeWindow

__all__ = [
    "ANY_TIME",
    "AgeLimits",
    "Decoded",
    "Rejections",
    "TimeWindow",
    "decode",
    "decode_reference",
]
