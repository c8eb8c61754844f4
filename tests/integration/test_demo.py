"""The demo, run as a user runs it, and the metrics that it sends."""

import contextlib
import fcntl
import os
import pty
import re
import shlex
import signal
import socket
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from kit.pipelines import stored
from kit.processes import COMMAND, DEADLINE_SECONDS, Program, environment, run
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint, Sum

from exporter import hostmetrics
from exporter.cli.demo import sparkline

FILE = "openfinops_telemetry.db"
# Nothing listens there: a connection through this proxy would fail.
PROXY = "http://127.0.0.1:9"
SENDING = environment(http_proxy=PROXY, https_proxy=PROXY, grpc_proxy=PROXY)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


def count(path: Path) -> int:
    return stored(path, "metric_samples")


@dataclass(frozen=True)
class Demo:
    """The output of a finished demo, and the number of points in its file then."""

    stdout: str
    stderr: str
    rows: int


@pytest.fixture(scope="module")
def shown(folder: Path) -> Demo:
    """A demo of three seconds in that folder."""
    result = run("demo", "--seconds", "3", cwd=folder, env=SENDING)
    assert result.returncode == 0, result.stderr
    return Demo(result.stdout, result.stderr, count(folder / FILE))


def commands(output: str) -> list[str]:
    """The commands to try next."""
    advice = output.partition("Try next:")[2]
    return [line.strip() for line in advice.splitlines() if line.startswith("    ")]


def test_sent_points_are_stored_and_shown(shown: Demo, folder: Path) -> None:
    sent, stored = re.findall(r"(\d+) data points sent, (\d+) stored", shown.stdout)[0]
    assert sent == stored == str(shown.rows)
    assert int(sent) >= 3 * 20
    header, _, *lines = shown.stdout.strip().splitlines()
    assert header.split() == ["METRIC", "POINTS", "MIN", "LAST", "MEAN", "MAX", "TREND"]
    cpu = next(line for line in lines if line.startswith("system.cpu.utilization user"))
    assert re.fullmatch(r"\S+ user +\d+( +[\d.]+ %){4} +[▁▂▃▄▅▆▇█]+", cpu)
    memory = next(line for line in lines if line.startswith("process.memory.usage"))
    assert re.fullmatch(r"\S+ +\d+( +[\d.]+ MiB){4} +[▁▂▃▄▅▆▇█]+", memory)
    assert f"\n{folder / FILE}\n" in shown.stdout


def test_stderr_shows_the_steps_and_no_warnings(shown: Demo, folder: Path) -> None:
    receiver, storage, sender, sending = shown.stderr.splitlines()
    assert receiver.startswith("Receiver  OTLP/gRPC on 127.0.0.1:")
    assert storage == f"Storage   SQLite file {folder / FILE}"
    assert sender.startswith("Sender    OpenTelemetry SDK 1.")
    assert sending == "Sending   for 3 s ..."


def shell(command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", command],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=DEADLINE_SECONDS,
    )


def test_the_commands_to_try_next_work(shown: Demo, folder: Path) -> None:
    query, metrics, sql, serve, export = commands(shown.stdout)
    assert re.search(r"system\.cpu\.utilization +[\d.]+ % +cpu\.mode=", shell(query, folder).stdout)
    assert "process.memory.usage" in shell(metrics, folder).stdout
    assert "system." in shell(sql, folder).stdout
    arguments = shlex.split(serve)
    assert arguments[1:] == ["-m", "exporter", "serve"]
    before = count(folder / FILE)
    with Program("serve", "--endpoint", "localhost:0", cwd=folder) as program:
        address = program.wait_until_listening()
        assert "http://localhost:4317" in export
        variables = export.replace("localhost:4317", address)
        shell(f"{variables}; {shlex.quote(arguments[0])} -c {shlex.quote(APPLICATION)}", folder)
        assert program.stop() == 0
    assert count(folder / FILE) == before + 1


APPLICATION = """
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
provider = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())])
provider.get_meter("application").create_counter("orders").add(1)
provider.shutdown()
"""


def test_a_second_demo_adds_to_the_file_and_shows_its_own_points(shown: Demo, folder: Path) -> None:
    assert shown.rows
    before = count(folder / FILE)
    again = run("demo", "--seconds", "2", cwd=folder, env=SENDING)
    sent, stored = map(int, re.findall(r"(\d+) data points sent, (\d+) stored", again.stdout)[0])
    assert sent == stored == count(folder / FILE) - before
    points = re.findall(r"^process\.memory\.usage +(\d+) ", again.stdout, re.MULTILINE)
    assert 2 <= int(points[0]) <= 4
    assert again.returncode == 0


