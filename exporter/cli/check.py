"""`check`: whether `serve` could start with a configuration; changes nothing."""

from __future__ import annotations

import os
from pathlib import Path

from rich.table import Table
from rich.text import Text

from exporter.assembly import backend_for
from exporter.backends.sqlite.store_file import database_path
from exporter.cli import output
from exporter.cli.options import BackendOption, ConfigOption, DbOption
from exporter.cli.receiver_service import certificates_for, tokens_for
from exporter.cli.store import load_settings, open_store
from exporter.config import ExporterSettings, ReceiverSettings, Settings
from exporter.errors import BackendRefusedError, NothingStoredError


def check(config: ConfigOption = None, backend: BackendOption = None, db: DbOption = None) -> None:
    """Check a configuration and its database, and show all settings.

    Nothing is created or changed. Exits with 1 if `serve` could not start.

    For example:

        openfinops-exporter check --config otel-config.yaml

        openfinops-exporter check --db /var/lib/metrics.db
    """
    settings = load_settings(config, db=db, backend=backend)
    for warning in settings.warnings:
        output.print_warning(warning)
    # The settings first: they help to find the error if the certificates or the store fail below.
    output.print_rich(_table(settings), Text())
    signals = _signals(settings.receiver)
    access = _access(settings.receiver)
    storage = _storage(settings.exporter)
    output.print_rich(
        Text(f"configuration  {settings.source}: valid"),
        Text(f"signals        {signals}"),
        Text(f"access         {access}"),
        Text(f"data           {storage}"),
    )


def _table(settings: Settings) -> Table:
    """Every setting that has a value, under its section of the file."""
    table = Table("Key", "Value", "From", box=None, pad_edge=False, header_style="bold")
    section = ""
    for path, value, origin in settings.table:
        if value == "not set":
            continue
        parent, _, key = path.rpartition(".")
        if parent != section:
            section = parent
            table.add_row(Text(f"{section}", style="cyan"))
        table.add_row(Text(f"  {key}"), Text(value), Text(origin, style="dim"))
    return table


def _signals(settings: ReceiverSettings) -> str:
    """The signals that the receiver accepts, in one line."""
    if settings.takes_metrics:
        return "metrics, and cost events in logs"
    return "cost events in logs; no pipeline takes metrics, so metrics are refused"


def _access(settings: ReceiverSettings) -> str:
    """Who may send, in one line; reads the certificates and tokens.

    Raises:
        ReceiverError: `serve` could not start with one of the files.
    """
    certificates, tokens = certificates_for(settings), tokens_for(settings)
    transport = "plain text"
    if certificates is not None:
        transport = f"TLS, certificate valid until {certificates.check()}"
    required = []
    if settings.tls is not None and settings.tls.client_ca_file is not None:
        required.append("a certificate")
    if tokens is not None:
        count = tokens.load()
        required.append("the bearer token" if count == 1 else f"one of {count} bearer tokens")
    return f"{transport}; " + (
        f"clients need {' and '.join(required)}" if required else "every client may send"
    )


def _storage(settings: ExporterSettings) -> str:
    """The state of the store, in one line.

    Raises:
        ExporterError: `serve` could not start with it.
    """
    if settings.backend == "sqlite" and settings.connection_string is not None:
        return _sqlite_file(database_path(settings.connection_string), settings)
    if settings.backend == "memory":
        return "memory: lost when serve ends; keeps max_memory_entries data points"
    try:
        with open_store(settings) as backend:
            return f"{settings.backend} {backend.location}: ready"
    except NothingStoredError:
        location = backend_for(settings, read_only=True).location
        return f"{settings.backend} {location}: reached, and empty; serve will create the tables"


def _sqlite_file(path: Path, settings: ExporterSettings) -> str:
    if not path.exists():
        _require_writable(path.parent, f"sqlite {path}: the file cannot be created")
        return f"sqlite {path}: does not exist yet; serve will create it"
    _require_writable(path, f"sqlite {path}: the file cannot be written")
    # SQLite writes a -wal and a -shm file beside the database.
    _require_writable(path.parent, f"sqlite {path}: no files can be written beside it")
    with open_store(settings):
        return f"sqlite {path}: ready"


def _require_writable(path: Path, failure: str) -> None:
    """Raise BackendRefusedError with the failure and its reason unless the path is writable."""
    if not path.exists():
        raise BackendRefusedError(f"{failure}: {path} does not exist; create it")
    if not os.access(path, os.W_OK):
        raise BackendRefusedError(
            f"{failure}: user {os.geteuid()} may not write to {path}; grant write permission, or "
            "choose another path"
        )
