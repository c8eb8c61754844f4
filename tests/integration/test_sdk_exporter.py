"""A program's own metrics, stored from within it; with forks, kill -9, and auto-configuration."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kit.pipelines import locked, query_file
from kit.processes import DEADLINE_SECONDS, environment, run_command
from opentelemetry._logs import SeverityNumber
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, get_value
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import Counter, MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    InMemoryMetricReader,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import Resource

from exporter import config
from exporter.assembly import backend_for
from exporter.embedded import EmbeddedPipeline
from exporter.errors import BackendUnavailableError, ConfigError
from exporter.query import Reader
from exporter.sdk import OpenFinOpsMetricExporter
from exporter.sdk.logs import OpenFinOpsLogRecordExporter

ROOT = Path(__file__).parents[2]


def settings_of(folder: Path, **variables: str) -> config.Settings:
    environ = {"OPENFINOPS_DB_URL": f"sqlite:///{folder}/own.db"}
    return config.load(
        None, environ | {f"OPENFINOPS_{name}": text for name, text in variables.items()}
    )


def stored(folder: Path) -> list[tuple[str, float]]:
    """Metric names and values, in the order of their times."""
    return query_file(
        folder / "own.db",
        "SELECT metric_name, value FROM metric_samples ORDER BY timestamp, metric_name",
    )


def costs_in(folder: Path) -> list[tuple[str, str, str]]:
    """Amount, currency and resource of every cost entry, by amount."""
    store = backend_for(settings_of(folder).exporter, read_only=True)
    store.start()
    found = Reader(store).query_historical_costs()
    store.close()
    return sorted((str(one["amount"]), one["currency"], one["resource_id"]) for one in found)


def store_what_waits(folder: Path) -> None:
    """Do what the next processes would do with the spools that are there."""
    spools = list(folder.glob("own.db.spool.?"))
    assert spools
    pipelines = [EmbeddedPipeline(settings_of(folder).exporter) for _ in spools]
    for pipeline in pipelines:
        pipeline.start()
    for pipeline in pipelines:
        assert pipeline.flush(DEADLINE_SECONDS)
        assert pipeline.shutdown(DEADLINE_SECONDS)


def collected(value: int = 1, *, name: str = "jobs") -> MetricsData:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], resource=Resource({"service.name": "batch"}))
    provider.get_meter("tests").create_counter(name).add(value)
    data = reader.get_metrics_data()
    provider.shutdown()
    assert data is not None
    return data


@pytest.fixture
def new_exporter(tmp_path: Path) -> Iterator[Callable[..., OpenFinOpsMetricExporter]]:
    made = []

    def make(**variables: str) -> OpenFinOpsMetricExporter:
        made.append(OpenFinOpsMetricExporter(settings_of(tmp_path, **variables)))
        return made[-1]

    yield make
    for one in made:
        one.shutdown()


def test_a_periodic_reader_stores_what_the_program_measures(tmp_path: Path) -> None:
    exporter = OpenFinOpsMetricExporter(
        settings_of(tmp_path), preferred_temporality={Counter: AggregationTemporality.DELTA}
    )
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    provider = MeterProvider([reader], resource=Resource({"service.name": "batch"}))
    counter = provider.get_meter("tests").create_counter("jobs")
    counter.add(3)
    assert provider.force_flush()
    assert stored(tmp_path) == [("jobs", 3.0)]
    counter.add(4)
    provider.shutdown()
    assert stored(tmp_path) == [("jobs", 3.0), ("jobs", 4.0)]


def test_nothing_is_opened_before_the_first_export(
    tmp_path: Path, new_exporter: Callable[..., OpenFinOpsMetricExporter]
) -> None:
    exporter = new_exporter()
    assert exporter.force_flush()
    exporter.shutdown()
    assert list(tmp_path.iterdir()) == []


def test_success_means_on_disk(
    tmp_path: Path, new_exporter: Callable[..., OpenFinOpsMetricExporter]
) -> None:
    exporter = new_exporter(BATCH_INTERVAL_SECONDS="3600")
    assert exporter.export(collected(5)) is MetricExportResult.SUCCESS
    assert stored(tmp_path) == []
    spool = tmp_path / "own.db.spool.1"
    assert query_file(spool, "SELECT sum(entries) FROM requests") == [(1,)]


def test_failure_is_said_where_the_data_cannot_be_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    missing = tmp_path / "there-is-no-such-folder"
    exporter = OpenFinOpsMetricExporter(settings_of(missing))
    assert exporter.export(collected()) is MetricExportResult.FAILURE
    assert str(missing) in caplog.text
    missing.mkdir()
    assert exporter.export(collected()) is MetricExportResult.SUCCESS
    exporter.shutdown()
    assert stored(missing) == [("jobs", 1.0)]


def test_success_is_said_where_the_spool_can_keep_what_the_database_cannot(
    tmp_path: Path, new_exporter: Callable[..., OpenFinOpsMetricExporter]
) -> None:
    before = new_exporter()
    before.export(collected(1))
    before.shutdown()
    exporter = new_exporter()
    with locked(tmp_path / "own.db"):
        assert exporter.export(collected(5)) is MetricExportResult.SUCCESS
    assert exporter.force_flush(DEADLINE_SECONDS * 1_000)
    assert stored(tmp_path) == [("jobs", 1.0), ("jobs", 5.0)]


def test_reading_says_that_the_database_is_away(tmp_path: Path) -> None:
    pipeline = EmbeddedPipeline(settings_of(tmp_path).exporter)
    pipeline.start()
    assert pipeline.shutdown(DEADLINE_SECONDS)
    pipeline = EmbeddedPipeline(settings_of(tmp_path).exporter)
    refusal = pytest.raises(BackendUnavailableError, match="holds the lock")
    with locked(tmp_path / "own.db"), refusal, pipeline.reading():
        pass
    assert pipeline.shutdown(DEADLINE_SECONDS)


def test_after_shutdown_nothing_is_taken(
    caplog: pytest.LogCaptureFixture, new_exporter: Callable[..., OpenFinOpsMetricExporter]
) -> None:
    exporter = new_exporter()
    exporter.shutdown(timeout=1_000.0)
    exporter.shutdown()
    assert exporter.export(collected()) is MetricExportResult.FAILURE
    assert "shut down" in caplog.text


def test_the_environment_configures_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENFINOPS_DB_URL", "sqlite:///own.db")
    exporter = OpenFinOpsMetricExporter()
    assert exporter.export(collected(2)) is MetricExportResult.SUCCESS
    exporter.shutdown()
    assert stored(tmp_path) == [("jobs", 2.0)]
    monkeypatch.setenv("OPENFINOPS_BACKEND", "papyrus")
    with pytest.raises(ConfigError, match="papyrus"):
        OpenFinOpsMetricExporter()


def test_each_exporter_has_a_spool_of_its_own_and_the_next_takes_up_what_waits(
    tmp_path: Path, new_exporter: Callable[..., OpenFinOpsMetricExporter]
) -> None:
    first, second = (new_exporter(BATCH_INTERVAL_SECONDS="3600") for _ in range(2))
    for number, one in enumerate((first, second)):
        assert one.export(collected(number)) is MetricExportResult.SUCCESS
    names = {path.name for path in tmp_path.glob("own.db.spool.?")}
    assert names == {"own.db.spool.1", "own.db.spool.2"}
    assert second.force_flush()
    assert stored(tmp_path) == [("jobs", 1.0)]


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = {paths!r}
from test_sdk_exporter import OpenFinOpsMetricExporter, collected, settings_of
exporter = OpenFinOpsMetricExporter(settings_of(Path({folder!r}), BATCH_INTERVAL_SECONDS="3600"))
for number in range(1, 6):
    result = exporter.export(collected(number))
    print(number if result.name == "SUCCESS" else result, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def run(program: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    paths = [str(ROOT / "tests" / "integration"), str(ROOT / "tests")]
    script = program.format(paths=paths, folder=str(folder))
    return run_command(sys.executable, "-c", script, cwd=folder, env=environment(**variables))


def test_what_was_exported_before_a_kill_is_stored_by_the_next_process(
    tmp_path: Path, new_exporter: Callable[..., OpenFinOpsMetricExporter]
) -> None:
    for _ in range(2):
        done = run(KILLED, tmp_path)
        assert (done.returncode, done.stdout.split()) == (-signal.SIGKILL, list("12345")), (
            done.stderr
        )
    after = new_exporter()
    assert after.export(collected(6)) is MetricExportResult.SUCCESS
    after.shutdown()
    # The second process took up what the first had left, and all of it is stored once.
    assert sorted(value for _, value in stored(tmp_path)) == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6]


FORKED = """
import multiprocessing, sys
from pathlib import Path
sys.path[:0] = {paths!r}
from test_sdk_exporter import OpenFinOpsMetricExporter, collected, settings_of
exporter = OpenFinOpsMetricExporter(settings_of(Path({folder!r}), BATCH_INTERVAL_SECONDS="3600"))

