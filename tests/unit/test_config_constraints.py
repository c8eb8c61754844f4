"""Keys that depend on each other: contradictions, and settings without effect."""

from __future__ import annotations

from pathlib import Path

import pytest
from kit.configuration import DEFAULTS, error_of, load_text

from exporter.config import load


@pytest.mark.parametrize(
    ("connection_string", "backend"),
    [
        ("sqlite:///a.db", "sqlite"),
        ("postgresql://h/d", "postgresql"),
        ("postgres://h/d", "postgresql"),
        ("host=h dbname=d", "postgresql"),
    ],
)
def test_the_connection_string_decides_the_backend(connection_string: str, backend: str) -> None:
    settings = load(None, {"OPENFINOPS_DB_URL": connection_string})
    assert settings.exporter.backend == backend
    assert settings.origins["exporters.openfinops.backend"] == "OPENFINOPS_DB_URL"


@pytest.mark.parametrize("backend", ["postgresql", "timescaledb"])
def test_a_server_needs_a_connection_string(backend: str) -> None:
    error = error_of({"OPENFINOPS_BACKEND": backend})
    assert f"OPENFINOPS_BACKEND: exporters.openfinops.backend: the backend {backend} needs" in error
    assert "set OPENFINOPS_DB_URL" in error


@pytest.mark.parametrize(
    ("backend", "connection_string", "message"),
    [
        ("postgresql", "sqlite:///a.db", "sqlite:///a.db is for the backend sqlite"),
        ("timescaledb", "sqlite:///a.db", "sqlite:///a.db is for the backend sqlite"),
        ("sqlite", "postgresql://u:pw@h/d", "postgresql://u:***@h/d is for the backend postgresql"),
    ],
)
def test_backend_and_connection_string_must_agree(
    backend: str, connection_string: str, message: str
) -> None:
    error = error_of({"OPENFINOPS_DB_URL": connection_string}, backend=backend)
    assert message in error
    assert f"and the backend is {backend} (command line)" in error


def test_the_backend_memory_has_no_connection_string() -> None:
    settings = load(None, {"OPENFINOPS_DB_URL": "sqlite:///a.db"}, overrides={"backend": "memory"})
    assert settings.exporter.connection_string is None
    (warning,) = settings.warnings
    assert warning == (
        "OPENFINOPS_DB_URL: connection_string has no effect, because the backend is memory "
        "(command line)"
    )


SERVERS = "postgresql and timescaledb"


@pytest.mark.parametrize(
    ("name", "value", "backends"),
    [
        ("enable_compression", "true", "timescaledb"),
        ("compress_after_seconds", "1h", "timescaledb"),
        ("direct_compress", "off", "timescaledb"),
        ("chunk_interval_seconds", "6h", "timescaledb"),
        ("rollups", "off", "timescaledb"),
        ("pool_min_connections", "0", SERVERS),
        ("pool_max_connections", "9", SERVERS),
    ],
)
def test_a_key_of_another_backend_gives_a_warning(name: str, value: str, backends: str) -> None:
    variable = f"OPENFINOPS_{name.upper()}"
    (warning,) = load(None, {variable: value}).warnings
    assert warning == (
        f"{variable}: {name} has no effect, because the backend is sqlite; it is for {backends}"
    )


@pytest.mark.parametrize(
    ("environ", "parts"),
    [
        (
            {"OPENFINOPS_POOL_MIN_CONNECTIONS": "5"},
            [
                "pool_min_connections is 5 (OPENFINOPS_POOL_MIN_CONNECTIONS)",
                "pool_max_connections is 4 (default); the first must be at most the second",
            ],
        ),
        (
            {"OPENFINOPS_MAX_QUEUED_ENTRIES": "99"},
            [
                "max_queued_entries is 99 (OPENFINOPS_MAX_QUEUED_ENTRIES)",
                "batch_size is 100 (default); the first must be at least the second, or no batch",
            ],
        ),
        (
            {"OPENFINOPS_BATCH_SIZE": "1000000", "OPENFINOPS_MAX_QUEUED_ENTRIES": "101"},
            ["batch_size is 1000000 (OPENFINOPS_BATCH_SIZE)"],
        ),
        (
            {"OPENFINOPS_COST_RETENTION_DAYS": "89.5"},
            [
                "cost_retention_days is 89.5 (OPENFINOPS_COST_RETENTION_DAYS)",
                "retention_days is 90.0 (default); the first must be at least the second, because",
            ],
        ),
    ],
    ids=["pool", "queue", "batch", "retention"],
)
def test_two_numbers_in_the_wrong_order(environ: dict[str, str], parts: list[str]) -> None:
    error = error_of(environ)
    assert "1 error:" in error
    for part in parts:
        assert part in error


@pytest.mark.parametrize(
    ("environ", "days"),
    [
        ({}, 1_095.0),
        ({"OPENFINOPS_RETENTION_DAYS": "365"}, 1_095.0),
        ({"OPENFINOPS_RETENTION_DAYS": "1_096"}, 1_096.0),
        ({"OPENFINOPS_RETENTION_DAYS": "30", "OPENFINOPS_COST_RETENTION_DAYS": "30"}, 30.0),
    ],
    ids=["default", "shorter", "longer", "set"],
)
def test_costs_are_kept_for_three_years_and_at_least_as_long_as_metrics(
    environ: dict[str, str], days: float
) -> None:
    settings = load(None, environ)
    assert settings.exporter.cost_retention_days == days
    assert settings.warnings == ()


def test_a_batch_processor_outside_the_pipeline_has_no_effect(tmp_path: Path) -> None:
    text = """\
receivers: {otlp: }
processors: {batch: {timeout: 5s, send_batch_size: 7}}
exporters: {openfinops: }
service: {pipelines: {metrics: {receivers: [otlp], exporters: [openfinops]}}}
"""
    settings = load_text(tmp_path, text)
    assert settings.exporter == DEFAULTS.exporter
    (warning,) = settings.warnings
    assert warning.endswith("config.yaml:2: processors.batch: is in no pipeline and has no effect")


def test_the_exporter_keys_override_the_batch_processor_with_a_warning(tmp_path: Path) -> None:
    text = """\
processors: {batch: {timeout: 5s, send_batch_size: 7, send_batch_max_size: 9}}
exporters: {openfinops: {batch_interval_seconds: 5, batch_size: 8}}
"""
    settings = load_text(tmp_path, text)
    assert settings.exporter.batch_size == 8
    assert settings.exporter.batch_interval_seconds == 5.0
    path = tmp_path / "config.yaml"
    different, without_effect = settings.warnings
    assert different == (
        f"{path}:1: processors.batch.send_batch_size has no effect, because "
        f"exporters.openfinops.batch_size ({path}:2) has another value"
    )
    assert without_effect.startswith(f"{path}:1: send_batch_max_size has no effect")


def test_the_environment_overrides_the_batch_processor_without_a_warning(tmp_path: Path) -> None:
    text = "processors: {batch: {send_batch_size: 7}}"
    settings = load_text(tmp_path, text, {"OPENFINOPS_BATCH_SIZE": "8"})
    assert settings.exporter.batch_size == 8
    assert settings.warnings == ()
