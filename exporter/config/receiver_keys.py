"""The keys of the OTLP receiver, and of the extension for bearer tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, model_validator

from exporter.config import parsers
from exporter.config.fields import (
    Count,
    Duration,
    FilePath,
    Flag,
    NotNull,
    OptionalCount,
    OptionalDuration,
    Section,
    Token,
    key,
)


class ServerParameters(Section):
    """How long connections stay open; gRPC's own defaults for keys that are not set."""

    max_connection_idle: OptionalDuration = key(
        None, "Close a connection that had no request for this long. gRPC's default is 10 minutes."
    )
    max_connection_age: OptionalDuration = key(
        None, "Close a connection of this age, so that senders spread over several receivers."
    )
    max_connection_age_grace: OptionalDuration = key(
        None,
        "How long requests in flight may take on a connection that reached max_connection_age.",
    )
    time: OptionalDuration = key(
        None,
        "Ping a client that was silent for this long while it has a request in flight, to see "
        "whether it is still connected. gRPC's default is 5 minutes.",
    )
    timeout: OptionalDuration = key(
        None,
        "Close the connection if such a ping is not answered in this time. gRPC's default is 20 "
        "seconds.",
    )


class EnforcementPolicy(Section):
    """How often clients may ping to keep a connection open."""

    min_time: OptionalDuration = key(
        None,
        "A client that pings more often than this is disconnected. gRPC's default is 5 minutes.",
    )
    permit_without_stream: Annotated[Flag | None, NotNull] = key(
        None, "Whether clients may ping while no request is in flight.", allowed="true or false"
    )


class Keepalive(Section):
    """Pings, and how long connections stay open."""

    server_parameters: ServerParameters = ServerParameters()
    enforcement_policy: EnforcementPolicy = EnforcementPolicy()


class Tls(Section):
    """The receiver's certificate, and the authorities of client certificates."""

    unsupported: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(
            ["ca_file", "ca_pem", "include_system_ca_certs_pool"],
            "client certificates are verified with the authorities in client_ca_file only",
        ),
        **dict.fromkeys(
            ["insecure", "insecure_skip_verify", "server_name_override"],
            "it is for clients; a receiver without the section tls speaks plain text",
        ),
        **dict.fromkeys(
            ["cipher_suites", "curve_preferences", "include_insecure_cipher_suites"],
            "gRPC for Python chooses them itself",
        ),
        "cert_pem": "write the certificate into a file and give cert_file",
        "client_ca_file_reload": "every file is checked once in reload_interval; remove it",
        "key_pem": "write the key into a file that only this user may read and give key_file",
        "max_version": "gRPC for Python always offers TLS 1.2 and 1.3; remove it",
        "tpm": "the key is read from key_file",
    }

    cert_file: FilePath = key(
        None,
        "The receiver's certificate, followed by its intermediate certificates. With it the "
        "receiver accepts only TLS.",
        allowed="the path of a PEM file",
    )
    key_file: FilePath = key(
        None, "The private key of the certificate, not encrypted.", allowed="the path of a PEM file"
    )
    client_ca_file: FilePath = key(
        None,
        "The authorities of client certificates. With it, a client without such a certificate is "
        "refused.",
        allowed="the path of a PEM file",
    )
    min_version: Annotated[Literal["1.2"], BeforeValidator(parsers.parse_tls_version)] = key(
        "1.2",
        "The lowest version of TLS that is accepted.",
        allowed="1.2; gRPC for Python always offers TLS 1.2 and 1.3",
    )
    reload_interval: Duration = key(
        60.0,
        "How often the files are checked at most; a changed file is read again. The default is "
        "60 s; the Collector's own default is never.",
    )


class Auth(Section):
    """Which clients may send."""

    authenticator: Annotated[str | None, NotNull] = key(
        None,
        "The extension that authenticates clients. Without it every client may send.",
        allowed="the name of a bearertokenauth in extensions",
    )


class Grpc(Section):
    """OTLP over gRPC."""

    unsupported: ClassVar[Mapping[str, str]] = {
        "include_metadata": "request metadata is not kept",
        "middlewares": "remove it",
        "read_buffer_size": "gRPC for Python sizes its buffers itself",
        "transport": "write unix:///path as the endpoint for a Unix socket; all others are TCP",
        "write_buffer_size": "gRPC for Python sizes its buffers itself",
    }

    endpoint: Annotated[str, BeforeValidator(parsers.parse_endpoint)] = key(
        "localhost:4317",
        "Where to listen. `0.0.0.0:4317` or `:4317` listens on every interface. "
        "Port 0 uses a free port and logs it.",
        allowed="host:port such as localhost:4317, 0.0.0.0:4317, [::1]:4317 or :4317, "
        "or unix:///absolute/path",
        variable="OPENFINOPS_ENDPOINT",
    )
    max_recv_msg_size_mib: Count = key(
        64,
        "Largest request in MiB, after decompression. It is limited to a sixtieth of the part of "
        "memory_limit_mib above 112 MiB, which is 32 MiB by default. The Collector's own default "
        "is 4.",
        ge=1,
        le=2047,
    )
    max_concurrent_streams: OptionalCount = key(
        None,
        "Requests that one connection may have in flight at the same time. The default is 100.",
        ge=1,
        le=2**31 - 1,
    )
    max_connections: Count = key(
        1000,
        "Clients that may be connected at the same time. Further clients are disconnected and "
        "reconnect later. Each connection needs a file descriptor (`ulimit -n`). The Collector "
        "has no such key.",
        ge=1,
        le=1_000_000,
    )
    tls: Tls = Tls()
    auth: Auth = Auth()
    keepalive: Keepalive = Keepalive()

    @model_validator(mode="before")
    @classmethod
    def _refuse_empty_security(cls, value: object) -> object:
        # Elsewhere an empty section means the defaults; here the defaults secure nothing.
        for name in ("tls", "auth"):
            if isinstance(value, dict) and name in value and not value[name]:
                raise ValueError(
                    f"the section {name} is empty and would secure nothing; write its keys, or "
                    "remove it"
                )
        return value


class Protocols(Section):
    """The protocols of the OTLP receiver."""

    unsupported: ClassVar[Mapping[str, str]] = {
        "http": "remove it and let senders use gRPC (OTEL_EXPORTER_OTLP_PROTOCOL=grpc, port 4317)",
    }
    planned = frozenset({"http"})
    grpc: Grpc = Grpc()


class Otlp(Section):
    """The OTLP receiver."""

    protocols: Protocols = Protocols()


class Receivers(Section):
    """Where data comes from."""

    otlp: Otlp = Otlp()


class BearerTokenAuth(Section):
    """The bearer tokens; each request must carry one of them."""

    unsupported: ClassVar[Mapping[str, str]] = {
        "header": "clients send the token in the header authorization",
        "tokens": "write them into a file, one per line, and give its path in filename",
    }

    token: Token = key(
        None,
        "The only token that is accepted. A file is better: it can hold several, and can change.",
        allowed="text without spaces, best written ${env:NAME}",
        repr=False,
    )
    filename: FilePath = key(
        None,
        "Holds one token per line; empty lines and lines that begin with # are ignored. It is read "
        "again when it changes. With it, token has no effect.",
        allowed="the path of a text file",
    )
    scheme: Annotated[str, BeforeValidator(parsers.parse_scheme)] = key(
        "Bearer",
        "The word before the token in the header authorization.",
        allowed="a word, or empty text",
    )


class Extensions(Section):
    """Extensions that a receiver can use."""

    bearertokenauth: BearerTokenAuth = BearerTokenAuth()
