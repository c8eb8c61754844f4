"""The samples of docs/openfinops.md run as they stand there, on every engine."""

import re
from pathlib import Path
from typing import Any

import pytest

DOCUMENT = (Path(__file__).parents[1] / "docs" / "openfinops.md").read_text(encoding="utf-8")
SAMPLES = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
PLACE = re.compile(r'"(?:sqlite|postgresql)://[^"]*"')


def samples_with(text: str) -> list[str]:
    return [sample for sample in SAMPLES if text in sample]


def run(sample: str, names: dict[str, Any]) -> None:
    exec(compile(sample, "docs/openfinops.md", "exec"), names)  # noqa: S102 - it is our own page


@pytest.mark.parametrize("backend", ["in memory", "SQLITE", "POSTGRESQL", "TIMESCALEDB"])
def test_what_is_configured_takes_measurements_and_costs_and_answers(
    backend: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (memory,) = samples_with("hub = ObservabilityHub()")
    names: dict[str, Any] = {}
    run(memory, names)
    if backend != "in memory":
        names["hub"].close()
        names["cost_obs"].close()
        run("from exporter import PersistenceConfig, StorageBackend", names)
        (sample,) = samples_with(f"backend=StorageBackend.{backend},")
        if backend != "SQLITE":
            place = request.getfixturevalue(f"{backend.lower()}_database")
            sample = PLACE.sub(repr(place), sample)
        run(sample, names)
    (use,) = samples_with("collect_system_metrics")
    run(use, names)
    assert capsys.readouterr().out == "41.5 %, 12.5 MB/s, $12.48\nhealthy\n"


def test_the_exporter_goes_into_a_provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (sample,) = samples_with("OpenFinOpsMetricExporter")
    names: dict[str, Any] = {}
    run(sample, names)
    names["provider"].get_meter("tests").create_counter("jobs").add(1)
    names["provider"].shutdown()
    assert (tmp_path / "openfinops_telemetry.db").exists()
