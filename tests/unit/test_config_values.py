"""Single values: the notations that each kind of value has, and the errors of invalid ones."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from kit.configuration import attributes, error_of, error_of_text, load_text

from exporter.config import load


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("60", 60.0),
        ("0.25", 0.25),
        (".5", 0.5),
        ("1e2", 100.0),
        ("1_000", 1000.0),
        ("200ms", 0.2),
        ("5s", 5.0),
        ("1.5m", 90.0),
        ("1h30m", 5400.0),
        ("250us", 0.00025),
        ("250µs", 0.00025),  # U+00B5
        ("250μs", 0.00025),  # U+03BC
        ("1000ns", 0.000001),
    ],
)
def test_durations(tmp_path: Path, written: str, seconds: float) -> None:
    text = f"exporters: {{openfinops: {{batch_interval_seconds: {written}}}}}"
    from_file = load_text(tmp_path, text).exporter.batch_interval_seconds
    environ = {"OPENFINOPS_BATCH_INTERVAL_SECONDS": written}
    from_environment = load(None, environ).exporter.batch_interval_seconds
    assert from_file == from_environment == pytest.approx(seconds)
    assert isinstance(from_file, float)


@pytest.mark.parametrize(
    ("written", "endpoint"),
    [
        ("localhost:4317", "localhost:4317"),
        ("0.0.0.0:4317", "0.0.0.0:4317"),
        ("[::1]:4317", "[::1]:4317"),
        ("[fe80::1%eth0]:4317", "[fe80::1%eth0]:4317"),
        (":4317", "[::]:4317"),
        ("localhost:0", "localhost:0"),
        ("otel_gateway.example.com:65535", "otel_gateway.example.com:65535"),
        ("unix:///run/otel.sock", "unix:///run/otel.sock"),
    ],
)
def test_endpoints(written: str, endpoint: str) -> None:
    assert load(None, {"OPENFINOPS_ENDPOINT": written}).receiver.endpoint == endpoint


def test_an_endpoint_that_is_only_a_port_number(tmp_path: Path) -> None:
    text = "receivers: {otlp: {protocols: {grpc: {endpoint: 4317}}}}"
    assert "endpoint: found 4317; allowed: host:port such as" in error_of_text(tmp_path, text)


@pytest.mark.parametrize("text", ["true", "TRUE", "yes", "on", "1"])
def test_flags_in_the_notations_of_shells(text: str) -> None:
    environ = {
        "OPENFINOPS_ENABLE_COMPRESSION": text,
        "OPENFINOPS_BACKEND": "timescaledb",
        "OPENFINOPS_DB_URL": "postgresql://h/d",
    }
    assert load(None, environ).exporter.enable_compression is True


@pytest.mark.parametrize(
    ("written", "rollups", "direct_compress"),
    [("on", True, "on"), ("off", False, "off"), ("true", True, "on"), ("false", False, "off")],
)
def test_on_and_off_are_also_written_as_flags(
    tmp_path: Path, written: str, *, rollups: bool, direct_compress: str
) -> None:
    text = f"exporters: {{openfinops: {{rollups: {written}, direct_compress: {written}}}}}"
    environ = {"OPENFINOPS_ROLLUPS": written, "OPENFINOPS_DIRECT_COMPRESS": written.upper()}
    for settings in (load_text(tmp_path, text), load(None, environ)):
        assert attributes(settings)["rollups"] is rollups
        assert settings.exporter.direct_compress == direct_compress


@pytest.mark.parametrize("written", ["debug", "info", "warn", "WARNING", "Error"])
def test_log_levels_are_those_of_logging(written: str) -> None:
    level = load(None, {"OPENFINOPS_LOG_LEVEL": written}).log_level
    assert logging.getLevelNamesMapping()[level] % 10 == 0


INVALID = {
    "BACKEND": {
        "mysql": "found 'mysql'; allowed: sqlite, memory",
        "SQLITE3": "found 'SQLITE3' (did you mean sqlite?)",
    },
    "RETENTION_DAYS": {"0": "found '0'; allowed: a number above 0"},
    "BATCH_SIZE": {"1e3": "found '1e3'; allowed: a whole number"},
    "ENABLE_COMPRESSION": {"maybe": "found 'maybe'; allowed: true or false"},
    "BATCH_INTERVAL_SECONDS": dict.fromkeys(
        ["1 minute", "5 s", "s", "5S", "5sec", "1d", "-5s", "5s-1s", "5.s5", "\u0665s"],
        "allowed: seconds above 0",
    )
    | dict.fromkeys(
        ["nan", "inf", "0", "-1"],
        "allowed: seconds above 0",
    ),
    "ENDPOINT": {
        "localhost": "it is not host:port",
        "4317": "it is not host:port",
        "localhost:": "it is not host:port",
        "localhost:99999": "the port is above 65535",
        "localhost:43x7": "it is not host:port",
        "localhost:-1": "it is not host:port",
        "::1:4317": "it is not host:port (an IPv6 address goes in brackets)",
        "[localhost]:4317": "the host is neither a name nor an IP address",
        "local host:4317": "the host is neither a name nor an IP address",
        "http://server:8080": "it is a URL; this is where the receiver",
        "localhost:4317/v1/metrics": "it is not host:port",
        "unix:relative.sock": "a Unix socket is written with its absolute path",
        "unix:///": "a Unix socket is written with its absolute path",
    },
    "DB_URL": {
        "sqlite://a.db": "sqlite needs three slashes before a relative path",
        "sqlite:///": "it does not name a file",
        "sqlite:///:memory:": "to keep data in memory write backend: memory",
        "sqlite:///a.db?mode=ro": "sqlite takes no options after a question mark",
        "a.db": "it does not begin with sqlite:///, postgresql:// or key=value",
        "mysql://a/b": "found '***': it does not begin with sqlite:///",
        "postgresql+psycopg2://h/d": "it does not begin with",
    },
}


@pytest.mark.parametrize(
    ("name", "written", "message"),
    [
        (f"OPENFINOPS_{name}", written, message)
        for name, values in INVALID.items()
        for written, message in values.items()
    ],
)
def test_an_invalid_value_is_named_with_its_variable(name: str, written: str, message: str) -> None:
    error = error_of({name: written})
    assert f"1. {name}: found " in error
    assert message in error
