"""TextSanitizer as PostgreSQL can hold them, and how many had to be altered for that. Pure.

PostgreSQL's text and jsonb have no NUL; U+FFFD, the replacement character, takes its place.
"""

from __future__ import annotations

from typing import Final

__all__ = ["TextSanitizer", "clean_json", "clean_text"]

_REPLACEMENT: Final = "\ufffd"


class TextSanitizer:
    """Cleans the texts of one attempt at a batch, and counts those that it altered.

    Attributes:
        altered: how many; a JSON text counts once, whatever it holds.
    """

    def __init__(self) -> None:
        self.altered = 0

    def text(self, text: str) -> str:
        """Text that PostgreSQL can hold."""
        return self._noted(text, clean_text(text))

    def json(self, text: str) -> str:
        """JSON that PostgreSQL can hold."""
        return self._noted(text, clean_json(text))

    def _noted(self, text: str, cleaned: str) -> str:
        # Nearly always it is the same object, and so compared without a look at its characters.
        if cleaned is not text and cleaned != text:
            self.altered += 1
        return cleaned


def clean_text(text: str) -> str:
    """Text that PostgreSQL can hold."""
    return text.replace("\0", _REPLACEMENT)


def clean_json(text: str) -> str:
    r"""JSON that PostgreSQL can hold: `\u0000` goes, `\\u0000` (a backslash and letters) stays."""
    if r"\u0000" not in text:
        return text
    pieces = text.split(r"\\")
    return r"\\".join(piece.replace(r"\u0000", _REPLACEMENT) for piece in pieces)
