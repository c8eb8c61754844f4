"""Bearer tokens: whether a request carries a valid one.

Only digests of one length are kept and compared, each time with all of them, so that the response
time reveals nothing about a token. No token is in a log line, an error or a repr.
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
from exporter.receiver.file_watch import FileWatch
from exporter.receiver.refusals import Refusal

Metadata = Iterable[tuple[str, str | bytes]]

_log = logging.getLogger(__name__)

_HEADER: Final = "authorization"
_CHECK_INTERVAL_SECONDS: Final = 1.0
_MAX_FILE_BYTES: Final = 1024 * 1024
_UNREADABLE: Final = Refusal(
    grpc.StatusCode.UNAVAILABLE,
    "the receiver cannot read its bearer tokens at the moment, see its log",
)


class BearerTokens:
    """Bearer tokens; a request must carry one of them.

    Args:
        token: the only one. Exactly one of `token` and `path` is given.
        path: a file with one token a line; empty lines and lines that begin with # are ignored.
            It is read again when it has changed, which is checked at most once a second.
        scheme: the word before the token in the header `authorization`; "" for none.
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
        self._digests: tuple[bytes, ...] = () if token is None else (_digest(token.encode()),)
        self._watch = FileWatch([path] if path else [], _CHECK_INTERVAL_SECONDS, clock)

    def __repr__(self) -> str:
        return f"BearerTokens(path={str(self._path)!r})" if self._path else "BearerTokens(***)"

    def load(self) -> int:
        """Read the tokens.

        Returns:
            How many there are.

        Raises:
            ReceiverError: the file cannot be read, or has none.
        """
        if self._path is not None:
            self._watch.reset()
            self._digests = _read(self._path)
        return len(self._digests)

    def check(self, metadata: Metadata) -> Refusal | None:
        """Why a request is refused; None for one with a valid token.

        While the file is empty or unreadable all requests are refused with UNAVAILABLE. It is not
        the clients' fault, and upon UNAUTHENTICATED they would drop their data.
        """
        if self._path is not None and self._watch.has_changed():
            self._reload(self._path)
        if not self._digests:
            return _UNREADABLE
        headers = [value for name, value in metadata if name == _HEADER]
        if len(headers) == 1 and self._is_valid(headers[0]):
            return None
        expected = f"{self._scheme} <token>".strip()
        return Refusal(
            grpc.StatusCode.UNAUTHENTICATED,
            f"this receiver needs a bearer token that it knows, in the header {_HEADER}: "
            f"'{expected}'; found {'another one' if headers else 'no such header'}",
        )

    def _is_valid(self, header: str | bytes) -> bool:
        value = header.encode("utf-8", "surrogateescape") if isinstance(header, str) else header
        scheme, _, token = value.partition(b" ") if self._scheme else (b"", b"", value)
        digest = _digest(token.strip())
        # A list, so that an early match does not save the rest of the time.
        matches = [hmac.compare_digest(digest, each) for each in self._digests]
        # The scheme is not secret, and its case does not matter (RFC 9110, 11.1).
        return any(matches) and scheme.lower() == self._scheme.encode().lower()

    def _reload(self, path: Path) -> None:
        try:
            self._digests = _read(path)
            _log.info("%s was read again: %d bearer tokens", path, len(self._digests))
        except ReceiverError as exc:
            self._digests = ()
            _log.error("all requests are refused until this is corrected: %s", exc)


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
            f"cannot use the bearer tokens in {path}: it has none, so all requests would be "
            "refused; write one token a line, or remove `auth` from the configuration"
        )
    return tuple(_digest(token) for token in tokens)
