"""TLS of the receiver: what gRPC listens with, and reading the files again when they change."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import grpc

from exporter.errors import ReceiverError
from exporter.receiver.files import signature
from exporter.receiver.pem import KeyPair, load_authorities, load_key_pair, read_pem

__all__ = ["Certificates"]

_log = logging.getLogger(__name__)


class Certificates:
    """The certificate that the receiver shows, and the authority that clients' must come from.

    TLS 1.2 and 1.3 are spoken; gRPC for Python has no means to change that.

    Args:
        cert_file: PEM; the receiver's certificate, then those between it and its authority.
        key_file: PEM; its key, not encrypted.
        client_ca_file: PEM; the authorities for client certificates, which are then required.
        reload_interval_seconds: how often at most a change of the files is looked for.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        cert_file: Path,
        key_file: Path,
        *,
        client_ca_file: Path | None = None,
        reload_interval_seconds: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cert_file = cert_file
        self._key_file = key_file
        self._client_ca_file = client_ca_file
        self._reload_interval_seconds = reload_interval_seconds
        self._clock = clock
        self._look_at = 0.0
        self._signatures: tuple[object, ...] = ()

    def check(self) -> str:
        """Read the files and try them out.

        Returns:
            Until when the certificate is valid, as text.

        Raises:
            ReceiverError: a file cannot be read or used; says which, and what to do.
        """
        return self._load()[0].not_after

    def credentials(self) -> grpc.ServerCredentials:
        """What gRPC listens with. From then on it asks here before each handshake.

        Raises:
            ReceiverError: a file cannot be read or used; says which, and what to do.
        """
        self._look_at = self._clock() + self._reload_interval_seconds
        self._signatures = self._look()
        return grpc.dynamic_ssl_server_credentials(
            _configuration(*self._load()),
            self._changed,  # type: ignore[arg-type]  # None, for no change, is unknown to the stubs
            require_client_authentication=self._client_ca_file is not None,
        )

    def channel_credentials(
        self, client_files: tuple[Path, Path] | None = None
    ) -> tuple[grpc.ChannelCredentials, str]:
        """What a client on the receiver's own machine reaches it with, and the name to expect.

        Args:
            client_files: certificate and key to show where the receiver asks for them; None
                shows its own.

        Raises:
            ReceiverError: a file cannot be read or used.
        """
        own, _ = self._load()
        if self._client_ca_file is None:
            return grpc.ssl_channel_credentials(own.certificate), own.name
        key, shown = own.key, own.certificate
        if client_files is not None:
            shown, key = (read_pem(path, "the client's") for path in client_files)
        return grpc.ssl_channel_credentials(own.certificate, key, shown), own.name

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        """What gRPC is to take from now on, None where nothing changed."""
        now = self._clock()
        if now < self._look_at:
            return None
        self._look_at = now + self._reload_interval_seconds
        before, self._signatures = self._signatures, self._look()
        if self._signatures == before:
            return None
        try:
            own, authorities = self._load()
        except ReceiverError as exc:
            # Certificate and key may be replaced one after the other: the second is seen as well.
            _log.error("the certificate read before stays in use: %s", exc)
            return None
        _log.info("%s was read again: valid until %s", self._cert_file, own.not_after)
        return _configuration(own, authorities)

    def _look(self) -> tuple[object, ...]:
        paths = (self._cert_file, self._key_file, self._client_ca_file)
        return tuple(signature(path) for path in paths if path is not None)

    def _load(self) -> tuple[KeyPair, bytes | None]:
        own = load_key_pair(self._cert_file, self._key_file)
        authorities = self._client_ca_file
        return own, None if authorities is None else load_authorities(authorities)


def _configuration(own: KeyPair, authorities: bytes | None) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(own.key, own.certificate)], root_certificates=authorities
    )