def test_it_uses_a_free_port_if_4317_is_taken(tmp_path: Path) -> None:
    with socket.socket() as other:
        # If another program already holds the port, the test works as well.
        with contextlib.suppress(OSError):
            other.bind(("127.0.0.1", 4317))
            other.listen()
        result = run("demo", "--seconds", "2", "--db", "other name.db", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    address = re.match(r"Receiver  OTLP/gRPC on (\S+), because port 4317 is taken\n", result.stderr)
    assert address is not None
    assert not address[1].endswith(":4317")
    assert count(tmp_path / "other name.db") > 20
    query = commands(result.stdout)[0]
    assert "--db 'other name.db'" in query
    assert "cpu.mode=" in shell(query, tmp_path).stdout


def test_variables_of_the_receiver_are_ignored(tmp_path: Path) -> None:
    env = environment(
        OPENFINOPS_BACKEND="memory", OPENFINOPS_ENDPOINT="0.0.0.0:1", OPENFINOPS_BATCH_SIZE="none"
    )
    result = run("demo", "--seconds", "2", cwd=tmp_path, env=env)
    assert result.returncode == 0, result.stderr
    assert count(tmp_path / FILE) > 20
    # With these variables, `query` would use another store.
    assert f"--db {FILE}" in commands(result.stdout)[0]


def test_ctrl_c_ends_the_sending_and_shows_the_report(tmp_path: Path) -> None:
    began = time.monotonic()
    with Program("demo", "--seconds", "3000", cwd=tmp_path) as program:
        program.wait_for_line("^Sending ")
        assert program.stop(signal.SIGINT) == 0
    assert time.monotonic() - began < 60
    assert count(tmp_path / FILE) > 20


def test_a_disabled_sdk_is_reported(tmp_path: Path) -> None:
    env = environment(OTEL_SDK_DISABLED="true")
    result = run("demo", "--seconds", "2", cwd=tmp_path, env=env)
    assert result.returncode == 1
    assert "error: demo: 0 data points were sent" in result.stderr
    assert "OTEL_SDK_DISABLED" in result.stderr
    assert "Traceback" not in result.stderr


def on_terminal(*arguments: str, cwd: Path, columns: int) -> str:
    """The whole output on a terminal of this width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    received = bytearray()

    def read() -> None:
        # Reading from a terminal without programs fails, on Linux with EIO.
        with contextlib.suppress(OSError):
            while data := os.read(ours, 4096):
                received.extend(data)

    reader = threading.Thread(target=read)
    with subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=cwd,
        env=environment(TERM="xterm-256color"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        reader.start()
        assert process.wait(DEADLINE_SECONDS) == 0
    reader.join(DEADLINE_SECONDS)
    os.close(ours)
    return received.decode()


def test_a_terminal_of_80_columns_shows_progress_and_an_uncut_table(tmp_path: Path) -> None:
    text = on_terminal("demo", "--seconds", "2", "--db", "d.db", cwd=tmp_path, columns=80)
    assert re.search(r"[12] of 2 s, \d+ points stored", text)
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)
    table = plain[plain.index("METRIC") : plain.index("data points sent")].splitlines()
    assert table[0].split() == ["METRIC", "LAST", "MEAN", "MAX", "TREND"]
    assert any(line.startswith("system.cpu.utilization user") for line in table)
    assert max(len(line.rstrip()) for line in table) <= 80
    assert "…" not in plain


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0], "▁"),
        ([0.0, 0.0, 0.0], "▁▁▁"),
        ([0, 7, 1, 6], "▁█▂▇"),
        ([-1, 0, 1], "▁▅█"),
        ([1000.0, 1001.0, 1000.5], "▁▁▁"),
        ([0.0, 1e-9], "▁█"),
    ],
)
def test_a_sparkline_goes_from_the_smallest_to_the_largest_value(
    values: list[float], expected: str
) -> None:
    assert sparkline(values) == expected


Points = dict[str, tuple[str, type, list[NumberDataPoint]]]


def collect(reader: InMemoryMetricReader) -> Points:
    data = reader.get_metrics_data()
    assert data is not None
    return {
        metric.name: (
            metric.unit or "",
            type(metric.data),
            [point for point in metric.data.data_points if isinstance(point, NumberDataPoint)],
        )
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


@pytest.fixture
def collected() -> Iterator[Points]:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    names = hostmetrics.register(provider.get_meter("test"))
    # Utilizations are computed over time, which the kernel counts in ticks of 10 ms.
    time.sleep(0.1)
    points = collect(reader)
    assert sorted(points) == names
    yield points
    provider.shutdown()


def by(points: Points, name: str, attribute: str) -> dict[object, float]:
    return {(point.attributes or {}).get(attribute): point.value for point in points[name][2]}


def test_host_metrics_follow_the_semantic_conventions(collected: Points) -> None:
    units = {
        "system.cpu.time": "s",
        "system.cpu.utilization": "1",
        "system.memory.usage": "By",
        "system.memory.limit": "By",
        "system.filesystem.utilization": "1",
        "system.network.io": "By",
        "system.process.count": "{process}",
        "system.uptime": "s",
        "process.memory.usage": "By",
        "process.thread.count": "{thread}",
    }
    assert {name: collected[name][0] for name in units} == units


def test_utilizations_add_up_to_one(collected: Points) -> None:
    for name, attribute in (
        ("system.cpu.utilization", "cpu.mode"),
        ("system.memory.utilization", "system.memory.state"),
    ):
        shares = by(collected, name, attribute)
        assert sum(shares.values()) == pytest.approx(1)
        assert all(0 <= share <= 1 for share in shares.values())
    assert {"user", "system", "idle"} <= set(by(collected, "system.cpu.utilization", "cpu.mode"))


def test_memory_states_add_up_to_the_limit(collected: Points) -> None:
    usage = by(collected, "system.memory.usage", "system.memory.state")
    (limit,) = by(collected, "system.memory.limit", "").values()
    assert sum(usage.values()) == limit
    assert {"used", "free"} <= set(usage)


def test_running_totals_are_monotonic_sums(collected: Points) -> None:
    monotonic = {"system.cpu.time", "system.disk.io", "system.network.io", "process.cpu.time"}
    assert {name for name, (_, kind, _) in collected.items() if kind is Sum} >= monotonic
    assert collected["system.cpu.utilization"][1] is not Sum
    assert collected["process.memory.usage"][1] is Sum
