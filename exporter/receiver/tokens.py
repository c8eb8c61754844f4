"""Bearer tokens: which requests show one that counts.

Only digests of one length are kept and compared, each time with all of them, so that the time an
answer takes tells nothing about a token. No token is in a log line, an error or a repr.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import grpc

from exporter.errors import ReceiverError
from exporter.receiver.files import signature
from exporter.receiver.replies import Refusal

__all__ = ["BearerTokens", "Metadata"]

Metadata = Iterable[tuple[str, str | bytes]]

_log = logging.getLogger(__name__)

_HEADER: Final = "authorization"
_LOOK_INTERVAL_SECONDS: Final = 1.0
_MAX_FILE_BYTES: Final = 1024 * 1024
_UNREADABLE: Final = Refusal(
    grpc.StatusCode.UNAVAILABLE,
    "the receiver cannot read its bearer tokens at the moment, see its log",
)


class BearerTokens:
    """The tokens of which a request has to show one.

    Args:
        token: the only one. Exactly one of `token` and `path` is given.
        path: a file with one token a line; empty lines and those that begin with # do not count.
            It is read again when it changes, which is looked for at most once a second.
        scheme: the word before the token in the header `authorization`.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        *,
        token: str | None = None,
        path: Path | None = None,
        scheme: str = "Bearer",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._scheme = scheme
        self._clock = clock
        self._digests: tuple[bytes, ...] = () if token is None else (_digest(token.encode()),)
        self._signature: tuple[int, int, int] | None = None
        self._look_at = 0.0

    def __repr__(self) -> str:
        return f"BearerTokens(path={str(self._path)!r})" if self._path else "BearerTokens(***)"

    def load(self) -> int:
        """Read the tokens.

        Returns:
            How many there are.

        Raises:
            ReceiverError: the file cannot be read, or holds none.
        """
        if self._path is not None:
            self._look_at = self._clock() + _LOOK_INTERVAL_SECONDS
            self._signature = signature(self._path)
            self._digests = _read(self._path)
        return len(self._digests)

    def refusal(self, metadata: Metadata) -> Refusal | None:
        """Why a request is not let in; None for one that shows a token that counts.

        While the file is empty or cannot be read nobody is let in, but with UNAVAILABLE: that is
        no fault of the clients, who upon UNAUTHENTICATED would drop what they have.
        """
        self._look()
        if not self._digests:
            return _UNREADABLE
        shown = [value for name, value in metadata if name == _HEADER]
        if len(shown) == 1 and self._counts(shown[0]):
            return None
        return Refusal(
            grpc.StatusCode.UNAUTHENTICATED,
            f"this receiver wants a bearer token that it knows, in the header {_HEADER}: "
            f"'{self._expected('<token>')}'; found {'another one' if shown else 'no such header'}",
        )

    def _counts(self, header: str | bytes) -> bool:
        value = header.encode("utf-8", "surrogateescape") if isinstance(header, str) else header
        scheme, _, token = value.partition(b" ") if self._scheme else (b"", b"", value)
        digest = _digest(token.strip())
        # A list, so that a match early on does not save the rest.
        matches = [hmac.compare_digest(digest, each) for each in self._digests]
        # The scheme is no secret, and no matter of case (RFC 9110, 11.1).
        return any(matches) and scheme.lower() == self._scheme.encode().lower()

    def _expected(self, token: str) -> str:
        return f"{self._scheme} {token}".strip()

    def _look(self) -> None:
        """Read the file again if it changed."""
        now = self._clock()
        if self._path is None or now < self._look_at:
            return
        self._look_at = now + _LOOK_INTERVAL_SECONDS
        before, self._signature = self._signature, signature(self._path)
        if self._signature == before:
            return
        try:
            self._digests = _read(self._path)
            _log.info("%s was read again: %d bearer tokens", self._path, len(self._digests))
        except ReceiverError as exc:
            self._digests = ()
            _log.error("nobody is let in until this is put right: %s", exc)


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def _read(path: Path) -> tuple[bytes, ...]:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
    except OSError as exc:
        raise ReceiverError(
            f"cannot read the bearer tokens in {path}: {exc.strerror}; give the path of a file "
            f"that user {os.geteuid()} may read, with one token a line"
        ) from exc
    if len(content) > _MAX_FILE_BYTES:
        raise ReceiverError(
            f"cannot use the bearer tokens in {path}: it is larger than {_MAX_FILE_BYTES} bytes; "
            "give the path of a file with one token a line"
        )
    lines = (line.strip() for line in content.splitlines())
    tokens = {line for line in lines if line and not line.startswith(b"#")}
    if not tokens:
        raise ReceiverError(
            f"cannot use the bearer tokens in {path}: it holds none, so nobody could be let in; "
            "write one token a line, or take `auth` out of the configuration"
        )
    return tuple(_digest(token) for token in tokens)
