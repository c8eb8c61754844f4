"""Every way to say how to run, and every way to say it wrong."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exporter.config import (
    KeepaliveSettings,
    Settings,
    TlsSettings,
    TokenSettings,
    load,
    load_dotenv_file,
    process_environment,
)
from exporter.config.schema import KEYS, VARIABLES, Configuration, File, Section
from exporter.errors import ConfigError

ROOT = Path(__file__).parent.parent.parent
TESTDATA = ROOT / "tests" / "testdata" / "config"
ENVIRONMENT = {
    "TEXT": "ninety",
    "EMPTY": "",
    "PORT": "1234",
    "DB_PASSWORD": "a:b#c d",
    "DAYS": "30",
    "NODES": "a, b,,c",
    "CLUSTER": "cluster",
}
DEFAULTS = load(None, {})


def load_text(tmp_path: Path, text: str, environ: Mapping[str, str] | None = None) -> Settings:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, environ or {})


def refusal(tmp_path: Path, text: str, environ: Mapping[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load_text(tmp_path, text, environ)
    return str(caught.value).replace(str(tmp_path / "config.yaml"), "config.yaml")


def message_or_nothing(path: Path, environ: Mapping[str, str]) -> str:
    """For generated files: either they load, or the one error that may come says something."""
    try:
        load(path, environ)
    except ConfigError as error:
        return str(error)
    return ""


def refused(environ: Mapping[str, str], **overrides: object) -> str:
    with pytest.raises(ConfigError) as caught:
        load(None, environ, overrides=overrides)
    return str(caught.value)


# Defaults


def test_defaults() -> None:
    assert DEFAULTS.source == "built-in defaults"
    assert DEFAULTS.receiver.endpoint == "localhost:4317"
    assert DEFAULTS.receiver.max_message_bytes == 64 * 1024 * 1024
    assert DEFAULTS.receiver.max_concurrent_streams is None
    assert DEFAULTS.receiver.max_connections == 1000
    assert DEFAULTS.receiver.tls is None
    assert DEFAULTS.receiver.tokens is None
    assert DEFAULTS.receiver.keepalive == KeepaliveSettings()
    assert DEFAULTS.log_level == "INFO"
    assert DEFAULTS.warnings == ()
    assert DEFAULTS.origins == {}
    assert dataclasses.asdict(DEFAULTS.exporter) == {
        "backend": "sqlite",
        "connection_string": "sqlite:///openfinops_telemetry.db",
        "retention_days": 90.0,
        "max_past_days": None,
        "max_future_days": 7.0,
        "batch_size": 100,
        "batch_interval_seconds": 60.0,
        "enable_compression": False,
        "compress_after_seconds": 86_400.0,
        "direct_compress": "auto",
        "chunk_interval_seconds": 86_400.0,
        "rollups": True,
        "pool_min_connections": 1,
        "pool_max_connections": 4,
        "max_memory_entries": 10_000,
        "max_queued_entries": 1_000_000,
        "max_series": 1_000_000,
        "memory_limit_mib": 2048,
        "spool": True,
        "spool_path": None,
        "spool_max_size_mib": 4096,
        "spool_max_age_seconds": 604_800.0,
        "retry_window_seconds": 3600.0,
        "shutdown_timeout_seconds": 25.0,
        "cluster_id_attributes": (
            "cluster_id",
            "k8s.cluster.name",
            "k8s.cluster.uid",
            "deployment.environment.name",
        ),
        "node_id_attributes": (
            "node_id",
            "k8s.node.name",
            "host.name",
            "host.id",
            "service.instance.id",
        ),
        "cost_rules": (),
        "default_cost_rules": True,
        "llm_prices": (),
    }


def test_shipped_file_says_the_defaults() -> None:
    shipped = load(ROOT / "otel-config.yaml", {})
    assert shipped.receiver == DEFAULTS.receiver
    assert shipped.exporter == DEFAULTS.exporter
    assert shipped.log_level == DEFAULTS.log_level
    assert shipped.warnings == ()
    exporter = {key for key in KEYS if key[:2] == ("exporters", "openfinops")}
    written = {key for key in exporter if KEYS[key].default is not None}
    assert {".".join(key) for key in written} <= set(shipped.origins)


def test_settings_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        DEFAULTS.exporter.batch_size = 5  # type: ignore[misc]  # that it fails is the point
    with pytest.raises(TypeError):
        DEFAULTS.origins["a"] = "b"  # type: ignore[index]  # likewise


# Files

GOOD: dict[str, tuple[dict[str, object], int]] = {
    "good_empty": ({}, 0),
    "good_comments_only": ({}, 0),
    "good_sections_without_content": ({}, 0),
    "good_whole_collector_shape": (
        {
            "endpoint": "[::1]:4317",
            "max_message_bytes": 4 * 1024 * 1024,
            "max_concurrent_streams": 100,
            "keepalive": KeepaliveSettings(
                max_connection_idle_milliseconds=11_000,
                max_connection_age_milliseconds=5_400_000,
                max_connection_age_grace_milliseconds=500,
                time_milliseconds=120_000,
                timeout_milliseconds=1_500,
                min_time_milliseconds=10_000,
                permit_without_stream=True,
            ),
            "backend": "memory",
            "connection_string": None,
            "retention_days": 0.5,
            "max_past_days": 365.0,
            "max_future_days": 0.25,
            "batch_size": 8192,
            "batch_interval_seconds": 0.2,
            "max_memory_entries": 5,
            "shutdown_timeout_seconds": 60.0,
            "cluster_id_attributes": ("a", "b.c"),
            "node_id_attributes": (),
            "log_level": "WARNING",
        },
        0,
    ),
    "good_named_components": ({"endpoint": "localhost:2222", "batch_size": 7}, 3),
    "good_logs_pipeline": (
        {
            "endpoint": "localhost:2222",
            "backend": "memory",
            "connection_string": None,
            "batch_size": 9,
        },
        1,
    ),
    "good_logs_pipeline_alone": (
        {
            "endpoint": "localhost:2222",
            "takes_metrics": False,
            "backend": "memory",
            "connection_string": None,
            "batch_size": 9,
        },
        0,
    ),
    "good_batch_joined_without_pipelines": (
        {"batch_size": 40, "batch_interval_seconds": 3.0},
        1,
    ),
    "good_references": (
        {
            "endpoint": "localhost:1234",
            "backend": "postgresql",
            "connection_string": "postgresql://user:a:b#c d@db/cost$",
            "retention_days": 30.0,
            "batch_interval_seconds": 0.2,
            "node_id_attributes": ("a", "b", "c"),
            "cluster_id_attributes": ("cluster", "cluster_id"),
        },
        0,
    ),
    "good_security": (
        {
            "max_connections": 50,
            "tls": TlsSettings(
                cert_file=Path("server.pem"),
                key_file=Path("/etc/server.key"),
                client_ca_file=Path("clients.pem"),
                reload_interval_seconds=10.0,
            ),
            "tokens": TokenSettings(
                name="bearertokenauth/agents",
                token=None,
                path=Path("/run/secrets/tokens"),
                scheme="Token",
            ),
        },
        2,
    ),
    "good_aliases_and_merges": (
        {
            "keepalive": KeepaliveSettings(time_milliseconds=5_000, timeout_milliseconds=6_000),
            "batch_size": 13,
            "batch_interval_seconds": 12.0,
        },
        1,
    ),
}


def flat(settings: Settings) -> dict[str, Any]:
    return {
        **{name: getattr(settings.receiver, name) for name in settings.receiver.__slots__},
        **{name: getattr(settings.exporter, name) for name in settings.exporter.__slots__},
        "log_level": settings.log_level,
    }


@pytest.mark.parametrize("path", sorted(TESTDATA.glob("good_*.yaml")), ids=lambda path: path.stem)
def test_good_files(path: Path) -> None:
    changed, warnings = GOOD[path.stem]
    settings = load(path, ENVIRONMENT)
    assert flat(settings) == {**flat(DEFAULTS), **changed}
    assert len(settings.warnings) == warnings
    assert settings.source == str(path)


def test_good_files_are_all_there() -> None:
    assert {path.stem for path in TESTDATA.glob("good_*.yaml")} == set(GOOD)


@pytest.mark.parametrize("path", sorted(TESTDATA.glob("bad_*.yaml")), ids=lambda path: path.stem)
def test_bad_files(path: Path) -> None:
    """The comments at the top of a bad file say how many mistakes, and parts of the messages."""
    head = path.read_text().split("\n# ")
    count = int(head[0].removeprefix("# errors: "))
    parts = [line.partition("\n")[0] for line in head[1:]]
    with pytest.raises(ConfigError) as caught:
        load(path, ENVIRONMENT)
    lines = str(caught.value).split("\n")
    assert lines[0].startswith("the configuration cannot be used, ")
    assert len(lines) - 1 == len(parts) == count
    assert [line for line in lines[1:] if not re.match(rf"  \d+\. {path}:\d+: \S+: ", line)] == []
    for part in parts:
        assert [line for line in lines if part in line], part


def test_mistakes_of_all_sources_come_at_once(tmp_path: Path) -> None:
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


def test_a_value_that_is_overridden_is_checked_all_the_same(tmp_path: Path) -> None:
    text = "exporters: {openfinops: {batch_size: 0}}"
    assert "batch_size: found 0" in refusal(tmp_path, text, {"OPENFINOPS_BATCH_SIZE": "5"})


# Files that cannot be read at all


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1", r"config.yaml:1:6: not valid YAML: while parsing a flow sequence, expected"),
        (b"a: b: c", r"config.yaml:1:5: not valid YAML: mapping values are not allowed here"),
        (b"a: 1\n---\nb: 2", r"config.yaml:2:1: not valid YAML: expected a single document"),
        (b"a: *nothing", r"config.yaml:1:4: not valid YAML: found undefined alias \(...\)"),
        (b"a: 1\nb: \x01", r"config.yaml:2: not valid YAML: a character that YAML does not allow"),
        (b"a: 1\n\nb: \xff", r"config.yaml: line 3 is not UTF-8"),
        (b"- a", r"config.yaml: the top level is a list; it should be a mapping"),
        (b"hello", r"config.yaml: the top level is a single value"),
        (b"[" * 5000, r"config.yaml: nested too deeply"),
        (b"a: {<<: 5}", r"config.yaml:1:9: not valid YAML: while constructing a mapping"),
        (b'file_format: "1.1"\n', r"its key file_format \(line 1\) makes it a declarative"),
    ],
)
def test_unreadable_content(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load(path, {})


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none.yaml: No such file or directory; give the path"):
        load(tmp_path / "none.yaml", {})
    with pytest.raises(ConfigError, match="Is a directory"):
        load(tmp_path, {})


def test_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"\xef\xbb\xbfexporters: {openfinops: {batch_size: 5}}")
    assert load(path, {}).exporter.batch_size == 5


def test_nested_aliases_do_not_explode(tmp_path: Path) -> None:
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 10)]
    text = "\n".join(["l0: &l0 [x]", *levels])
    assert "more than 10000 values; do not nest aliases" in refusal(tmp_path, text)


def test_keys_that_are_no_names(tmp_path: Path) -> None:
    assert "a key here is a list or a mapping" in refusal(tmp_path, "? [a]\n: b")
    assert "config.yaml:1: 5: unknown key; known keys: exporters" in refusal(tmp_path, "5: 6")


def test_an_unreadable_value_gives_one_mistake_only(tmp_path: Path) -> None:
    text = "exporters: {openfinops: {backend: '${env:A}', connection_string: 'sqlite:///x.db'}}"
    assert "1 error:" in refusal(tmp_path, text)


@given(st.text())
def test_any_text_gives_settings_or_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    message = message_or_nothing(path, {})
    assert not message or str(path) in message


LISTED = re.compile(r"the configuration cannot be used, (1 error|\d+ errors):(\n  \d+\. \S+: .+)+")
NAMES = st.sampled_from(
    sorted(
        {name for key in KEYS for name in key}
        | {"pipelines", "metrics", "logs", "traces", "http", "otlp/2", "openfinops/2", "x", "1"}
    )
)
SCALARS: st.SearchStrategy[object] = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "5s", "${env:A}", "${B}", "sqlite", "sqlite:///x", "[a]", "otlp"])
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=15,
)


@given(st.dictionaries(st.sampled_from(sorted(File.model_fields)), TREES))
def test_any_tree_gives_settings_or_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, object]
) -> None:
    path = tmp_path_factory.getbasetemp() / "tree.yaml"
    path.write_text(yaml.safe_dump(tree))
    message = message_or_nothing(path, {"B": "1"})
    assert not message or LISTED.fullmatch(message)


# Environment and flags

FROM_ENVIRONMENT: dict[str, tuple[str, object]] = {
    "OPENFINOPS_ENDPOINT": ("0.0.0.0:0", "0.0.0.0:0"),
    "OPENFINOPS_LOG_LEVEL": ("Debug", "DEBUG"),
    "OPENFINOPS_BACKEND": ("in_memory", "memory"),
    "OPENFINOPS_DB_URL": ("sqlite:////data/a.db", "sqlite:////data/a.db"),
    "OPENFINOPS_RETENTION_DAYS": ("365", 365.0),
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
    assert flat(settings)[setting.lower()] == expected
    assert settings.origins[".".join(VARIABLES[name])] == name
    assert settings.warnings == ()


@pytest.mark.parametrize("text", ["", " "])
@pytest.mark.parametrize("name", VARIABLES)
def test_an_empty_variable_is_not_set(name: str, text: str) -> None:
    assert load(None, {name: text}) == DEFAULTS


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("OPENFINOPS_BACKEND", "mysql", "found 'mysql'; allowed: sqlite, memory"),
        ("OPENFINOPS_BACKEND", "SQLITE3", "found 'SQLITE3' (did you mean sqlite?)"),
        ("OPENFINOPS_RETENTION_DAYS", "0", "found '0'; allowed: a number above 0"),
        ("OPENFINOPS_BATCH_SIZE", "1e3", "found '1e3'; allowed: a whole number"),
        ("OPENFINOPS_BATCH_INTERVAL_SECONDS", "1 minute", "found '1 minute'; allowed: seconds"),
        ("OPENFINOPS_ENABLE_COMPRESSION", "maybe", "found 'maybe'; allowed: true or false"),
        ("OPENFINOPS_ENDPOINT", "http://server:8080", "it is a URL; this is where the receiver"),
        ("OPENFINOPS_DB_URL", "mysql://a/b", "found '***': it does not begin with sqlite:///"),
    ],
)
def test_a_mistake_in_a_variable_names_it(name: str, text: str, message: str) -> None:
    error = refused({name: text})
    assert f"1. {name}: found " in error
    assert message in error


@pytest.mark.parametrize("text", ["true", "TRUE", "yes", "on", "1"])
def test_flags_in_the_notations_of_shells(text: str) -> None:
    environ = {
        "OPENFINOPS_ENABLE_COMPRESSION": text,
        "OPENFINOPS_BACKEND": "timescaledb",
        "OPENFINOPS_DB_URL": "postgresql://h/d",
    }
    assert load(None, environ).exporter.enable_compression is True


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


def test_an_unknown_variable_without_a_neighbour() -> None:
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
def test_overrides_take_values_and_texts(value: object) -> None:
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
    assert flat(load(None, {}, overrides=overrides)) == flat(load(None, environ))
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


def test_the_process_wins_over_the_dotenv_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("OPENFINOPS_BATCH_SIZE=1\nOPENFINOPS_BACKEND=memory\n")
    monkeypatch.setenv("OPENFINOPS_BATCH_SIZE", "2")
    monkeypatch.delenv("OPENFINOPS_BACKEND", raising=False)
    monkeypatch.chdir(tmp_path)
    environ = process_environment()
    assert environ["OPENFINOPS_BATCH_SIZE"] == "2"
    assert environ["OPENFINOPS_BACKEND"] == "memory"


# Values


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
def test_intervals(tmp_path: Path, written: str, seconds: float) -> None:
    text = f"exporters: {{openfinops: {{batch_interval_seconds: {written}}}}}"
    from_file = load_text(tmp_path, text).exporter.batch_interval_seconds
    environ = {"OPENFINOPS_BATCH_INTERVAL_SECONDS": written}
    from_environment = load(None, environ).exporter.batch_interval_seconds
    assert from_file == from_environment == pytest.approx(seconds)
    assert isinstance(from_file, float)


@pytest.mark.parametrize(
    "written",
    ["5 s", "s", "5S", "5sec", "1d", "-5s", "5s-1s", "5.s5", "\u0665s", "nan", "inf", "0", "-1"],
)
def test_no_intervals(written: str) -> None:
    assert "allowed: seconds above 0" in refused({"OPENFINOPS_BATCH_INTERVAL_SECONDS": written})


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


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("localhost", "it is not host:port"),
        ("4317", "it is not host:port"),
        ("localhost:", "it is not host:port"),
        ("localhost:99999", "the port is above 65535"),
        ("localhost:43x7", "it is not host:port"),
        ("localhost:-1", "it is not host:port"),
        ("::1:4317", "it is not host:port (an IPv6 address goes in brackets)"),
        ("[localhost]:4317", "the host is neither a name nor an IP address"),
        ("local host:4317", "the host is neither a name nor an IP address"),
        ("http://localhost:4317", "it is a URL"),
        ("localhost:4317/v1/metrics", "it is not host:port"),
        ("unix:relative.sock", "a Unix socket is written with its absolute path"),
        ("unix:///", "a Unix socket is written with its absolute path"),
    ],
)
def test_no_endpoints(written: str, reason: str) -> None:
    assert reason in refused({"OPENFINOPS_ENDPOINT": written})


def test_an_endpoint_that_is_only_a_port_number(tmp_path: Path) -> None:
    text = "receivers: {otlp: {protocols: {grpc: {endpoint: 4317}}}}"
    assert "endpoint: found 4317; allowed: host:port such as" in refusal(tmp_path, text)


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
def test_no_references(tmp_path: Path, written: str) -> None:
    text = yaml.safe_dump({"exporters": {"openfinops": {"node_id_attributes": [written]}}})
    error = refusal(tmp_path, text, {"A": "value"})
    assert "node_id_attributes[0]: it holds a " in error
    assert "write ${env:NAME} or ${env:NAME:-default}, and $$ for a dollar sign" in error


# A question mark is no part of a SQLite connection string.
PRINTABLE = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="?")


@given(st.text(PRINTABLE, min_size=1))
def test_a_variable_cannot_break_the_yaml(
    tmp_path_factory: pytest.TempPathFactory, value: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "reference.yaml"
    path.write_text("exporters:\n  openfinops:\n    connection_string: sqlite:///${env:X}#!.db\n")
    assert load(path, {"X": value}).exporter.connection_string == f"sqlite:///{value}#!.db"


@pytest.mark.parametrize("name", ["good_references", "good_whole_collector_shape"])
def test_reading_changes_nothing_in_the_environment(name: str) -> None:
    environ = dict(ENVIRONMENT)
    load(TESTDATA / f"{name}.yaml", environ)
    assert environ == ENVIRONMENT


# Backend and connection string


@pytest.mark.parametrize(
    ("connection_string", "backend"),
    [
        ("sqlite:///a.db", "sqlite"),
        ("postgresql://h/d", "postgresql"),
        ("postgres://h/d", "postgresql"),
        ("host=h dbname=d", "postgresql"),
    ],
)
def test_the_connection_string_decides(connection_string: str, backend: str) -> None:
    settings = load(None, {"OPENFINOPS_DB_URL": connection_string})
    assert settings.exporter.backend == backend
    assert settings.origins["exporters.openfinops.backend"] == "OPENFINOPS_DB_URL"


@pytest.mark.parametrize("backend", ["postgresql", "timescaledb"])
def test_a_server_needs_a_connection_string(backend: str) -> None:
    error = refused({"OPENFINOPS_BACKEND": backend})
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
    error = refused({"OPENFINOPS_DB_URL": connection_string}, backend=backend)
    assert message in error
    assert f"and the backend is {backend} (command line)" in error


@pytest.mark.parametrize(
    ("connection_string", "reason"),
    [
        ("sqlite://a.db", "sqlite needs three slashes before a relative path"),
        ("sqlite:///", "it does not name a file"),
        ("sqlite:///:memory:", "to keep data in memory write backend: memory"),
        ("sqlite:///a.db?mode=ro", "sqlite takes no options after a question mark"),
        ("a.db", "it does not begin with sqlite:///, postgresql:// or key=value"),
        ("postgresql+psycopg2://h/d", "it does not begin with"),
    ],
)
def test_no_connection_strings(connection_string: str, reason: str) -> None:
    assert reason in refused({"OPENFINOPS_DB_URL": connection_string})


def test_memory_needs_no_connection_string() -> None:
    settings = load(None, {"OPENFINOPS_DB_URL": "sqlite:///a.db"}, overrides={"backend": "memory"})
    assert settings.exporter.connection_string is None
    assert settings.exporter.redacted_connection_string is None
    (warning,) = settings.warnings
    assert warning == (
        "OPENFINOPS_DB_URL: connection_string has no effect, because the backend is memory "
        "(command line)"
    )


# Keys that depend on each other


def test_compression_without_timescaledb_gives_a_warning() -> None:
    (warning,) = load(None, {"OPENFINOPS_ENABLE_COMPRESSION": "true"}).warnings
    assert warning.startswith("OPENFINOPS_ENABLE_COMPRESSION: enable_compression has no effect")


@pytest.mark.parametrize(
    ("variable", "value", "name", "backends"),
    [
        ("OPENFINOPS_COMPRESS_AFTER_SECONDS", "1h", "compress_after_seconds", "timescaledb"),
        ("OPENFINOPS_DIRECT_COMPRESS", "off", "direct_compress", "timescaledb"),
        ("OPENFINOPS_CHUNK_INTERVAL_SECONDS", "6h", "chunk_interval_seconds", "timescaledb"),
        ("OPENFINOPS_ROLLUPS", "off", "rollups", "timescaledb"),
        (
            "OPENFINOPS_POOL_MAX_CONNECTIONS",
            "9",
            "pool_max_connections",
            "postgresql and timescaledb",
        ),
    ],
)
def test_a_key_of_another_backend_gives_a_warning(
    variable: str, value: str, name: str, backends: str
) -> None:
    (warning,) = load(None, {variable: value}).warnings
    assert warning == (
        f"{variable}: {name} has no effect, because the backend is sqlite; it is for {backends}"
    )


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
        assert settings.exporter.rollups is rollups
        assert settings.exporter.direct_compress == direct_compress


def test_the_pool_keeps_no_more_connections_than_it_may_have() -> None:
    error = refused({"OPENFINOPS_POOL_MIN_CONNECTIONS": "5"})
    assert "pool_min_connections is 5 (OPENFINOPS_POOL_MIN_CONNECTIONS)" in error
    assert "pool_max_connections is 4 (default)" in error


def test_the_queue_holds_a_batch_at_least() -> None:
    error = refused({"OPENFINOPS_MAX_QUEUED_ENTRIES": "99"})
    assert "max_queued_entries is 99 (OPENFINOPS_MAX_QUEUED_ENTRIES)" in error
    assert "batch_size is 100 (default)" in error
    error = refused({"OPENFINOPS_BATCH_SIZE": "1000000", "OPENFINOPS_MAX_QUEUED_ENTRIES": "101"})
    assert "batch_size is 1000000 (OPENFINOPS_BATCH_SIZE)" in error


def test_batch_processor_outside_the_pipeline_does_nothing(tmp_path: Path) -> None:
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


def test_batch_processor_and_own_keys(tmp_path: Path) -> None:
    text = """\
