"""The commands that read and check, and their errors: real processes with a real file."""

import csv
import io
import json
import os
import re
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from kit.pipelines import build_pipeline
from kit.processes import COMMAND, environment, run, run_command
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from typer.testing import CliRunner

from exporter.backends import open_backend
from exporter.cli.app import app
from exporter.cli.store import connection_string

ROOT = Path(__file__).parents[2]
FILE = "openfinops_telemetry.db"
START = 1_700_000_000  # 2023-11-14T22:13:20Z
MINUTES = 10
LONG = "a value that is much wider than any terminal " * 5
HOSTILE = "evil\x1b[31m.metric"


def as_id(value: object) -> str:
    return " ".join(value) if isinstance(value, list) else str(value)


def request() -> bytes:
    """A gauge and a counter of two hosts, one point a minute, and a metric with a hostile name."""
    message = ExportMetricsServiceRequest()
    for host in ("alpha", "beta"):
        resource = message.resource_metrics.add()
        for key, text in {"service.name": "shop", "host.name": host, "note": LONG}.items():
            resource.resource.attributes.add(key=key).value.string_value = text
        scope = resource.scope_metrics.add()
        gauge = scope.metrics.add(name="queue.length", unit="{item}")
        total = scope.metrics.add(name="orders", unit="{order}")
        total.sum.is_monotonic = True
        total.sum.aggregation_temporality = 2  # type: ignore[assignment]  # protobuf takes numbers
        for minute in range(MINUTES):
            at = (START + 60 * minute) * 1_000_000_000
            point = gauge.gauge.data_points.add(time_unix_nano=at)
            point.as_double = minute if host == "alpha" else 100
            point.attributes.add(key="color").value.string_value = "grün"
            total.sum.data_points.add(
                time_unix_nano=at, start_time_unix_nano=START * 1_000_000_000, as_int=6 * minute
            )
    evil = message.resource_metrics.add().scope_metrics.add().metrics.add(name=HOSTILE)
    evil.gauge.data_points.add(time_unix_nano=START * 1_000_000_000, as_int=1)
    return message.SerializeToString()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a filled database of the default name."""
    path = tmp_path_factory.mktemp("store")
    backend = open_backend("sqlite", f"sqlite:///{path / FILE}", max_memory_entries=1)
    pipeline = build_pipeline(backend)
    pipeline.start()
    assert pipeline.submit(request()).total == 0
    assert pipeline.shutdown()
    return path


def rows(result: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert result.returncode == 0, result.stderr
    answer: list[dict[str, Any]] = json.loads(result.stdout)
    return answer


def query(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    """Query in this process, which is faster; the output has tests of its own."""
    result = CliRunner().invoke(
        app, ["query", *arguments, "--format", "json", "--db", str(folder / FILE)]
    )
    assert result.exit_code == 0, result.output
    answer: list[dict[str, Any]] = json.loads(result.stdout)
    return answer


def test_the_script_and_the_module_are_the_same(tmp_path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"openfinops-exporter": "exporter.cli:main"}
    script = (
        "import sys; from exporter.cli import main; sys.argv[0] = 'openfinops-exporter'; main()"
    )
    for arguments in (["--help"], ["nonsense"]):
        as_script = run_command(sys.executable, "-c", script, *arguments, cwd=tmp_path)
        as_module = run(*arguments, cwd=tmp_path)
        assert as_script.stdout == as_module.stdout
        assert as_script.stderr == as_module.stderr
        assert as_script.returncode == as_module.returncode


def test_the_version_is_one_line(tmp_path: Path) -> None:
    result = run("--version", cwd=tmp_path)
    python = ".".join(map(str, sys.version_info[:3]))
    assert re.fullmatch(
        rf"openfinops-exporter \S+.* \(Python {python}, SQLite [\d.]+, gRPC [\d.]+\)\n",
        result.stdout,
    )
    assert run("version", cwd=tmp_path).stdout == result.stdout
    assert result.returncode == 0


def test_without_a_command_it_lists_the_commands(tmp_path: Path) -> None:
    result = run(cwd=tmp_path)
    text = result.stdout + result.stderr
    for command in ("serve", "demo", "check", "query", "version"):
        assert f" {command} " in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "No such command"),
        (["serve", "--nonsense"], "No such option"),
        (["query", "metrics", "--bucket", "1m"], "--bucket: it needs --agg"),
        (["query", "metrics", "--group-by", "x"], "--group-by: it needs --agg"),
        (["query", "metrics", "--agg", "avg"], "--agg: it needs --metric"),
        (["query", "metrics", "--since", "1h", "--start", "2h"], "--since: --start says the same"),
        (["query", "metrics", "--attr", "color"], "'color' is not NAME=VALUE"),
        (["query", "metrics", "--attr", "=red"], "'=red' is not NAME=VALUE"),
        (["query", "metrics", "--limit", "0"], "--limit"),
        (["query", "metrics", "--format", "xml"], "'xml' is not one of"),
        (["demo", "--seconds", "1"], "--seconds"),
    ],
    ids=as_id,
)
def test_wrong_usage_has_exit_code_2(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert said in result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["check", "--config", "missing.yaml"], "missing.yaml"),
        (["check", "--db", "no/such/folder/data.db"], "no/such/folder"),
        (["check", "--backend", "oracle"], "oracle"),
        (["serve", "--endpoint", "nonsense"], "nonsense"),
        (["serve", "--log-level", "loud"], "loud"),
        (["query", "metrics", "--db", "missing.db"], "missing.db: nothing can be read"),
        (["query", "metrics", "--since", "yesterday"], "time 'yesterday' is not understood"),
        (["query", "metrics", "-m", "orders", "--agg", "median"], "aggregation 'median'"),
        (["query", "metrics", "-m", "order", "--agg", "avg"], "did you mean orders"),
        (["query", "list", "--config", "memory.yaml"], "backend memory"),
        (["query", "series", "--db", "memory.yaml"], "memory.yaml"),
    ],
    ids=as_id,
)
def test_a_failure_is_one_message_with_exit_code_1(
    arguments: list[str], said: str, folder: Path
) -> None:
    (folder / "memory.yaml").write_text("exporters: {openfinops: {backend: memory}}")
    result = run(*arguments, cwd=folder)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_a_bug_keeps_its_traceback(tmp_path: Path) -> None:
    program = """
