"""Environment variables, flags, .env files, and references to variables in a file."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from kit.configuration import DEFAULTS, attributes, error_of_text, load_text

from exporter.config import load, load_dotenv_file, process_environment
from exporter.config.schema import VARIABLES
from exporter.errors import ConfigError

FROM_ENVIRONMENT: dict[str, tuple[str, object]] = {
    "OPENFINOPS_ENDPOINT": ("0.0.0.0:0", "0.0.0.0:0"),
    "OPENFINOPS_LOG_LEVEL": ("Debug", "DEBUG"),
    "OPENFINOPS_BACKEND": ("in_memory", "memory"),
    "OPENFINOPS_DB_URL": ("sqlite:////data/a.db", "sqlite:////data/a.db"),
    "OPENFINOPS_RETENTION_DAYS": ("365", 365.0),
    "OPENFINOPS_COST_RETENTION_DAYS": ("400", 400.0),
    "OPENFINOPS_MAX_PAST_DAYS": ("1.5", 1.5),
    "OPENFINOPS_MAX_FUTURE_DAYS": ("2", 2.0),
    "OPENFINOPS_BATCH_SIZE": (" 1_000 ", 1000),
    "OPENFINOPS_BATCH_INTERVAL_SECONDS": ("200ms", 0.2),
    "OPENFINOPS_ENABLE_COMPRESSION": ("0", False),
    "OPENFINOPS_COMPRESS_AFTER_SECONDS": ("24h", 86_400.0),
    "OPENFINOPS_DIRECT_COMPRESS": ("Auto", "auto"),
    "OPENFINOPS_CHUNK_INTERVAL_SECONDS": ("1440m", 86_400.0),
    "OPENFINOPS_ROLLUPS": ("ON", True),
    "OPENFINOPS_POOL_MIN_CONNECTIONS": ("1", 1),
    "OPENFINOPS_POOL_MAX_CONNECTIONS": (" 4 ", 4),
    "OPENFINOPS_MAX_MEMORY_ENTRIES": ("7", 7),
    "OPENFINOPS_MAX_QUEUED_ENTRIES": ("2000", 2000),
    "OPENFINOPS_MAX_SERIES": ("50000", 50_000),
    "OPENFINOPS_MEMORY_LIMIT_MIB": ("512", 512),
    "OPENFINOPS_SPOOL": ("off", False),
    "OPENFINOPS_SPOOL_PATH": ("/data/requests.spool", Path("/data/requests.spool")),
    "OPENFINOPS_SPOOL_MAX_SIZE_MIB": ("100", 100),
    "OPENFINOPS_SPOOL_MAX_AGE_SECONDS": ("24h", 86_400.0),
    "OPENFINOPS_RETRY_WINDOW_SECONDS": ("10m", 600.0),
    "OPENFINOPS_SHUTDOWN_TIMEOUT_SECONDS": ("2.5", 2.5),
    "OPENFINOPS_CLUSTER_ID_ATTRIBUTES": ("a, b.c", ("a", "b.c")),
    "OPENFINOPS_NODE_ID_ATTRIBUTES": ("host.name", ("host.name",)),
    "OPENFINOPS_DEFAULT_COST_RULES": ("off", False),
}


@pytest.mark.parametrize("name", VARIABLES)
def test_each_variable_sets_its_key(name: str) -> None:
    text, expected = FROM_ENVIRONMENT[name]
    settings = load(None, {name: text, "PATH": "/bin"})
    setting = {"OPENFINOPS_DB_URL": "connection_string"}.get(name, name[len("OPENFINOPS_") :])
    assert attributes(settings)[setting.lower()] == expected
    assert settings.origins[".".join(VARIABLES[name])] == name
    assert settings.warnings == ()


@pytest.mark.parametrize("text", ["", " "])
@pytest.mark.parametrize("name", VARIABLES)
def test_an_empty_variable_is_not_set(name: str, text: str) -> None:
    assert load(None, {name: text}) == DEFAULTS


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("OPENFINOPS_RETENTION_DAY", "OPENFINOPS_RETENTION_DAYS"),
        ("OPENFINOPS_BATCHSIZE", "OPENFINOPS_BATCH_SIZE"),
        ("OPENFINOPS_CONNECTION_STRING", "OPENFINOPS_DB_URL"),
        ("OPENFINOPS_DATABASE_URL", "OPENFINOPS_DB_URL"),
        ("OPENFINOPS_GRPC_ENDPOINT", "OPENFINOPS_ENDPOINT"),
    ],
)
def test_an_unknown_variable_gives_a_warning(name: str, meant: str) -> None:
    settings = load(None, {name: "postgresql://u:secret@h/d"})
    assert settings.warnings == (
        f"{name}: this exporter has no such variable and ignores it; did you mean {meant}?",
    )
    assert settings.exporter == DEFAULTS.exporter


def test_an_unknown_variable_without_a_similar_name() -> None:
    (warning,) = load(None, {"OPENFINOPS_XYZ": "1"}).warnings
    assert warning == "OPENFINOPS_XYZ: this exporter has no such variable and ignores it"


def test_a_variable_that_the_file_refers_to_is_known(tmp_path: Path) -> None:
    text = "exporters: {openfinops: {connection_string: 'sqlite:///${env:OPENFINOPS_NAME}.db'}}"
    settings = load_text(tmp_path, text, {"OPENFINOPS_NAME": "cost"})
    assert settings.exporter.connection_string == "sqlite:///cost.db"
    assert settings.warnings == ()


def test_precedence(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("exporters: {openfinops: {batch_size: 2, retention_days: 2}}")
    environ = {"OPENFINOPS_BATCH_SIZE": "3"}
    assert load(None, {}).exporter.batch_size == 100
    assert load(path, {}).exporter.batch_size == 2
    assert load(path, environ).exporter.batch_size == 3
    settings = load(path, environ, overrides={"batch_size": "4", "backend": None})
    assert settings.exporter.batch_size == 4
    assert settings.exporter.retention_days == 2
    assert settings.exporter.backend == "sqlite"
    assert settings.origins["exporters.openfinops.batch_size"] == "command line"
    assert settings.origins["exporters.openfinops.retention_days"] == f"{path}:1"


@pytest.mark.parametrize("value", [5, "5", " 5 "])
def test_overrides_are_values_or_texts(value: object) -> None:
    assert load(None, {}, overrides={"batch_size": value}).exporter.batch_size == 5


def test_every_override() -> None:
    overrides = {
        "connection_string" if name == "OPENFINOPS_DB_URL" else name[11:].lower(): text
        for name, (text, _) in FROM_ENVIRONMENT.items()
        if name != "OPENFINOPS_BACKEND"
    }
    environ = {
        name: text for name, (text, _) in FROM_ENVIRONMENT.items() if name != "OPENFINOPS_BACKEND"
    }
    assert attributes(load(None, {}, overrides=overrides)) == attributes(load(None, environ))
    with pytest.raises(TypeError, match="unknown setting 'batchsize'"):
        load(None, {}, overrides={"batchsize": 5})


def test_dotenv_file(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    assert load_dotenv_file(path) == {}
    path.write_text("# comment\nA=1\nexport B='x $A ${A} #'\nC\nD=\n", encoding="utf-8")
    assert load_dotenv_file(path) == {"A": "1", "B": "x $A ${A} #", "D": ""}


def test_dotenv_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the variables in .*: Is a directory"):
        load_dotenv_file(tmp_path)
    (tmp_path / ".env").write_bytes(b"A=\xff")
    with pytest.raises(ConfigError, match="it is not UTF-8") as caught:
        load_dotenv_file(tmp_path / ".env")
    assert caught.value.__cause__ is None


def test_the_process_overrides_the_dotenv_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("OPENFINOPS_BATCH_SIZE=1\nOPENFINOPS_BACKEND=memory\n")
    monkeypatch.setenv("OPENFINOPS_BATCH_SIZE", "2")
    monkeypatch.delenv("OPENFINOPS_BACKEND", raising=False)
    monkeypatch.chdir(tmp_path)
    environ = process_environment()
    assert environ["OPENFINOPS_BATCH_SIZE"] == "2"
    assert environ["OPENFINOPS_BACKEND"] == "memory"


@pytest.mark.parametrize(
    ("written", "expanded"),
    [
        ("plain", "plain"),
        ("$5 $x $", "$5 $x $"),
        ("$$${env:A}$$", "$value$"),
        ("$${env:A}", "${env:A}"),
        ("$$$$", "$$"),
        ("${env:A}${A}", "valuevalue"),
        ("${env:NONE:-a:-b}", "a:-b"),
        ("${NONE:-http://x:1/}", "http://x:1/"),
        ("${env:NONE:-}x", "x"),
        ("${env:EMPTY:-default}", "default"),
        ("x${env:EMPTY}", "x"),
        ("${env:LOOKS_LIKE_ONE}", "${env:A}"),
        ("${env:A:-unused}", "value"),
    ],
)
def test_references(tmp_path: Path, written: str, expanded: str) -> None:
    environ = {"A": "value", "EMPTY": "", "LOOKS_LIKE_ONE": "${env:A}"}
    text = yaml.safe_dump({"exporters": {"openfinops": {"node_id_attributes": [written]}}})
    assert load_text(tmp_path, text, environ).exporter.node_id_attributes == (expanded,)


@pytest.mark.parametrize(
    "written",
    [
        "${",
        "${env:A",
        "${}",
        "${env:}",
        "${env:1A}",
        "${ENV:A}",
        "${env:A B}",
        "${{env:A}}",
        "${:-x}",
    ],
)
def test_invalid_references(tmp_path: Path, written: str) -> None:
    text = yaml.safe_dump({"exporters": {"openfinops": {"node_id_attributes": [written]}}})
    error = error_of_text(tmp_path, text, {"A": "value"})
    assert "node_id_attributes[0]: it holds a " in error
    assert "write ${env:NAME} or ${env:NAME:-default}, and $$ for a dollar sign" in error


# A question mark is not allowed in a SQLite connection string.
PRINTABLE = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="?")


@given(st.text(PRINTABLE, min_size=1))
def test_a_variable_cannot_break_the_yaml(
    tmp_path_factory: pytest.TempPathFactory, value: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "reference.yaml"
    path.write_text("exporters:\n  openfinops:\n    connection_string: sqlite:///${env:X}#!.db\n")
    assert load(path, {"X": value}).exporter.connection_string == f"sqlite:///{value}#!.db"


def test_errors_of_all_sources_are_reported_at_once(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("exporters:\n  openfinops:\n    batch_size: 0\n")
    with pytest.raises(ConfigError) as caught:
        load(path, {"OPENFINOPS_RETENTION_DAYS": "ninety"}, overrides={"endpoint": "nowhere"})
    assert str(caught.value) == (
        "the configuration cannot be used, 3 errors:\n"
        f"  1. {path}:3: exporters.openfinops.batch_size: found 0; "
        "allowed: a whole number from 1 to 1000000\n"
        "  2. OPENFINOPS_RETENTION_DAYS: found 'ninety'; "
        "allowed: a number above 0, at most 36500\n"
        "  3. command line: endpoint: found 'nowhere': it is not host:port (an IPv6 address goes "
        "in brackets); allowed: host:port such as localhost:4317, 0.0.0.0:4317, [::1]:4317 or "
        ":4317, or unix:///absolute/path"
    )


def test_an_overridden_value_is_validated_as_well(tmp_path: Path) -> None:
    text = "exporters: {openfinops: {batch_size: 0}}"
    assert "batch_size: found 0" in error_of_text(tmp_path, text, {"OPENFINOPS_BATCH_SIZE": "5"})
