"""The keys of the receiver, and of the extension that says who may send."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, model_validator

from exporter.config import values
from exporter.config.sections import (
    DURATION_TEXT,
    Count,
    Duration,
    FilePath,
    Flag,
    NotNothing,
    OptionalCount,
    OptionalDuration,
    Section,
    Token,
    key,
)

__all__ = ["BearerTokenAuth", "Extensions", "Grpc", "Receivers", "Tls"]


class ServerParameters(Section):
    """How long connections live; gRPC's own defaults where nothing is written."""

    max_connection_idle: OptionalDuration = key(
        None,
        DURATION_TEXT,
        "Close a connection that had no request for this long; without it after 10 minutes.",
    )
    max_connection_age: OptionalDuration = key(
        None,
        DURATION_TEXT,
        "Close a connection of this age, so that senders spread over several receivers.",
    )
    max_connection_age_grace: OptionalDuration = key(
        None, DURATION_TEXT, "How long a request may still take on a connection of that age."
    )
    time: OptionalDuration = key(
        None,
        DURATION_TEXT,
        "Ping a client that was silent for this long while it has a request under way, to see "
        "whether it is there; without it after 5 minutes.",
    )
    timeout: OptionalDuration = key(
        None,
        DURATION_TEXT,
        "Close the connection if such a ping is not answered in this time; without it after 20 "
        "seconds.",
    )


class EnforcementPolicy(Section):
    """What clients may do to keep a connection open."""

    min_time: OptionalDuration = key(
        None,
        DURATION_TEXT,
        "A client that pings more often than this is disconnected; without it 5 minutes.",
    )
    permit_without_stream: Annotated[Flag | None, NotNothing] = key(
        None, "true or false", "Whether clients may ping while no request is under way."
    )


class Keepalive(Section):
    """Life of connections."""

    server_parameters: ServerParameters = ServerParameters()
    enforcement_policy: EnforcementPolicy = EnforcementPolicy()


class Tls(Section):
    """The receiver's certificate, and which clients it wants one of."""

    unsupported: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(
            ["ca_file", "ca_pem", "include_system_ca_certs_pool"],
            "clients' certificates are verified by the authorities in client_ca_file alone",
        ),
        **dict.fromkeys(
            ["insecure", "insecure_skip_verify", "server_name_override"],
            "it is for clients; a receiver without the section tls speaks plain text",
        ),
        **dict.fromkeys(
            ["cipher_suites", "curve_preferences", "include_insecure_cipher_suites"],
            "gRPC for Python chooses by itself",
        ),
        "cert_pem": "write the certificate into a file and give cert_file",
        "client_ca_file_reload": "every file is looked at once in reload_interval; remove it",
        "key_pem": "write the key into a file that only this user may read and give key_file",
        "max_version": "gRPC for Python always speaks TLS 1.2 and 1.3; remove it",
        "tpm": "the key is read from key_file",
    }

    cert_file: FilePath = key(
        None,
        "the path of a PEM file",
        "The receiver's certificate, followed by those between it and its authority. With it only "
        "TLS is spoken.",
    )
    key_file: FilePath = key(
        None, "the path of a PEM file", "The key of the certificate, not encrypted."
    )
    client_ca_file: FilePath = key(
        None,
        "the path of a PEM file",
        "The authorities of clients' certificates. With it a client needs one, and is refused "
        "without.",
    )
    min_version: Annotated[Literal["1.2"], BeforeValidator(values.read_version)] = key(
        "1.2",
        "1.2; gRPC for Python always speaks TLS 1.2 and 1.3",
        "The lowest version of TLS that is spoken.",
    )
    reload_interval: Duration = key(
        60.0,
        DURATION_TEXT,
        "How often at most the files are looked at; one that changed is read again. In seconds "
        "here; the Collector never looks unless told to.",
    )


class Auth(Section):
    """Who may send."""

    authenticator: Annotated[str | None, NotNothing] = key(
        None,
        "the name of a bearertokenauth in extensions",
        "The extension that decides who may send. Without it everybody may.",
    )


class Grpc(Section):
    """OTLP over gRPC."""

    unsupported: ClassVar[Mapping[str, str]] = {
        "include_metadata": "request metadata is not kept",
        "middlewares": "remove it",
        "read_buffer_size": "gRPC for Python sizes its buffers itself",
        "transport": "write unix:///path as the endpoint for a Unix socket; all else is TCP",
        "write_buffer_size": "gRPC for Python sizes its buffers itself",
    }

    endpoint: Annotated[str, BeforeValidator(values.read_endpoint)] = key(
        "localhost:4317",
        "host:port such as localhost:4317, 0.0.0.0:4317, [::1]:4317 or :4317, "
        "or unix:///absolute/path",
        "Where to listen. `0.0.0.0:4317` or `:4317` listens on every interface, "
        "port 0 takes a free port and says which.",
    )
    max_recv_msg_size_mib: Count = key(
        64,
        "a whole number from 1 to 2047",
        "Largest request in MiB, after decompression; at most a sixtieth of what memory_limit_mib "
        "leaves beyond 112 MiB counts, 32 MiB by default. The Collector's own default is 4.",
        ge=1,
        le=2047,
    )
    max_concurrent_streams: OptionalCount = key(
        None,
        "a whole number from 1 to 2147483647",
        "Requests that one connection may have under way at the same time; without it 100.",
        ge=1,
        le=2**31 - 1,
    )
    max_connections: Count = key(
        1000,
        "a whole number from 1 to 1000000",
        "Clients that may be connected at the same time; further ones are disconnected and come "
        "back later. Each needs a file descriptor (`ulimit -n`). The Collector has no such key.",
        ge=1,
        le=1_000_000,
    )
    tls: Tls = Tls()
    auth: Auth = Auth()
    keepalive: Keepalive = Keepalive()

    @model_validator(mode="before")
    @classmethod
    def _security_is_not_empty(cls, value: object) -> object:
        # Elsewhere an empty section stands for the defaults; here they are no security at all.
        for name in ("tls", "auth"):
            if isinstance(value, dict) and name in value and not value[name]:
                raise ValueError(
                    f"the section {name} is there and empty, which would secure nothing; write "
                    "its keys, or remove it"
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
    """The tokens of which each request has to show one."""

    unsupported: ClassVar[Mapping[str, str]] = {
        "header": "clients send the token in the header authorization",
        "tokens": "write them into a file, one a line, and give its path in filename",
    }

    token: Token = key(
        None,
        "text without spaces, best written ${env:NAME}",
        "The only token that is let in. A file is better: it can hold several, and change.",
        repr=False,
    )
    filename: FilePath = key(
        None,
        "the path of a text file",
        "Holds one token a line; empty lines and lines that begin with # do not count. It is read "
        "again when it changes. With it token has no effect.",
    )
    scheme: Annotated[str, BeforeValidator(values.read_scheme)] = key(
        "Bearer",
        "a word, or nothing",
        "What stands before the token in the header authorization.",
    )


class Extensions(Section):
    """What a receiver may name."""

    bearertokenauth: BearerTokenAuth = BearerTokenAuth()
