"""Configuration files: valid, invalid and unreadable ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from kit.configuration import DEFAULTS, TESTDATA, attributes, error_of_text

from exporter.config import KeepaliveSettings, TlsSettings, TokenSettings, load
from exporter.config.schema import KEYS, Configuration, File, Section
from exporter.errors import ConfigError

ENVIRONMENT = {
    "TEXT": "ninety",
    "EMPTY": "",
    "PORT": "1234",
    "DB_PASSWORD": "a:b#c d",
    "DAYS": "30",
    "NODES": "a, b,,c",
    "CLUSTER": "cluster",
}


def error_or_nothing(path: Path, environ: Mapping[str, str]) -> str:
    """The text of the ConfigError of a generated file, "" if the file loads."""
    try:
        load(path, environ)
    except ConfigError as error:
        return str(error)
    return ""


# The changed settings of each valid file, and its number of warnings.
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


@pytest.mark.parametrize("path", sorted(TESTDATA.glob("good_*.yaml")), ids=lambda path: path.stem)
def test_good_files(path: Path) -> None:
    changed, warnings = GOOD[path.stem]
    settings = load(path, ENVIRONMENT)
    assert attributes(settings) == {**attributes(DEFAULTS), **changed}
    assert len(settings.warnings) == warnings
    assert settings.source == str(path)


def test_every_expected_file_exists() -> None:
    assert {path.stem for path in TESTDATA.glob("good_*.yaml")} == set(GOOD)


@pytest.mark.parametrize("path", sorted(TESTDATA.glob("bad_*.yaml")), ids=lambda path: path.stem)
def test_bad_files(path: Path) -> None:
    """The first lines of a bad file have the number of errors, and parts of the messages."""
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


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"\xef\xbb\xbfexporters: {openfinops: {batch_size: 5}}")
    assert load(path, {}).exporter.batch_size == 5


def test_nested_aliases_do_not_explode(tmp_path: Path) -> None:
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 10)]
    text = "\n".join(["l0: &l0 [x]", *levels])
    assert "more than 10000 values; do not nest aliases" in error_of_text(tmp_path, text)


def test_keys_that_are_not_names(tmp_path: Path) -> None:
    assert "a key here is a list or a mapping" in error_of_text(tmp_path, "? [a]\n: b")
    assert "config.yaml:1: 5: unknown key; known keys: exporters" in error_of_text(tmp_path, "5: 6")


def test_an_invalid_reference_gives_only_one_error(tmp_path: Path) -> None:
    text = "exporters: {openfinops: {backend: '${env:A}', connection_string: 'sqlite:///x.db'}}"
    assert "1 error:" in error_of_text(tmp_path, text)


@given(st.text())
def test_any_text_gives_settings_or_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    message = error_or_nothing(path, {})
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
    message = error_or_nothing(path, {"B": "1"})
    assert not message or LISTED.fullmatch(message)


def unsupported(section: type[Section], path: tuple[str, ...]) -> list[tuple[str, ...]]:
    own = [(*path, name) for name in section.unsupported]
    for name, key in section.model_fields.items():
        if isinstance(key.annotation, type) and issubclass(key.annotation, Section):
            own += unsupported(key.annotation, (*path, name))
    return own


@pytest.mark.parametrize(
    "key", unsupported(File, ()) + unsupported(Configuration, ()), ids=".".join
)
def test_unsupported_keys_of_the_collector(tmp_path: Path, key: tuple[str, ...]) -> None:
    tree: object = {"a": 1}
    for name in reversed(key):
        tree = {name: tree}
    error = error_of_text(tmp_path, yaml.safe_dump(tree))
    planned = " yet" if key[-1] == "http" else ""
    text = f"the Collector has this key, this exporter does not support it{planned}: "
    assert f"1. config.yaml:{len(key)}: {'.'.join(key)}: {text}" in error
    assert "1 error:" in error


@pytest.mark.parametrize("name", ["good_references", "good_whole_collector_shape"])
def test_loading_does_not_change_the_environment(name: str) -> None:
    environ = dict(ENVIRONMENT)
    load(TESTDATA / f"{name}.yaml", environ)
    assert environ == ENVIRONMENT
