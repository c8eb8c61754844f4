"""Dockerfile and docker-compose.yml agree with the program and with each other.

Docker is not needed: both files are parsed, and their commands are run here.
"""

from __future__ import annotations

import json
import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

import pytest
import typer.main
import yaml
from kit.processes import environment, run

from exporter.cli.app import app
from exporter.config import Settings, load
from exporter.config.schema import VARIABLES
from exporter.receiver import Receiver
from exporter.wire import Rejections

ROOT: Final = Path(__file__).parent.parent
DOCKERFILE: Final = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE_TEXT: Final = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
COMPOSE: Final[dict[str, Any]] = yaml.safe_load(COMPOSE_TEXT)
DATABASE: Final[dict[str, Any]] = COMPOSE["services"]["timescaledb"]
EXPORTER: Final[dict[str, Any]] = COMPOSE["services"]["exporter"]
PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PORT: Final = 4317
REFERENCE: Final = re.compile(r"\$\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\}")
# libpq reads these variables, the program itself does not.
LIBPQ_VARIABLES: Final = {"PGPASSWORD"}
UNITS: Final = {"s": 1, "m": 60}


def instructions(text: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile with their arguments; continued lines are joined."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [
        (name, rest.strip()) for name, _, rest in (x.partition(" ") for x in joined.split("\n"))
    ]


def final_stage() -> list[tuple[str, str]]:
    found = instructions(DOCKERFILE)
    last = max(at for at, (name, _) in enumerate(found) if name == "FROM")
    return found[last:]


def only(name: str) -> str:
    """The arguments of the only instruction of this name in the final stage."""
    [rest] = [rest for each, rest in final_stage() if each == name]
    return rest


def image_environment() -> dict[str, str]:
    pairs = (rest.partition("=") for name, rest in final_stage() if name == "ENV")
    return {name: value for name, _, value in pairs}


def resolved(values: dict[str, str], environ: dict[str, str]) -> dict[str, str]:
    """The values as Compose passes them on with this environment."""

    def value(match: re.Match[str]) -> str:
        return environ.get(match["name"]) or match["default"]

    return {name: REFERENCE.sub(value, text) for name, text in values.items()}


def settings(**environ: str) -> Settings:
    """The settings of the exporter's container."""
    [config] = [volume for volume in EXPORTER["volumes"] if volume.startswith("./")]
    variables = {**image_environment(), **resolved(EXPORTER["environment"], environ)}
    return load(ROOT / config.split(":")[0], variables)


def seconds(text: str) -> int:
    return int(text[:-1]) * UNITS[text[-1]]


def assert_accepted(arguments: list[str]) -> None:
    """Assert that the program accepts these arguments."""
    command: Any = typer.main.get_command(app)
    command.commands[arguments[0]].make_context("openfinops-exporter", arguments[1:])


def is_ignored(path: str) -> bool:
    """Whether .dockerignore excludes a path from the build; the last matching pattern decides."""
    ignored = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            pattern = line.removeprefix("!")
            parts = ["/".join(path.split("/")[:end]) for end in range(1, path.count("/") + 2)]
            deep = pattern.removeprefix("**/")
            if any(fnmatch(part, pattern) or fnmatch(part.split("/")[-1], deep) for part in parts):
                ignored = not line.startswith("!")
    return ignored


# The image


def test_the_program_is_not_root_and_receives_signals() -> None:
    assert int(only("USER").split(":")[0]) > 0
    assert json.loads(only("ENTRYPOINT")) == ["openfinops-exporter"]
    assert "openfinops-exporter" in PROJECT["scripts"]
    assert "STOPSIGNAL" not in dict(final_stage())
    assert_accepted(json.loads(only("CMD")))


def test_the_image_sets_only_variables_that_are_read() -> None:
    environment = image_environment()
    assert set(environment) - {"PATH"} <= set(VARIABLES)
    loaded = load(None, environment)
    assert loaded.receiver.endpoint == f"0.0.0.0:{PORT}"
    assert loaded.warnings == ()
    assert only("EXPOSE") == str(PORT)


def test_the_working_directory_is_the_volume() -> None:
    assert only("WORKDIR") == only("VOLUME")
    assert any(only("VOLUME") in rest for name, rest in final_stage() if name == "RUN")


def test_every_stage_has_a_supported_python() -> None:
    images = [rest.split()[0] for name, rest in instructions(DOCKERFILE) if name == "FROM"]
    assert len(set(images)) == 1  # a virtual environment needs the Python that created it
    version = re.fullmatch(r"python:3\.(\d+)-slim-\w+", images[0])
    assert version is not None
    assert int(version[1]) >= int(PROJECT["requires-python"].removeprefix(">=3."))


def test_the_build_copies_what_it_needs_and_no_secrets() -> None:
    copied = [
        source
        for name, rest in instructions(DOCKERFILE)
        if name == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]
    assert set(copied) == {
        "pyproject.toml",
        "exporter",
        PROJECT["readme"],
        *PROJECT["license-files"],
    }
    for source in copied:
        assert (ROOT / source).exists(), source
        assert not is_ignored(source), source
    assert not is_ignored("exporter/backends/sql/sqlite/0001_initial.sql")
    for path in (".env", ".git/config", "openfinops_telemetry.db", "exporter/__pycache__/a.pyc"):
        assert is_ignored(path), path


