"""Reads all sources of settings and merges them.

Precedence, highest first: flags, OPENFINOPS_* variables, the file, defaults. `load` reads
nothing but the file; only `process_environment` looks at the environment of this process.
"""

from __future__ import annotations

import io
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import dotenv

from exporter.config.component_selection import read_file
from exporter.config.constraints import apply_batch_processor, apply_constraints
from exporter.config.layers import Layer, Location, nested, validated_layer
from exporter.config.parsers import EnvironmentText
from exporter.config.schema import VARIABLES
from exporter.config.settings import Settings, settings_from
from exporter.config.validation_errors import closest_match
from exporter.errors import ConfigError

_PREFIX: Final = "OPENFINOPS_"

# Compared without the prefix, because it would make all names similar.
_VARIABLE_BY_SUFFIX: Final = {name.removeprefix(_PREFIX): name for name in VARIABLES} | {
    # Plausible names that are not similar to the variable that is meant.
    "CONNECTION_STRING": "OPENFINOPS_DB_URL",
    "DATABASE_URL": "OPENFINOPS_DB_URL",
    "GRPC_ENDPOINT": "OPENFINOPS_ENDPOINT",
}

_OVERRIDES: Final = {
    "connection_string" if name == "OPENFINOPS_DB_URL" else name.removeprefix(_PREFIX).lower(): key
    for name, key in VARIABLES.items()
}


def load_dotenv_file(path: Path) -> dict[str, str]:
    """The variables of a .env file, without substitution; {} if the file does not exist.

    Raises:
        ConfigError: the file exists and cannot be read.
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
    """The variables of a .env file, overridden by those of the process.

    Raises:
        ConfigError: the .env file exists and cannot be read.
    """
    return {**load_dotenv_file(dotenv_path), **os.environ}


def load(
    path: Path | None,
    environ: Mapping[str, str],
    *,
    overrides: Mapping[str, object] = MappingProxyType({}),
    overrides_source: str = "command line",
) -> Settings:
    """Read, validate and merge all sources of settings.

    Args:
        path: a configuration file, or None.
        environ: the environment, as `process_environment` returns it.
        overrides: the values of flags, under the names `endpoint`, `log_level` and those of the
            keys of exporters.openfinops. None means not set. A text is parsed as in the
            environment, any other value as in a file.
        overrides_source: the name of the overrides' source in messages.

    Raises:
        ConfigError: lists every error with its location; or the file cannot be read.
    """
    layer, referenced = read_file(path, environ) if path else (Layer(), set())
    # Before the environment is merged: a variable overrides the batch processor without a warning.
    apply_batch_processor(layer)
    for variable, key in VARIABLES.items():
        text = environ.get(variable, "").strip()
        # Compose files pass on an unset variable as an empty one.
        if text:
            layer.merge(_single(key, text, Location(variable)))
    for name, value in overrides.items():
        if name not in _OVERRIDES:
            raise TypeError(f"unknown setting {name!r}; known settings: {', '.join(_OVERRIDES)}")
        if value is not None:
            layer.merge(_single(_OVERRIDES[name], value, Location(overrides_source, name)))
    layer.warnings += _unknown_variables(environ, referenced)
    apply_constraints(layer)
    if layer.errors:
        raise ConfigError(_error_list(layer.errors))
    return settings_from(layer, str(path) if path else "built-in defaults")


def _single(key: tuple[str, ...], value: object, location: Location) -> Layer:
    """The layer of one key."""
    untyped = EnvironmentText(value, ()) if isinstance(value, str) else value
    return validated_layer(nested({key: untyped}), lambda _: location)


def _unknown_variables(environ: Mapping[str, str], referenced: Collection[str]) -> list[str]:
    """Warnings, not errors: other parts of OpenFinOps may read these OPENFINOPS_* variables."""
    warnings = []
    for name in sorted(environ):
        if not name.startswith(_PREFIX) or name in VARIABLES or name in referenced:
            continue
        near = closest_match(name.removeprefix(_PREFIX), _VARIABLE_BY_SUFFIX)
        hint = f"; did you mean {_VARIABLE_BY_SUFFIX[near]}?" if near else ""
        warnings.append(f"{name}: this exporter has no such variable and ignores it{hint}")
    return warnings


def _error_list(errors: list[tuple[Location, str]]) -> str:
    count = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
    lines = "".join(
        f"\n  {number}. {location}: {message}"
        for number, (location, message) in enumerate(errors, 1)
    )
    return f"the configuration cannot be used, {count}:{lines}"
