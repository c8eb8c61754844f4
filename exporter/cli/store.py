"""The settings of a command, and the store that they select, opened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from exporter import config
from exporter.assembly import backend_for
from exporter.backends.base import Backend
from exporter.errors import BackendRefusedError, OtherBackendError
from exporter.query import Reader
from exporter.query.read_only import start_read_only


def load_settings(path: Path | None, *, db: str | None, **flags: str | None) -> config.Settings:
    """The settings: flags override the environment, the environment the file, the file defaults.

    Args:
        path: the configuration file, or None.
        db: the value of `--db`.
        flags: further overrides of `config.load`; None if the flag was not given.

    Raises:
        ConfigError: the configuration is invalid.
    """
    overrides = {**flags, "connection_string": connection_string(db)}
    return config.load(path, config.process_environment(), overrides=overrides)


def store_settings(
    path: Path | None, *, db: str | None, backend: str | None = None
) -> config.ExporterSettings:
    """The settings of an existing store, with the backend that created its tables.

    A PostgreSQL URL may lead to TimescaleDB, and the user need not know which. `serve` and `check`
    use `load_settings` instead: their settings decide which tables are created.

    Raises:
        ConfigError: the configuration is invalid.
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
            pass  # the command opens the store next and reports the error
    return settings


@contextmanager
def open_store(
    settings: config.ExporterSettings, *, read_only: bool = True, serving: bool = False
) -> Iterator[Backend]:
    """The started backend of the settings; it is closed at the end.

    Args:
        settings: which backend, and where.
        read_only: open it without the means to change anything.
        serving: as in `assembly.backend_for`.

    Raises:
        ExporterError: it does not exist, or cannot be opened.
    """
    with closing(backend_for(settings, read_only=read_only, serving=serving)) as backend:
        backend.start()
        yield backend


@contextmanager
def open_existing(
    path: Path | None, *, db: str | None, backend: str | None = None
) -> Iterator[Backend]:
    """The existing store that the options select, opened for reading; it is closed at the end.

    Raises:
        ExporterError: the configuration is invalid, or the store does not exist or cannot be read.
    """
    settings = load_settings(path, db=db, backend=backend).exporter
    store = start_read_only(
        settings.backend,
        settings.connection_string,
        pool_min_connections=settings.pool_min_connections,
        pool_max_connections=settings.pool_max_connections,
    )
    with closing(store):
        yield store


@contextmanager
def open_reader(path: Path | None, db: str | None) -> Iterator[Reader]:
    """A reader of the existing store that `--config` and `--db` select."""
    with open_existing(path, db=db) as store:
        yield Reader(store)


def connection_string(db: str | None) -> str | None:
    """The connection string of a `--db` value; a plain path is a SQLite file.

    >>> connection_string("metrics.db"), connection_string("/var/lib/metrics.db")
    ('sqlite:///metrics.db', 'sqlite:////var/lib/metrics.db')
    """
    # libpq's form is `host=... dbname=...`; a path rarely has a = before its first slash.
    if db is None or "://" in db or "=" in db.partition("/")[0]:
        return db
    return f"sqlite:///{db}"
