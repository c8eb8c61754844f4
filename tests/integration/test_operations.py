"""`stats`, `cleanup` and the limits of age; real processes, also beside a receiver."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest
from engines.databases import Databases
from kit.backends.samples import cost, histogram, point, points, series
from kit.processes import Program, environment, run
from kit.receiver import send as send_data
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from exporter.backends import open_backend
from exporter.backends.base import Backend
from exporter.backends.sqlite import SQLiteBackend
from exporter.model import Batch
from exporter.query import Reader

FILE = "openfinops_telemetry.db"
DAY_NANO = 86_400 * 10**9
UNBATCHED = environment(OPENFINOPS_BATCH_SIZE="1")


def batch(ages_days: Iterable[float], *, rows_each: int = 1) -> Batch:
    """A batch with `rows_each` points and one histogram of each age."""
    now = time.time_ns()
    times = [now - int(age * DAY_NANO) for age in ages_days]
    return Batch(
        new_series=(series(1),),
        points=points(point(index, at) for at in times for index in range(1, rows_each + 1)),
        histograms=tuple(histogram(1, at) for at in times),
    )


def write(backend: Backend, data: Batch) -> None:
    with closing(backend):
        backend.start()
        backend.write(data)


def store(folder: Path, ages_days: Iterable[float], *, rows_each: int = 1) -> None:
    """Write such a batch into the default file of the program."""
    write(SQLiteBackend(folder / FILE), batch(ages_days, rows_each=rows_each))


def sizes(folder: Path) -> dict[str, Any]:
    with closing(SQLiteBackend(folder / FILE, read_only=True)) as backend:
        backend.start()
        return Reader(backend).store_sizes()


def rows(folder: Path) -> dict[str, int]:
    return {table["table"]: table["rows"] for table in sizes(folder)["tables"] if table["rows"]}


def send(address: str, *times_unix_nano: int) -> ExportMetricsServiceResponse:
    message = ExportMetricsServiceRequest()
    metric = message.resource_metrics.add().scope_metrics.add().metrics.add(name="load")
    for at in times_unix_nano:
        metric.gauge.data_points.add(time_unix_nano=at, as_double=1.0)
    with grpc.insecure_channel(address) as channel:
        reply = send_data(channel, message.SerializeToString())
    return ExportMetricsServiceResponse.FromString(reply)


# stats


def test_stats_prints_a_table_with_readable_sizes(tmp_path: Path) -> None:
    store(tmp_path, [1, 2], rows_each=1_000)
    result = run("stats", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    first, empty, header, _, number_points, *_, whole = result.stdout.splitlines()
    assert first == f"sqlite {tmp_path / FILE}"
    assert empty == ""
    assert re.fullmatch(r"TABLE +ROWS +SIZE +BYTES/ROW +OLDEST \(UTC\) +NEWEST \(UTC\)", header)
    assert re.match(r"system_metrics +2,000 +\d+ KiB +\d+(\.\d)? +\d{4}-\d\d-\d\d ", number_points)
    assert re.match(r"2,002 rows · 1 series · \S+ [KM]iB in all · 0 B of it free", whole)


def test_stats_as_json_has_what_the_reader_returns(tmp_path: Path) -> None:
    store(tmp_path, [1, 2.5])
    result = run("stats", "--format", "json", cwd=tmp_path)
    answer = json.loads(result.stdout)
    assert answer["backend"] == "sqlite"
    assert answer["location"] == str(tmp_path / FILE)
    expected = sizes(tmp_path)
    for table, same in zip(answer["tables"], expected["tables"], strict=True):
        texts = {table.pop("oldest_time"), table.pop("newest_time")}
        assert table == same
        assert texts == {None} or all(re.fullmatch(r"\d{4}-.+\.\d{6}Z", text) for text in texts)
    assert answer["series"] == expected["series"] == 1
    assert answer["total_bytes"] == (tmp_path / FILE).stat().st_size


def test_stats_as_csv_has_one_line_for_each_table(tmp_path: Path) -> None:
    store(tmp_path, [1])
    result = run("stats", "-f", "csv", cwd=tmp_path)
    found = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [row["table"] for row in found] == [row["table"] for row in sizes(tmp_path)["tables"]]
    assert [row["rows"] for row in found] == ["1", "1", "0", "0", "0", "0"]


@pytest.mark.parametrize("command", ["stats", "cleanup"])
def test_without_a_store_no_file_is_made(command: str, tmp_path: Path) -> None:
    result = run(command, cwd=tmp_path)
    assert result.returncode == 1
    assert f"sqlite {tmp_path / FILE}: nothing can be read" in result.stderr
    assert result.stdout == ""
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["stats", "cleanup"])
def test_the_backend_memory_is_refused(command: str, tmp_path: Path) -> None:
    result = run(command, "--backend", "memory", cwd=tmp_path)
    assert result.returncode == 1
    assert "its data is in the process that received it" in result.stderr


# cleanup


def test_cleanup_deletes_rows_older_than_the_retention(tmp_path: Path) -> None:
    store(tmp_path, [1, 89, 91, 200])
    result = run("cleanup", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert rows(tmp_path) == {"system_metrics": 2, "metric_histograms": 2}
    assert sizes(tmp_path)["series"] == 1
    assert re.search(r"^system_metrics +2$", result.stdout, re.MULTILINE)
    assert re.search(r"^metric_summaries +0$", result.stdout, re.MULTILINE)
    assert "4 rows deleted. The store takes " in result.stdout


def test_cleanup_uses_the_age_that_is_given_or_configured(tmp_path: Path) -> None:
    store(tmp_path, [1, 2, 10, 20])
    assert run("cleanup", "--older-than", "2w", cwd=tmp_path).returncode == 0
    assert rows(tmp_path)["system_metrics"] == 3
    env = environment(OPENFINOPS_RETENTION_DAYS="1.5")
    assert run("cleanup", cwd=tmp_path, env=env).returncode == 0
    assert rows(tmp_path)["system_metrics"] == 1


def test_cleanup_has_another_age_for_costs(tmp_path: Path) -> None:
    ages = [1, 100, 400, 1_200]
    store(tmp_path, ages)
    now = time.time_ns()
    costs = [cost(f"e-{age}", time_unix_nano=now - age * DAY_NANO) for age in ages]
    write(SQLiteBackend(tmp_path / FILE), Batch(costs=tuple(costs)))
    result = run("cleanup", cwd=tmp_path)
    assert re.search(r"rows older than \S+ \S+ UTC, cost entries older than ", result.stdout)
    kept = rows(tmp_path)
    assert (kept["system_metrics"], kept["cost_entries"]) == (1, 3)
    run("cleanup", "--costs-older-than", "52w", cwd=tmp_path)
    assert rows(tmp_path)["cost_entries"] == 2
    run("cleanup", "--older-than", "2w", cwd=tmp_path)
    assert rows(tmp_path)["cost_entries"] == 1
    refused = run("cleanup", "--costs-older-than", "90", cwd=tmp_path)
    assert refused.returncode == 2
    assert "--costs-older-than: '90' has no unit" in " ".join(refused.stderr.split())


def test_a_dry_run_counts_and_deletes_nothing(tmp_path: Path) -> None:
    store(tmp_path, [1, 40, 50])
    before = (tmp_path / FILE).read_bytes()
    result = run("cleanup", "--older-than", "30d", "--dry-run", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / FILE).read_bytes() == before
    assert "TO DELETE" in result.stdout
    assert re.search(r"^system_metrics +2$", result.stdout, re.MULTILINE)
    assert result.stdout.endswith("Nothing was deleted.\n")


def test_cleanup_says_whether_the_file_shrank(tmp_path: Path) -> None:
    store(tmp_path, [1, 2, 3, 4, 5, 6, 7, 8, 9, 50], rows_each=3_000)
    kept = run("cleanup", "--older-than", "30d", cwd=tmp_path).stdout
    assert "of it is free for new rows; the file shrinks when more than a quarter" in kept
    size_bytes = (tmp_path / FILE).stat().st_size
    shrunk = run("cleanup", "--older-than", "36h", cwd=tmp_path).stdout
    assert (tmp_path / FILE).stat().st_size < size_bytes / 4
    assert re.search(r"The store takes [\d.]+ KiB now, [\d.]+ (KiB|MiB) before\.", shrunk)


@pytest.mark.parametrize(
    ("age", "reason"),
    [
        ("30", "has no unit; for days write 30d"),
        ("0d", "would delete everything"),
        ("0.0", "has no unit"),
    ],
)
def test_an_age_that_may_be_a_mistake_is_refused(age: str, reason: str, tmp_path: Path) -> None:
    store(tmp_path, [1, 2])
    env = environment(COLUMNS="200")
    result = run("cleanup", "--older-than", age, cwd=tmp_path, env=env)
    assert result.returncode == 2
    assert reason in result.stderr
    assert rows(tmp_path)["system_metrics"] == 2


# Beside a receiver


def test_stats_and_cleanup_work_beside_a_running_receiver(tmp_path: Path) -> None:
    now = time.time_ns()
    with Program("serve", "--endpoint", "localhost:0", cwd=tmp_path, env=UNBATCHED) as program:
        address = program.wait_until_listening()
        send(address, now - 20 * DAY_NANO, now - 10 * DAY_NANO, now)
        until = time.monotonic() + 20
        while rows(tmp_path).get("system_metrics") != 3:
            assert time.monotonic() < until, "the batch was not written"
        answer = json.loads(run("stats", "-f", "json", cwd=tmp_path).stdout)
        assert answer["tables"][0]["rows"] == 3
        assert run("cleanup", "--older-than", "15d", cwd=tmp_path).returncode == 0
        assert rows(tmp_path) == {"system_metrics": 2}
        send(address, now + 10**9)
        assert program.stop() == 0
    assert rows(tmp_path) == {"system_metrics": 3}


# PostgreSQL


def test_stats_and_cleanup_work_on_postgresql(postgresql_server: Databases, tmp_path: Path) -> None:
    with postgresql_server.fresh() as dsn:
        write(open_backend("postgresql", dsn, max_memory_entries=1), batch([1, 50, 60]))
        shown = run("stats", "--db", dsn, cwd=tmp_path)
        assert shown.returncode == 0, shown.stderr
        assert re.search(r"^TABLE .* PARTITIONS$", shown.stdout, re.MULTILINE)
        assert re.search(r"^system_metrics +3 .* 3$", shown.stdout, re.MULTILINE)
        counted = run("cleanup", "--older-than", "30d", "--dry-run", "--db", dsn, cwd=tmp_path)
        assert re.search(r"^system_metrics +2$", counted.stdout, re.MULTILINE)
        assert counted.stdout.endswith("Nothing was deleted.\n")
        deleted = run("cleanup", "--older-than", "30d", "--db", dsn, cwd=tmp_path)
        assert "4 rows deleted. The store takes " in deleted.stdout
        assert "Only whole partitions are deleted" in deleted.stdout
        answer = json.loads(run("stats", "--db", dsn, "-f", "json", cwd=tmp_path).stdout)
        assert [table["rows"] for table in answer["tables"]] == [1, 1, 0, 0, 0, 0]


# Limits of age


def test_points_beyond_max_future_days_are_rejected(tmp_path: Path) -> None:
    now = time.time_ns()
    year_2255 = 9_000_000_000 * 10**9
    with Program("serve", "--endpoint", "localhost:0", cwd=tmp_path) as program:
        answer = send(program.wait_until_listening(), now, now + 6 * DAY_NANO, year_2255, 1)
        assert program.stop() == 0
    assert answer.partial_success.rejected_data_points == 1
    message = answer.partial_success.error_message
    assert "further ahead of the receiver's clock" in message
    assert "exporters.openfinops.max_future_days (7.0)" in message
    # max_past_days has no default; the next cleanup deletes the point of 1970.
    assert rows(tmp_path) == {"system_metrics": 3}


def test_points_beyond_max_past_days_are_rejected(tmp_path: Path) -> None:
    now = time.time_ns()
    env = environment(OPENFINOPS_MAX_PAST_DAYS="30", OPENFINOPS_MAX_FUTURE_DAYS="0.5")
    with Program("serve", "--endpoint", "localhost:0", cwd=tmp_path, env=env) as program:
        answer = send(
            program.wait_until_listening(),
            now - 29 * DAY_NANO,
            now - 31 * DAY_NANO,
            now + DAY_NANO // 4,
            now + DAY_NANO,
        )
        assert program.stop() == 0
    assert answer.partial_success.rejected_data_points == 2
    assert "max_past_days (30.0)" in answer.partial_success.error_message
    assert "max_future_days (0.5)" in answer.partial_success.error_message
    assert rows(tmp_path) == {"system_metrics": 2}
