"""Settings and errors of a configuration that a test writes down."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from exporter.config import Settings, load
from exporter.errors import ConfigError

ROOT: Final = Path(__file__).parents[2]
TESTDATA: Final = ROOT / "tests" / "testdata" / "config"
DEFAULTS: Final = load(None, {})


def load_text(tmp_path: Path, text: str, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings of a file with this text."""
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, environ or {})


def error_of_text(tmp_path: Path, text: str, environ: Mapping[str, str] | None = None) -> str:
    """The error of a file with this text; the file is called config.yaml in it."""
    with pytest.raises(ConfigError) as caught:
        load_text(tmp_path, text, environ)
    return str(caught.value).replace(str(tmp_path / "config.yaml"), "config.yaml")


def error_of(environ: Mapping[str, str], **overrides: object) -> str:
    """The error of these variables and flags."""
    with pytest.raises(ConfigError) as caught:
        load(None, environ, overrides=overrides)
    return str(caught.value)


def attributes(settings: Settings) -> dict[str, Any]:
    """All values of the receiver and the exporter, and the log level."""
    return {
        **{name: getattr(settings.receiver, name) for name in settings.receiver.__slots__},
        **{name: getattr(settings.exporter, name) for name in settings.exporter.__slots__},
        "log_level": settings.log_level,
    }
