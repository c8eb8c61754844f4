"""TLS of the receiver: the credentials that gRPC listens with, reloaded when the files change."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import grpc

from exporter.errors import ReceiverError
from exporter.receiver.certificate_files import KeyPair, load_authorities, load_key_pair, read_pem
from exporter.receiver.file_watch import FileWatch

_log = logging.getLogger(__name__)


class Certificates:
    """The certificate of the receiver, and the authorities of client certificates.

    The receiver speaks TLS 1.2 and 1.3; gRPC for Python has no option to change that.

    Args:
        cert_file: PEM; the receiver's certificate, then those between it and its authority.
        key_file: PEM; its key, not encrypted.
        client_ca_file: PEM; the authorities of client certificates, which are then required.
        reload_interval_seconds: a change of the files is checked at most once in this time.
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
        paths = [path for path in (cert_file, key_file, client_ca_file) if path is not None]
        self._watch = FileWatch(paths, reload_interval_seconds, clock)

    def check(self) -> str:
        """Read the files and test them.

        Returns:
            Until when the certificate is valid, as text.

        Raises:
            ReceiverError: a file cannot be read or used; says which, and what to do.
        """
        return self._load()[0].not_after

    def server_credentials(self) -> grpc.ServerCredentials:
        """What gRPC listens with; from then on it asks for changes before each handshake.

        Raises:
            ReceiverError: a file cannot be read or used; says which, and what to do.
        """
        self._watch.reset()
        return grpc.dynamic_ssl_server_credentials(
            _configuration(*self._load()),
            self._reload,  # type: ignore[arg-type]  # None, for no change, is unknown to the stubs
            require_client_authentication=self._client_ca_file is not None,
        )

    def channel_credentials(
        self, client_files: tuple[Path, Path] | None = None
    ) -> tuple[grpc.ChannelCredentials, str]:
        """Returns channel credentials for a client on this machine, and the server name to verify.

        Args:
            client_files: certificate and key of the client, if the receiver requires them; None
                for the receiver's own.

        Raises:
            ReceiverError: a file cannot be read or used.
        """
        own, _ = self._load()
        if self._client_ca_file is None:
            return grpc.ssl_channel_credentials(own.certificate), own.name
        key, certificate = own.key, own.certificate
        if client_files is not None:
            certificate, key = (read_pem(path, "the client's") for path in client_files)
        return grpc.ssl_channel_credentials(own.certificate, key, certificate), own.name

    def _reload(self) -> grpc.ServerCertificateConfiguration | None:
        """The new configuration; None if nothing has changed, or it cannot be used yet."""
        if not self._watch.has_changed():
            return None
        try:
            own, authorities = self._load()
        except ReceiverError as exc:
            # Certificate and key may be replaced one after the other: the second change reloads.
            _log.error("the certificate read before stays in use: %s", exc)
            return None
        _log.info("%s was read again: valid until %s", self._cert_file, own.not_after)
        return _configuration(own, authorities)

    def _load(self) -> tuple[KeyPair, bytes | None]:
        own = load_key_pair(self._cert_file, self._key_file)
        authorities = self._client_ca_file
        return own, None if authorities is None else load_authorities(authorities)


def _configuration(own: KeyPair, authorities: bytes | None) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(own.key, own.certificate)], root_certificates=authorities
    )
