"""OTLP bytes -> points: pure, and raises nothing but `DecodeError`.

`decode` is what the receiver uses; `decode_reference` does the same through the official
messages and is what `decode` is tested against.
"""

from exporter.wire.fast import decode
from exporter.wire.reference import decode_reference
from exporter.wire.result import Decoded, Rejections

__all__ = ["Decoded", "Rejections", "decode", "decode_reference"]
