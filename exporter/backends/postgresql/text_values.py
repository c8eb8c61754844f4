"""Texts, JSON and times in the form that PostgreSQL accepts. Pure.

PostgreSQL's text and jsonb cannot store NUL; U+FFFD, the replacement character, replaces it.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from exporter.time_units import NANOSECONDS_PER_MICROSECOND

_REPLACEMENT: Final = "\ufffd"


class TextSanitizer:
    """Cleans the texts of one attempt to write a batch, and counts those that it changes.

    Attributes:
        altered: how many texts it has changed; a JSON document counts once.
    """

    def __init__(self) -> None:
        self.altered = 0

    def text(self, text: str) -> str:
        """The text without NUL."""
        return self._counted(text, clean_text(text))

    def json(self, text: str) -> str:
        """The JSON text without an escaped NUL."""
        return self._counted(text, clean_json(text))

    def _counted(self, text: str, cleaned: str) -> str:
        # An unchanged text is nearly always the same object; that avoids comparing characters.
        if cleaned is not text and cleaned != text:
            self.altered += 1
        return cleaned


def clean_text(text: str) -> str:
    """The text without NUL."""
    return text.replace("\0", _REPLACEMENT)


def clean_json(text: str) -> str:
    r"""The JSON text without `\u0000`; `\\u0000`, a backslash and letters, stays."""
    if r"\u0000" not in text:
        return text
    pieces = text.split(r"\\")
    return r"\\".join(piece.replace(r"\u0000", _REPLACEMENT) for piece in pieces)


def timestamp_text(unix_nano: int) -> str:
    """A time as timestamptz accepts it, rounded down to a microsecond."""
    return f"{np.datetime64(unix_nano // NANOSECONDS_PER_MICROSECOND, 'us')}Z"
