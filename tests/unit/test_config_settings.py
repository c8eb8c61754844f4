"""The settings that result: defaults, types, and the table of `check`."""

from __future__ import annotations

import dataclasses
from typing import get_type_hints

import pytest
from kit.configuration import DEFAULTS, ROOT, TESTDATA

from exporter.config import ExporterSettings, KeepaliveSettings, load
from exporter.config.exporter_keys import Openfinops
from exporter.config.schema import KEYS

# Keys whose setting has another type than the key.
CONVERTED = {"backend", "connection_string", "cost_rules", "cost_events", "llm_prices"}


def test_defaults_that_the_shipped_file_does_not_name() -> None:
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
    exporter = DEFAULTS.exporter
    assert exporter.connection_string == "sqlite:///openfinops_telemetry.db"
    assert (exporter.max_past_days, exporter.spool_path) == (None, None)


def test_each_key_of_the_exporter_has_an_attribute_of_its_type() -> None:
    types = get_type_hints(ExporterSettings)
    assert list(types) == list(Openfinops.model_fields)
    for name, field in Openfinops.model_fields.items():
        assert name in CONVERTED or types[name] == field.annotation, name


def test_the_shipped_file_has_the_defaults() -> None:
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
        DEFAULTS.origins["a"] = "b"  # type: ignore[index]  # that it fails is the point


def test_the_table_has_every_key_once() -> None:
    rows = DEFAULTS.table
    keys = [".".join(key) for key in KEYS if key[:2] != ("processors", "batch")]
    assert sorted(row[0] for row in rows) == sorted(keys)
    assert {row[2] for row in rows} == {"default"}


def test_the_table_shows_values_and_sources() -> None:
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
