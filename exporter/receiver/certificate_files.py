"""Reads certificate files, and tests them in a handshake in memory before gRPC gets them.

gRPC reports a wrong certificate as a listen error and does not report an expired certificate.
"""

from __future__ import annotations

import os
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn

from exporter.errors import ReceiverError

_HANDSHAKE_ROUNDS: Final = 10


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its key, in PEM form.

    Attributes:
        certificate: followed by those between it and its authority.
        key: not encrypted.
        not_after: the last second at which the certificate is valid, as text.
        name: one of the names that the certificate is for.
    """

    certificate: bytes
    key: bytes = field(repr=False)
    not_after: str
    name: str


def load_key_pair(cert_file: Path, key_file: Path) -> KeyPair:
    """Read a server's certificate and key, and test them.

    Raises:
        ReceiverError: one cannot be read, they do not belong together, or no client would accept
            the certificate now.
    """
    certificate, key = read_pem(cert_file, "cert_file"), read_pem(key_file, "key_file")
    context = _server_context(cert_file, key_file)
    try:
        certificate_fields = _handshake(context, cert_file)
    except ssl.SSLCertVerificationError as exc:
        _fail(cert_file, exc.verify_message, "renew the certificate, or set this machine's clock")
    except ssl.SSLError as exc:
        _fail(cert_file, _reason(exc), "give a certificate for a server")
    not_after = str(certificate_fields.get("notAfter"))
    return KeyPair(certificate, key, not_after, _name_in(certificate_fields))


def load_authorities(path: Path) -> bytes:
    """Read the authorities that issue client certificates.

    Raises:
        ReceiverError: the file cannot be read, or every certificate in it has expired.
    """
    content = read_pem(path, "client_ca_file")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as exc:
        _fail(path, _reason(exc), "give certificates of authorities in PEM form")
    ends = [str(found["notAfter"]) for found in context.get_ca_certs()]
    if ends and all(ssl.cert_time_to_seconds(end) < time.time() for end in ends):
        _fail(path, f"expired on {ends[0]}", "give the certificate of the authority in use now")
    return content


def read_pem(path: Path, key: str) -> bytes:
    """The content of a file.

    Args:
        path: of the file.
        key: of the configuration that names the file.

    Raises:
        ReceiverError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as exc:
        raise ReceiverError(
            f"cannot use TLS: {key} {path}: {exc.strerror}; give the path of a PEM file that "
            f"user {os.geteuid()} may read"
        ) from exc


def _server_context(cert_file: Path, key_file: Path) -> ssl.SSLContext:
    def refuse_encrypted() -> NoReturn:
        remedy = "decrypt it (openssl pkey -in FILE -out PLAIN) and protect it by its file mode"
        _fail(key_file, "it is encrypted", remedy)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert_file, key_file, refuse_encrypted)
    except ssl.SSLError as exc:
        if exc.reason == "KEY_VALUES_MISMATCH":
            found = f"it is not the key of the certificate in {cert_file}"
            _fail(key_file, found, "give the two files that were made together")
        remedy = "give a certificate and its key in PEM form (-----BEGIN ...)"
        _fail(f"{cert_file} with {key_file}", _reason(exc), remedy)
    return context


def _handshake(server_context: ssl.SSLContext, cert_file: Path) -> dict[str, Any]:
    """Do a handshake in memory, with a client that trusts this certificate and no other.

    Returns:
        The fields of the certificate, as `ssl.SSLSocket.getpeercert` names them.

    Raises:
        ssl.SSLCertVerificationError: the certificate is not valid, or not now.
        ssl.SSLError: the handshake fails for another reason.
    """
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    # The certificate itself is trusted, without the authority that issued it.
    client_context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client_context.load_verify_locations(cert_file)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(_HANDSHAKE_ROUNDS):
        if all([_finishes_handshake(client), _finishes_handshake(server)]):
            break
    return dict(client.getpeercert() or {})


def _finishes_handshake(side: ssl.SSLObject) -> bool:
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _name_in(certificate: dict[str, Any]) -> str:
    names = certificate.get("subjectAltName", ())
    subject = [pair for part in certificate.get("subject", ()) for pair in part]
    hosts = [value for kind, value in names if kind == "DNS"]
    addresses = [value for kind, value in names if kind == "IP Address"]
    common = [value for kind, value in subject if kind == "commonName"]
    found: str = next(iter(hosts + addresses + common), "localhost")
    return found.replace("*", "any")


def _reason(exc: ssl.SSLError) -> str:
    return (exc.reason or str(exc)).replace("_", " ").lower()


def _fail(place: Path | str, found: str, remedy: str) -> NoReturn:
    raise ReceiverError(f"cannot use TLS: {place}: {found}; {remedy}") from None
