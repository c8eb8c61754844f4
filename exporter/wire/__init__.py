"""OTLP bytes -> points: pure, and raises nothing but `DecodeError`.

`decode` is what the receiver uses; `decode_reference` does the same through the official
messages and is what `decode` is tested against.
"""

from exporter.wire.ages import ANY_TIME, AgeLimits, TimeWindow
from exporter.wire.fast import decode
from exporter.wire.reference import decode_reference
from exporter.wire.result import Decoded, Rejections

__all__ = [
    "ANY_TIME",
    "AgeLimits",
    "Decoded",
    "Rejections",
    "TimeWindow",
    "decode",
    "decode_reference",
]
