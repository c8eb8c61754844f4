"""Options that several commands share, and the settings and backends that they lead to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from exporter import config
from exporter.assembly import backend_for
from exporter.backends.base import Backend
from exporter.errors import BackendRefusedError, OtherBackendError
from exporter.receiver import BearerTokens, Certificates

__all__ = [
    "BackendOption",
    "ConfigOption",
    "DbOption",
    "certificates_for",
    "connection_string",
    "load_settings",
    "opened_for_reading",
    "store_settings",
    "tokens_for",
]

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="Configuration file, such as otel-config.yaml. Without it: built-in defaults, "
        "OPENFINOPS_* variables, and those of a .env file in this folder.",
    ),
]
DbOption = Annotated[
    str | None,
    typer.Option(
        "--db",
        metavar="PATH|URL",
        help="Where the data is: a SQLite file, or a connection string such as "
        "sqlite:////var/lib/metrics.db.",
        show_default="openfinops_telemetry.db",
    ),
]
BackendOption = Annotated[
    str | None,
    typer.Option(
        "--backend",
        metavar="NAME",
        help="sqlite, memory, postgresql or timescaledb. Without it, --db decides.",
        show_default="sqlite",
    ),
]


def load_settings(path: Path | None, *, db: str | None, **flags: str | None) -> config.Settings:
    """What to run with: flags over environment over file over defaults.

    Args:
        path: the configuration file, if there is one.
        db: what `--db` says.
        flags: further overrides of `config.load`; None where nothing was said.

    Raises:
        ConfigError: the configuration is wrong.
    """
    overrides = {**flags, "connection_string": connection_string(db)}
    return config.load(path, config.process_environment(), overrides=overrides)


def store_settings(
    path: Path | None, *, db: str | None, backend: str | None = None
) -> config.ExporterSettings:
    """What `load_settings` says of a store that is there, with the backend that its tables show.

    A URL of PostgreSQL may lead to TimescaleDB as well, and who reads need not know which. Only
    `serve` and `check` take the settings at their word, for they decide what the tables become.

    Raises:
        ConfigError: the configuration is wrong.
        BackendUnavailableError: the database cannot be reached.
    """
    settings = load_settings(path, db=db, backend=backend).exporter
    if settings.backend != "postgresql":
        return settings
    with closing(backend_for(settings, read_only=True)) as store:
        try:
            store.start()
        except OtherBackendError as error:
            return replace(settings, backend=error.backend)
        except BackendRefusedError:
            pass  # told when it is opened for what it is wanted for
    return settings


def connection_string(db: str | None) -> str | None:
    """The connection string that `--db` stands for; a plain path is a SQLite file.

    >>> connection_string("metrics.db"), connection_string("/var/lib/metrics.db")
    ('sqlite:///metrics.db', 'sqlite:////var/lib/metrics.db')
    """
    if db is None or "://" in db or _is_key_value(db):
        return db
    return f"sqlite:///{db}"


def _is_key_value(text: str) -> bool:
    # libpq's form is `host=... dbname=...`; a path may have = in it, but seldom before a slash.
    return "=" in text.partition("/")[0]


def certificates_for(settings: config.ReceiverSettings) -> Certificates | None:
    """The receiver's certificates, not yet read; None for plain text."""
    tls = settings.tls
    if tls is None:
        return None
    return Certificates(
        tls.cert_file,
        tls.key_file,
        client_ca_file=tls.client_ca_file,
        reload_interval_seconds=tls.reload_interval_seconds,
    )


def tokens_for(settings: config.ReceiverSettings) -> BearerTokens | None:
    """The receiver's bearer tokens, not yet read; None where everybody may send."""
    tokens = settings.tokens
    if tokens is None:
        return None
    return BearerTokens(token=tokens.token, path=tokens.path, scheme=tokens.scheme)


@contextmanager
def opened_for_reading(settings: config.ExporterSettings) -> Iterator[Backend]:
    """The backend that the settings name, opened without the means to change anything.

    Raises:
        ExporterError: there is none, or it cannot be read.
    """
    backend = backend_for(settings, read_only=True)
    try:
        backend.start()
        yield backend
    finally:
        backend.close()