def work(number):
    assert exporter.export(collected(number)).name == "SUCCESS"

if __name__ == "__main__":
    work(1)
    children = [multiprocessing.get_context("fork").Process(target=work, args=(n,)) for n in (2, 3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    work(4)
    print([child.exitcode for child in children])
    exporter.shutdown()
"""


def test_children_after_a_fork_store_for_themselves(tmp_path: Path) -> None:
    done = run(FORKED, tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, "[0, 0]"), done.stderr
    assert sorted(value for _, value in stored(tmp_path)) == [1, 2, 3, 4]
    assert "Error" not in done.stderr


BUSY_FORK = """
import os, sys, threading
from pathlib import Path
sys.path[:0] = {paths!r}
from test_sdk_exporter import OpenFinOpsMetricExporter, collected, settings_of
exporter = OpenFinOpsMetricExporter(settings_of(Path({folder!r}), BATCH_SIZE="1"))
stop, exported = threading.Event(), []

def work():
    while not stop.is_set():
        exported.append(exporter.export(collected(1)).name)

threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads:
    thread.start()
codes = []
for _ in range(10):
    child = os.fork()
    if child == 0:
        kept = exporter.export(collected(2)).name
        exporter.shutdown()
        os._exit(0 if kept == "SUCCESS" else 1)
    codes.append(os.waitpid(child, 0)[1])
stop.set()
for thread in threads:
    thread.join()
exporter.shutdown()
print(set(codes), set(exported), len(exported))
"""


def test_forks_in_the_middle_of_writes_harm_neither_side(tmp_path: Path) -> None:
    done = run(BUSY_FORK, tmp_path)
    assert done.returncode == 0, done.stderr
    said, _, exported = done.stdout.strip().rpartition(" ")
    assert said == "{0} {'SUCCESS'}"
    store_what_waits(tmp_path)
    values = [value for _, value in stored(tmp_path)]
    assert (values.count(1.0), values.count(2.0)) == (int(exported), 10)


BARE_FORK = """
import os, sys
from pathlib import Path
sys.path[:0] = {paths!r}
from test_sdk_exporter import OpenFinOpsMetricExporter, collected, settings_of
exporter = OpenFinOpsMetricExporter(settings_of(Path({folder!r}), BATCH_INTERVAL_SECONDS="3600"))
exporter.export(collected(1))
if os.fork() == 0:
    sys.exit(0)  # with the parent's pipeline in its memory, and nothing of its own
os.wait()
exporter.export(collected(2))
exporter.shutdown()
"""


def test_a_child_that_ends_leaves_its_parents_files_alone(tmp_path: Path) -> None:
    done = run(BARE_FORK, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(value for _, value in stored(tmp_path)) == [1, 2]


def test_what_it_does_itself_is_not_traced(
    tmp_path: Path, new_exporter: Callable[..., OpenFinOpsMetricExporter]
) -> None:
    seen: dict[str, set[object]] = {}

    class Watching(logging.Handler):
        def emit(self, _: logging.LogRecord) -> None:
            thread = threading.current_thread().name
            seen.setdefault(thread, set()).add(get_value(_SUPPRESS_INSTRUMENTATION_KEY))

    data: Any = collected(7)
    first = new_exporter()
    first.export(data)
    first.shutdown()
    query_file(
        tmp_path / "own.db", "UPDATE system_metrics SET timestamp = timestamp - 8640000000000"
    )
    logger = logging.getLogger("exporter")
    watching, level = Watching(), logger.level
    logger.addHandler(watching)
    logger.setLevel(logging.INFO)
    try:
        second = new_exporter()  # its writer begins by deleting, and says so
        second.export(collected(8))
        second.shutdown()
    finally:
        logger.removeHandler(watching)
        logger.setLevel(level)
    assert seen["exporter-writer"] == {True}
    assert not get_value(_SUPPRESS_INSTRUMENTATION_KEY)


def test_cost_events_are_stored_and_other_records_left_out(tmp_path: Path) -> None:
    exporter = OpenFinOpsLogRecordExporter(settings_of(tmp_path))
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    logger = provider.get_logger("tests")
    now = time.time_ns()
    for name, amount in (
        ("openfinops.cost", "12.48"),
        ("openfinops.cost", "0.02"),
        ("greeting", ""),
    ):
        logger.emit(
            timestamp=now,
            event_name=name,
            severity_number=SeverityNumber.INFO,
            attributes={"amount": amount, "currency": "EUR", "resource_id": "i-1"},
        )
    assert exporter.force_flush()
    assert costs_in(tmp_path) == [("0.02", "EUR", "i-1"), ("12.48", "EUR", "i-1")]
    provider.shutdown()


PROGRAM = """
import os, time
from opentelemetry import _logs, metrics
metrics.get_meter("shop").create_counter("orders").add(12)
logger = _logs.get_logger("shop")
event = {"amount": "7.25", "currency": "USD", "resource_id": "shop-1"}
logger.emit(timestamp=time.time_ns(), event_name="openfinops.cost", attributes=event)
if os.environ.get("KILLED"):
    _logs.get_logger_provider().force_flush()
    metrics.get_meter_provider().force_flush()
    os.kill(os.getpid(), 9)
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder with the entry points of pyproject.toml, as pip writes them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    folder = tmp_path / "installed"
    metadata = folder / f"openfinops_otel_exporter-{project['version']}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = [
        line
        for group, points in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in points.items()))
    ]
    (metadata / "entry_points.txt").write_text("\n".join(lines))
    return folder


@pytest.mark.parametrize("killed", ["", "yes"], ids=["ends", "killed"])
def test_a_variable_is_enough_under_opentelemetry_instrument(
    tmp_path: Path, installed: Path, killed: str
) -> None:
    (tmp_path / "prog.py").write_text(PROGRAM)
    env = environment(
        OTEL_METRICS_EXPORTER="openfinops",
        OTEL_TRACES_EXPORTER="none",
        OTEL_LOGS_EXPORTER="openfinops",
        OTEL_SERVICE_NAME="shop",
        OPENFINOPS_DB_URL="sqlite:///own.db",
        KILLED=killed,
        PYTHONWARNINGS="default",  # the distribution's own warnings are its own
    )
    env["PYTHONPATH"] = os.pathsep.join([str(installed), env["PYTHONPATH"]])
    instrument = str(Path(sys.executable).with_name("opentelemetry-instrument"))
    done = run_command(instrument, sys.executable, "prog.py", cwd=tmp_path, env=env)
    assert done.returncode == (-signal.SIGKILL if killed else 0), done.stderr
    store_what_waits(tmp_path)
    assert ("orders", 12.0) in stored(tmp_path)
    assert costs_in(tmp_path) == [("7.25", "USD", "shop-1")]