def health_checks() -> list[list[str]]:
    """The health checks of the image and of the Compose file."""
    of_the_image = only("HEALTHCHECK")
    options, _, command = of_the_image.partition("CMD ")
    assert "--interval=" in options
    kind, *of_compose = EXPORTER["healthcheck"]["test"]
    assert kind == "CMD"
    return [json.loads(command), of_compose]


@pytest.mark.parametrize("command", health_checks(), ids=["image", "compose"])
def test_the_health_check_follows_the_receiver(command: list[str], tmp_path: Path) -> None:
    program, *arguments = command
    assert program == json.loads(only("ENTRYPOINT"))[0]
    assert_accepted(arguments)
    [config] = [volume for volume in EXPORTER["volumes"] if volume.startswith("./")]
    source, target, _ = config.split(":")
    mounted = [str(ROOT / source) if each == target else each for each in arguments]

    def code(port: str) -> int:
        env = environment(OPENFINOPS_ENDPOINT=f"0.0.0.0:{port}")
        return run(*mounted, cwd=tmp_path, env=env).returncode

    receiver = Receiver(lambda _data: Rejections(), endpoint="127.0.0.1:0")
    port = receiver.start().rpartition(":")[2]
    try:
        assert code(port) == 0
        receiver.drain()
        assert code(port) == 1
    finally:
        receiver.shutdown(5.0)
    assert code(port) == 1


# Compose


def test_compose_sets_only_variables_that_are_read() -> None:
    assert set(EXPORTER["environment"]) <= set(VARIABLES) | LIBPQ_VARIABLES
    assert all(isinstance(value, str) for value in EXPORTER["environment"].values())
    for service in COMPOSE["services"].values():
        for value in service["environment"].values():
            for match in REFERENCE.finditer(value):
                assert match["default"], f"{value}: has no default"


def test_the_mounted_configuration_loads_with_the_environment() -> None:
    loaded = settings()
    assert loaded.warnings == ()
    assert loaded.exporter.backend == "timescaledb"
    assert loaded.receiver.endpoint == f"0.0.0.0:{PORT}"
    for name, key in VARIABLES.items():
        if name in EXPORTER["environment"]:
            assert loaded.origins[".".join(key)] == name


def test_the_command_is_valid_and_reads_the_mounted_file() -> None:
    assert_accepted(EXPORTER["command"])
    [config] = [volume for volume in EXPORTER["volumes"] if volume.startswith("./")]
    source, target, mode = config.split(":")
    assert (ROOT / source).is_file()
    assert mode == "ro"
    assert EXPORTER["command"][EXPORTER["command"].index("--config") + 1] == target


def test_the_port_is_published_to_this_machine_only() -> None:
    assert EXPORTER["ports"] == [f"127.0.0.1:{PORT}:{PORT}"]
    assert "ports" not in DATABASE


@pytest.mark.parametrize(
    "environ", [{}, {"POSTGRES_PASSWORD": "p@ss/w:rd%"}], ids=["default", "own"]
)
def test_the_exporter_connects_to_the_database_of_the_compose_file(environ: dict[str, str]) -> None:
    database = resolved(DATABASE["environment"], environ)
    assert settings(**environ).exporter.connection_string == (
        f"postgresql://{database['POSTGRES_USER']}@timescaledb:5432/{database['POSTGRES_DB']}"
    )
    password = resolved(EXPORTER["environment"], environ)["PGPASSWORD"]
    assert password == database["POSTGRES_PASSWORD"]
    assert password == environ.get("POSTGRES_PASSWORD", "only-for-trying-out")


def test_the_default_password_has_a_warning() -> None:
    comment, _, _ = COMPOSE_TEXT.partition("\nname:")
    assert "WARNING" in comment
    assert "POSTGRES_PASSWORD" in comment


def test_the_exporter_waits_for_a_healthy_database() -> None:
    assert EXPORTER["depends_on"] == {"timescaledb": {"condition": "service_healthy"}}
    check = DATABASE["healthcheck"]["test"]
    database = DATABASE["environment"]
    assert check[:2] == ["CMD", "pg_isready"]
    assert {f"--username={database['POSTGRES_USER']}", f"--dbname={database['POSTGRES_DB']}"} < {
        *check
    }


def test_the_image_of_the_database_is_pinned() -> None:
    assert re.fullmatch(r"timescale/timescaledb:2\.\d+\.\d+-pg17", DATABASE["image"])


def test_data_is_stored_in_declared_volumes() -> None:
    named = {
        volume.partition(":")[0]: volume.split(":")[1]
        for service in COMPOSE["services"].values()
        for volume in service["volumes"]
        if not volume.startswith("./")
    }
    assert set(named) == set(COMPOSE["volumes"])
    assert named["timescaledb-data"] == "/var/lib/postgresql/data"
    assert named["exporter-data"] == only("VOLUME")


def test_the_grace_period_exceeds_the_shutdown_timeout() -> None:
    grace_seconds = seconds(EXPORTER["stop_grace_period"])
    assert grace_seconds > settings().exporter.shutdown_timeout_seconds
