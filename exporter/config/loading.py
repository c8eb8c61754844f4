"""Every source of settings, read and laid over each other.

Precedence, highest first: flags, OPENFINOPS_* variables, the file, defaults. `load` itself is
pure; `process_environment` is the only place that looks at the environment of this process.
"""

from __future__ import annotations

import io
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import dotenv

from exporter.config.components import read_file
from exporter.config.layers import Layer, Place, Problem, nested, read_layer
from exporter.config.mistakes import nearest
from exporter.config.rules import apply_rules, take_over_batch_processor
from exporter.config.schema import VARIABLES
from exporter.config.settings import Settings, settings_from
from exporter.config.values import EnvironmentText
from exporter.errors import ConfigError

__all__ = ["load", "load_dotenv_file", "process_environment"]

_PREFIX: Final = "OPENFINOPS_"

# What follows the prefix; compared without it, because it would make all names look alike.
_VARIABLE_BY_REST: Final = {name.removeprefix(_PREFIX): name for name in VARIABLES} | {
    # What a person may well try, although likeness alone would not suggest the right variable.
    "CONNECTION_STRING": "OPENFINOPS_DB_URL",
    "DATABASE_URL": "OPENFINOPS_DB_URL",
    "GRPC_ENDPOINT": "OPENFINOPS_ENDPOINT",
}

_OVERRIDES: Final = {
    "connection_string" if name == "OPENFINOPS_DB_URL" else name.removeprefix(_PREFIX).lower(): key
    for name, key in VARIABLES.items()
}


def load_dotenv_file(path: Path) -> dict[str, str]:
    """The variables of a .env file, `$` taken literally; {} where there is no such file.

    Raises:
        ConfigError: the file is there and cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(
            f"cannot read the variables in {path}: {error.strerror}; make it a readable file, or "
            "move it away"
        ) from error
    except UnicodeDecodeError:
        # The cause would carry the file's passwords into a traceback.
        raise ConfigError(
            f"cannot read the variables in {path}: it is not UTF-8; save it as UTF-8"
        ) from None
    values = dotenv.dotenv_values(stream=io.StringIO(text), interpolate=False)
    return {name: value for name, value in values.items() if value is not None}


def process_environment(dotenv_path: Path = Path(".env")) -> dict[str, str]:
    """The variables of a .env file, and over them those of the process.

    Raises:
        ConfigError: the .env file is there and cannot be read.
    """
    return {**load_dotenv_file(dotenv_path), **os.environ}


def load(
    path: Path | None,
    environ: Mapping[str, str],
    *,
    overrides: Mapping[str, object] = MappingProxyType({}),
    said_by: str = "command line",
) -> Settings:
    """Read, check and join everything that says how to run.

    Args:
        path: a configuration file, None for none.
        environ: the environment, as `process_environment` gives it.
        overrides: what flags say, under the names `endpoint`, `log_level` and those of the keys
            of exporters.openfinops. None means not said; a text is read as in the environment,
            any other value as in a file.
        said_by: how a message calls the place where the overrides stand.

    Raises:
        ConfigError: lists every mistake, each with its place; or the file cannot be read at all.
    """
    layer, referenced = read_file(path, environ) if path else (Layer(), set())
    take_over_batch_processor(layer)
    layer.lay_over(_from_environment(environ))
    layer.lay_over(_from_overrides(overrides, said_by))
    layer.warnings += _unknown_variables(environ, referenced)
    apply_rules(layer)
    if layer.problems:
        raise ConfigError(_listed(layer.problems))
    return settings_from(layer, str(path) if path else "built-in defaults")


def _from_environment(environ: Mapping[str, str]) -> Layer:
    layer = Layer()
    for name, key in VARIABLES.items():
        text = environ.get(name, "").strip()
        # Compose files pass on a variable that is not set as an empty one.
        if text:
            layer.lay_over(_single(key, EnvironmentText(text, ()), Place(name)))
    return layer


def _from_overrides(overrides: Mapping[str, object], said_by: str) -> Layer:
    layer = Layer()
    for name, value in overrides.items():
        if name not in _OVERRIDES:
            raise TypeError(f"no setting is called {name!r}; there are {', '.join(_OVERRIDES)}")
        if value is not None:
            untyped = EnvironmentText(value, ()) if isinstance(value, str) else value
            layer.lay_over(_single(_OVERRIDES[name], untyped, Place(said_by, name)))
    return layer


def _single(key: tuple[str, ...], value: object, place: Place) -> Layer:
    return read_layer(nested({key: value}), lambda _: place)


def _unknown_variables(environ: Mapping[str, str], referenced: Collection[str]) -> list[str]:
    """OPENFINOPS_* variables that mean nothing here; other parts of OpenFinOps may read them."""
    warnings = []
    for name in sorted(environ):
        if not name.startswith(_PREFIX) or name in VARIABLES or name in referenced:
            continue
        near = nearest(name.removeprefix(_PREFIX), _VARIABLE_BY_REST)
        hint = f"; did you mean {_VARIABLE_BY_REST[near]}?" if near else ""
        warnings.append(f"{name}: this exporter has no such variable and ignores it{hint}")
    return warnings


def _listed(problems: list[Problem]) -> str:
    count = "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
    lines = "".join(f"\n  {number}. {problem}" for number, problem in enumerate(problems, 1))
    return f"the configuration cannot be used, {count}:{lines}"
