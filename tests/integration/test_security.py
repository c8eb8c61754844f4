"""The real program with TLS and tokens: what it logs, which clients it accepts, health checks."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from kit.pipelines import stored
from kit.processes import DEADLINE_SECONDS, Program, environment, run
from kit.receiver import Authority

from exporter.cli.serve import exposure_of
from exporter.config import load

TOKEN = "agent-7-s3cret"  # noqa: S105 - a test's

# An ordinary program with the SDK, configured by its environment alone.
SENDER = """
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

provider = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter(), 1e9)])
provider.get_meter("shop").create_counter("orders").add(3)
provider.shutdown()
"""


@dataclass(frozen=True)
class Place:
    """A folder with the files of a receiver with TLS and tokens."""

    folder: Path
    authority: Authority
    config: str = "otel-config.yaml"

    def configure(self, *, tls: str = "", tokens: bool = True) -> None:
        auth = "auth: {authenticator: bearertokenauth}" if tokens else ""
        (self.folder / self.config).write_text(
            f"""
extensions:
  bearertokenauth: {{filename: tokens}}
receivers:
  otlp:
    protocols:
      grpc:
        endpoint: 127.0.0.1:0
        tls: {{cert_file: server.pem, key_file: server.key, {tls}}}
        {auth}
exporters:
  openfinops: {{connection_string: "sqlite:///data.db", batch_interval_seconds: 0.1}}
service:
  extensions: [bearertokenauth]