processors: {batch: {timeout: 5s, send_batch_size: 7, send_batch_max_size: 9}}
exporters: {openfinops: {batch_interval_seconds: 5, batch_size: 8}}
"""
    settings = load_text(tmp_path, text)
    assert settings.exporter.batch_size == 8
    assert settings.exporter.batch_interval_seconds == 5.0
    path = tmp_path / "config.yaml"
    contradicted, useless = settings.warnings
    assert contradicted == (
        f"{path}:1: processors.batch.send_batch_size has no effect, because "
        f"exporters.openfinops.batch_size ({path}:2) has another value"
    )
    assert useless.startswith(f"{path}:1: send_batch_max_size has no effect")


def test_the_environment_wins_over_the_batch_processor_without_a_word(tmp_path: Path) -> None:
    text = "processors: {batch: {send_batch_size: 7}}"
    settings = load_text(tmp_path, text, {"OPENFINOPS_BATCH_SIZE": "8"})
    assert settings.exporter.batch_size == 8
    assert settings.warnings == ()


# What people see


def test_table_has_every_key_once() -> None:
    rows = DEFAULTS.table
    keys = [".".join(key) for key in KEYS if key[:2] != ("processors", "batch")]
    assert sorted(row[0] for row in rows) == sorted(keys)
    assert {row[2] for row in rows} == {"default"}


def test_table_shows_values_and_where_they_stand() -> None:
    path = TESTDATA / "good_whole_collector_shape.yaml"
    rows = {row[0]: row[1:] for row in load(path, {"OPENFINOPS_LOG_LEVEL": "error"}).table}
    grpc, exporter = "receivers.otlp.protocols.grpc", "exporters.openfinops"
    assert rows[f"{grpc}.max_recv_msg_size_mib"] == ("4", f"{path}:6")
    assert rows[f"{grpc}.keepalive.server_parameters.max_connection_age_grace"][0] == "0.5s"
    assert rows[f"{grpc}.keepalive.enforcement_policy.permit_without_stream"][0] == "true"
    assert rows[f"{exporter}.connection_string"] == ("not set", "default")
    assert rows[f"{exporter}.batch_size"] == ("8192", f"{path}:21")
    assert rows[f"{exporter}.batch_interval_seconds"] == ("0.2", f"{path}:20")
    assert rows[f"{exporter}.cluster_id_attributes"][0] == "a, b.c"
    assert rows[f"{exporter}.max_queued_entries"][0] == "1000000"
    assert rows["service.telemetry.logs.level"] == ("ERROR", "OPENFINOPS_LOG_LEVEL")


def test_log_levels_are_those_of_logging() -> None:
    for written in ("debug", "info", "warn", "WARNING", "Error"):
        level = load(None, {"OPENFINOPS_LOG_LEVEL": written}).log_level
        assert logging.getLevelNamesMapping()[level] % 10 == 0


def unsupported(section: type[Section], path: tuple[str, ...]) -> list[tuple[str, ...]]:
    own = [(*path, name) for name in section.unsupported]
    for name, key in section.model_fields.items():
        if isinstance(key.annotation, type) and issubclass(key.annotation, Section):
            own += unsupported(key.annotation, (*path, name))
    return own


@pytest.mark.parametrize(
    "key", unsupported(File, ()) + unsupported(Configuration, ()), ids=".".join
)
def test_keys_of_the_collector_that_are_not_supported(tmp_path: Path, key: tuple[str, ...]) -> None:
    tree: object = {"a": 1}
    for name in reversed(key):
        tree = {name: tree}
    error = refusal(tmp_path, yaml.safe_dump(tree))
    planned = " yet" if key[-1] == "http" else ""
    text = f"the Collector has this key, this exporter does not support it{planned}: "
    assert f"1. config.yaml:{len(key)}: {'.'.join(key)}: {text}" in error
    assert "1 error:" in error