from exporter.cli.app import app, run
@app.command()
def bug() -> None:
    raise ZeroDivisionError("by accident")
run()
"""
    result = run_command(sys.executable, "-c", program, "bug", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith("Traceback (most recent call last):")
    assert result.stderr.endswith("ZeroDivisionError: by accident\n")


def test_json_csv_and_table_have_the_same_values(folder: Path) -> None:
    arguments = ("query", "metrics", "--metric", "orders", "--attr", "host.name=alpha")
    as_json = rows(run(*arguments, "--format", "json", cwd=folder))
    as_csv = run(*arguments, "--format", "csv", cwd=folder)
    from_csv = list(csv.DictReader(io.StringIO(as_csv.stdout, newline="")))
    assert [row["value"] for row in as_json] == [
        6.0 * minute for minute in reversed(range(MINUTES))
    ]
    assert [float(row["value"]) for row in from_csv] == [row["value"] for row in as_json]
    assert [row["time"] for row in from_csv] == [row["time"] for row in as_json]
    table = run(*arguments, cwd=folder)
    assert [line.split()[3] for line in table.stdout.splitlines() if " orders " in line] == [
        f"{6 * minute}" for minute in reversed(range(MINUTES))
    ]
    assert as_csv.stderr == table.stderr == ""


def test_a_table_in_a_pipe_is_complete_and_without_colours(folder: Path) -> None:
    result = run("query", "metrics", cwd=folder)
    assert "\x1b" not in result.stdout
    assert "color=grün" in result.stdout
    series = run("query", "series", "-m", "orders", "--format", "json", cwd=folder)
    assert rows(series)[0]["resource"]["note"] == LONG
    for text in (result.stdout, run("query", "list", cwd=folder).stdout):
        lines = text.splitlines()
        assert lines == [line.rstrip() for line in lines]
        assert "queue.length" in text
        assert "…" not in text


@pytest.mark.parametrize(
    "arguments",
    [["list"], ["metrics"], ["series"], ["metrics", "--format", "json"]],
    ids=as_id,
)
def test_escape_sequences_of_a_sender_do_not_reach_the_terminal(
    arguments: list[str], folder: Path
) -> None:
    result = run("query", *arguments, cwd=folder)
    assert result.returncode == 0
    assert "evil" in result.stdout
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize("form", ["json", "csv"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_closed_pipe_is_not_an_error(form: str, unbuffered: str, folder: Path) -> None:
    # The pipe holds one page, and is closed before the rest is written.
    with subprocess.Popen(
        [*COMMAND, "query", "metrics", "--format", form],
        cwd=folder,
        env=environment(PYTHONUNBUFFERED=unbuffered),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pipesize=4096,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 141


def test_more_rows_than_the_limit_are_reported_on_stderr(folder: Path) -> None:
    result = run("query", "metrics", "-n", "3", "--format", "json", cwd=folder)
    assert len(rows(result)) == 3
    assert result.stderr == "These are the first 3; there are more, see --limit.\n"
    exact = run("query", "metrics", "-m", "orders", "-n", str(2 * MINUTES), cwd=folder)
    assert exact.stderr == ""


def test_no_match_is_an_empty_result(folder: Path) -> None:
    arguments = ("query", "metrics", "--metric", "nothing.*")
    assert rows(run(*arguments, "--format", "json", cwd=folder)) == []
    assert run(*arguments, "--format", "csv", cwd=folder).stdout == ""
    table = run(*arguments, cwd=folder)
    assert (table.returncode, table.stdout) == (0, "")
    assert "Nothing matches" in table.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--metric", "orders"], 2 * MINUTES),
        (["--metric", "*"], 4 * MINUTES + 1),
        (["--metric", "queue.*", "--node", "beta"], MINUTES),
        (["--service", "shop"], 4 * MINUTES),
        (["--service", "bakery"], 0),
        (["--cluster", "default"], 4 * MINUTES + 1),
        (["--attr", "color=grün"], 2 * MINUTES),
        (["--attr", "color=grün", "--attr", "host.name=alpha"], MINUTES),
        (["--start", "2023-11-14T22:15:20Z", "--service", "shop"], 4 * (MINUTES - 2)),
        (["--end", str(START + 120), "--service", "shop"], 4 * 2),
        (["--start", "2023-11-14T23:14:20+01:00", "--end", str(START + 120)], 4),
        (["--since", "1m"], 0),
        (["--since", "9999d", "--service", "shop"], 4 * MINUTES),
    ],
    ids=as_id,
)
def test_filters_select_points(arguments: list[str], expected: int, folder: Path) -> None:
    assert len(query(folder, "metrics", *arguments)) == expected


def test_aggregates_by_bucket_and_group(folder: Path) -> None:
    start = datetime.fromtimestamp(START, UTC).replace(second=0).timestamp()
    answer = query(
        folder, "metrics", "-m", "queue.length", "--agg", "max", "-b", "1h", "-g", "node_id"
    )
    assert [(row["node_id"], row["value"]) for row in answer] == [("alpha", 9.0), ("beta", 100.0)]
    by_minute = query(
        folder, "metrics", "-m", "queue.length", "--node", "alpha", "--agg", "avg", "-b", "2m"
    )
    assert by_minute[-1]["timestamp"] <= start
    assert sum(row["value"] for row in by_minute) > 0
    (rate,) = query(folder, "metrics", "-m", "orders", "--agg", "rate")
    assert rate["value"] == pytest.approx(0.2)
    assert rate["unit"] == "{order}/s"


def test_list_and_series(folder: Path) -> None:
    metrics = {row["metric_name"]: row for row in query(folder, "list", "--counts")}
    assert set(metrics) == {HOSTILE, "orders", "queue.length"}
    assert metrics["orders"]["points"] == 2 * MINUTES
    assert metrics["orders"]["series"] == 2
    series = query(folder, "series", "--metric", "orders")
    assert [row["node_id"] for row in series] == ["alpha", "beta"]
    assert [row["is_monotonic"] for row in series] == [True, True]


def test_the_store_is_selected_by_file_variable_or_flag(folder: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{folder / FILE}"
    (tmp_path / "otel.yaml").write_text(f"exporters: {{openfinops: {{connection_string: {url}}}}}")
    by_flag = [("--db", str(folder / FILE)), ("--db", url), ("--config", "otel.yaml")]
    for flag in by_flag:
        assert len(rows(run("query", "list", "-f", "json", *flag, cwd=tmp_path))) == 3
    by_variable = run(
        "query", "list", "-f", "json", cwd=tmp_path, env=environment(OPENFINOPS_DB_URL=url)
    )
    assert len(rows(by_variable)) == 3
    (tmp_path / ".env").write_text(f"OPENFINOPS_DB_URL={url}\n")
    assert len(rows(run("query", "list", "-f", "json", cwd=tmp_path))) == 3


@pytest.mark.parametrize(
    ("db", "expected"),
    [
        (None, None),
        ("metrics.db", "sqlite:///metrics.db"),
        ("/var/lib/metrics.db", "sqlite:////var/lib/metrics.db"),
        ("folder/a=b.db", "sqlite:///folder/a=b.db"),
        ("sqlite:///metrics.db", "sqlite:///metrics.db"),
        ("postgresql://db/finops", "postgresql://db/finops"),
        ("host=db dbname=finops", "host=db dbname=finops"),
    ],
)
def test_a_plain_path_is_a_sqlite_file(db: str | None, expected: str | None) -> None:
    assert connection_string(db) == expected


def test_a_terminal_without_unicode_is_not_an_error(folder: Path) -> None:
    env = environment(PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    result = run("query", "metrics", "-m", "queue.*", "-f", "csv", cwd=folder, env=env)
    assert result.returncode == 0
    assert r"gr\xfcn" in result.stdout


@contextmanager
def unchanged(folder: Path) -> Iterator[None]:
    def contents() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}

    before = contents()
    yield
    assert contents() == before


def test_check_shows_the_settings_and_changes_nothing(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "otel.yaml").write_text("exporters: {openfinops: {batch_size: 7}}")
    with unchanged(tmp_path):
        result = run("check", "--config", "otel.yaml", cwd=tmp_path)
    assert result.returncode == 0
    assert result.stderr == ""
    assert re.search(r"^  batch_size +7 +otel\.yaml:\d+$", result.stdout, re.MULTILINE)
    assert re.search(r"^  endpoint +localhost:4317 +default$", result.stdout, re.MULTILINE)
    assert f"{tmp_path / FILE}: does not exist yet; serve will create it" in result.stdout
    with unchanged(folder):
        result = run("check", cwd=folder)
    assert f"sqlite {folder / FILE}: ready" in result.stdout
    assert result.returncode == 0


def test_check_hides_passwords(tmp_path: Path) -> None:
    result = run("check", "--db", "postgresql://finops:s3cret@db/finops", cwd=tmp_path)
    assert "s3cret" not in result.stdout + result.stderr
    assert "finops:***@db" in result.stdout
    assert result.returncode == 1  # the server cannot be reached


def test_check_warns_on_stderr(tmp_path: Path) -> None:
    env = environment(OPENFINOPS_BATCHSIZE="5")
    result = run("check", cwd=tmp_path, env=env)
    assert result.stderr.startswith("warning: OPENFINOPS_BATCHSIZE")
    assert "OPENFINOPS_BATCH_SIZE" in result.stderr
    assert result.returncode == 0


def test_check_refuses_a_foreign_file(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "theirs.db")) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    with unchanged(tmp_path):
        result = run("check", "--db", "theirs.db", cwd=tmp_path)
    assert result.returncode == 1
    assert "belongs to another program" in result.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_check_refuses_a_folder_without_write_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        result = run("check", cwd=tmp_path)
    finally:
        tmp_path.chmod(0o700)
    assert result.returncode == 1
    assert "may not write" in result.stderr


def test_check_of_an_empty_database_server(postgresql_database: str, tmp_path: Path) -> None:
    checked = run("check", "--db", postgresql_database, cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    assert "reached, and empty; serve will create the tables" in " ".join(checked.stdout.split())