"""
        )

    def stored(self) -> int:
        return stored(self.folder / "data.db", "metric_samples")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path, Authority(tmp_path, "ours"))
    place.authority.issue("server")
    (tmp_path / "tokens").write_text(f"# agent 7\n{TOKEN}\n")
    place.configure()
    return place


def send(place: Place, address: str, **variables: str) -> None:
    """Let an SDK send one point; it logs a failure, and ends."""
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"https://localhost:{address.rpartition(':')[2]}",
        "OTEL_EXPORTER_OTLP_CERTIFICATE": str(place.authority.file),
        "OTEL_EXPORTER_OTLP_TIMEOUT": "5",
        **variables,
    }
    subprocess.run(
        [sys.executable, "-c", SENDER],
        env=environment(**variables),
        check=True,
        capture_output=True,
        timeout=DEADLINE_SECONDS,
    )


def test_points_of_an_sdk_are_stored_only_with_the_token(place: Place) -> None:
    with Program("serve", "--config", place.config, cwd=place.folder) as program:
        address = program.wait_until_listening()
        send(place, address, OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20guess")
        program.wait_for_line("WARNING.* a request was refused: .*authorization.*another one")
        send(place, address, OTEL_EXPORTER_OTLP_HEADERS=f"authorization=Bearer%20{TOKEN}")
        assert program.stop() == 0
        assert TOKEN not in program.log
        assert "guess" not in program.log
    assert place.stored() == 1


def test_points_of_an_sdk_with_a_client_certificate_are_stored(place: Place) -> None:
    place.configure(tls="client_ca_file: ours-ca.pem", tokens=False)
    place.authority.issue("agent", "agent-7")
    with Program("serve", "--config", place.config, cwd=place.folder) as program:
        address = program.wait_until_listening()
        send(
            place,
            address,
            OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=str(place.folder / "agent.pem"),
            OTEL_EXPORTER_OTLP_CLIENT_KEY=str(place.folder / "agent.key"),
        )
        assert program.stop() == 0
    assert place.stored() == 1


def test_new_files_are_readable_only_by_their_owner(place: Place) -> None:
    before = set(place.folder.iterdir())
    with Program("serve", "--config", place.config, cwd=place.folder) as program:
        address = program.wait_until_listening()
        send(place, address, OTEL_EXPORTER_OTLP_HEADERS=f"authorization=Bearer%20{TOKEN}")
        created = [
            path for path in place.folder.rglob("*") if path not in before and path.is_file()
        ]
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in created}
        assert program.stop() == 0
    assert modes["data.db"] == 0o600
    assert {name: mode for name, mode in modes.items() if mode & 0o077} == {}


def test_health_fails_after_the_program_has_stopped(place: Place) -> None:
    arguments = ("health", "--config", place.config, "--timeout", "5", "--endpoint")
    with Program("serve", "--config", place.config, cwd=place.folder) as program:
        address = program.wait_until_listening()
        result = run(*arguments, address, cwd=place.folder)
        assert (result.returncode, result.stdout) == (0, f"{address}: SERVING\n"), result.stderr
        program.send(signal.SIGTERM)
        assert program.wait() == 0
    result = run(*arguments, address, cwd=place.folder)
    assert result.returncode == 1
    assert f"error: the receiver at {address} did not answer the health check" in result.stderr
    assert "Traceback" not in result.stderr


def test_health_uses_the_client_certificate_that_it_is_given(place: Place) -> None:
    Authority(place.folder, "agents").issue("probe")
    place.configure(tls="client_ca_file: agents-ca.pem")
    health = ("health", "--config", place.config, "--timeout", "5", "--endpoint")
    with Program("serve", "--config", place.config, cwd=place.folder) as program:
        address = program.wait_until_listening()
        own = run(*health, address, cwd=place.folder)
        assert own.returncode == 1  # the receiver has another authority
        given = run(*health, address, "--cert", "probe.pem", "--key", "probe.key", cwd=place.folder)
        assert given.returncode == 0, given.stderr
        half = run(*health, address, "--cert", "probe.pem", cwd=place.folder)
        assert half.returncode == 1
        assert "--cert and --key belong together" in half.stderr
        assert program.stop() == 0


@pytest.mark.parametrize(
    ("tls", "tokens", "said"),
    [
        ("", True, "clients need the bearer token"),
        ("client_ca_file: ours-ca.pem", False, "clients need a certificate"),
        ("client_ca_file: ours-ca.pem", True, "clients need a certificate and the bearer token"),
        ("", False, "every client may send"),
    ],
)
def test_check_says_what_clients_need(place: Place, tls: str, *, tokens: bool, said: str) -> None:
    place.configure(tls=tls, tokens=tokens)
    result = run("check", "--config", place.config, cwd=place.folder)
    assert result.returncode == 0, result.stderr
    assert f"GMT; {said}\n" in result.stdout
    assert "TLS, certificate valid until" in result.stdout
    assert TOKEN not in result.stdout + result.stderr


@pytest.mark.parametrize("command", ["check", "serve"])
@pytest.mark.parametrize(
    ("name", "content"), [("server.pem", "no PEM"), ("tokens", ""), ("server.key", None)]
)
def test_unusable_files_are_named_before_it_listens(
    place: Place, command: str, name: str, content: str | None
) -> None:
    path = place.folder / name
    path.unlink() if content is None else path.write_text(content)
    result = run(command, "--config", place.config, cwd=place.folder)
    assert result.returncode == 1
    assert (
        result.stderr.count("error: cannot use ") + result.stderr.count("error: cannot read") == 1
    )
    assert name in result.stderr
    assert "listening" not in result.stderr
    assert "Traceback" not in result.stderr


def test_an_expired_certificate_ends_the_program(place: Place) -> None:
    place.authority.issue("server", days=-2)
    result = run("serve", "--config", place.config, cwd=place.folder)
    assert result.returncode == 1
    assert "error: cannot use TLS: server.pem: certificate has expired; renew" in result.stderr


@pytest.mark.parametrize(
    ("endpoint", "grpc", "warning"),
    [
        ("localhost:4317", "", None),
        ("127.0.0.2:4317", "", None),
        ("unix:///run/otel.sock", "", None),
        ("0.0.0.0:4317", "", "can send data and read the traffic"),
        (":4317", "", "can send data and read the traffic"),
        ("10.0.0.7:4317", "tls: {cert_file: a, key_file: b}", "each of them can send data: add"),
        ("10.0.0.7:4317", "auth: {authenticator: bearertokenauth}", "as plain text: add tls"),
        ("host:4317", "tls: {cert_file: a, key_file: b, client_ca_file: c}", None),
        (
            "host:4317",
            "auth: {authenticator: bearertokenauth}, tls: {cert_file: a, key_file: b}",
            None,
        ),
    ],
)
def test_insecure_settings_are_warned_of(
    tmp_path: Path, endpoint: str, grpc: str, warning: str | None
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "extensions: {bearertokenauth: {filename: f}}\n"
        f"receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '{endpoint}', {grpc}}}}}}}}}\n"
        "service: {extensions: [bearertokenauth]}\n"
    )
    found = exposure_of(load(path, {}).receiver)
    if warning is None:
        assert found is None
    else:
        assert warning in str(found)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_key_is_named(place: Place) -> None:
    (place.folder / "server.key").chmod(0)
    result = run("serve", "--config", place.config, cwd=place.folder)
    assert "key_file server.key: Permission denied" in result.stderr
