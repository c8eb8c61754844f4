"""Options that several commands share, and the settings and backends that they lead to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from exporter import config
from exporter.backends import open_backend
from exporter.backends.base import Backend

__all__ = [
    "BackendOption",
    "ConfigOption",
    "DbOption",
    "backend_for",
    "connection_string",
    "load_settings",
    "opened_for_reading",
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
    typer.Option("--backend", metavar="NAME", help="sqlite or memory.", show_default="sqlite"),
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


def backend_for(
    settings: config.ExporterSettings, *, read_only: bool = False, serving: bool = False
) -> Backend:
    """The backend that the settings name, not yet opened.

    Args:
        settings: what was configured.
        read_only: only ever read.
        serving: let what the database does by itself follow the settings. A command that passes by
            may have been started with others than the receiver.

    Raises:
        ConfigError: there is no such backend.
    """
    return open_backend(
        settings.backend,
        settings.connection_string,
        max_memory_entries=settings.max_memory_entries,
        read_only=read_only,
        enable_compression=settings.enable_compression if serving else None,
        retention_days=settings.retention_days if serving else None,
    )


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
