"""The published package, fetched from the index once a session."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_DEADLINE_SECONDS = 120


@pytest.fixture(scope="session")
def openfinops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with openfinops 0.3.0 in it, without its dependencies.

    Its dashboards miss some and say so; its hub, observatory and persistence need none that this
    project has not.
    """
    folder = tmp_path_factory.mktemp("openfinops")
    subprocess.run(
        [
            sys.executable, "-m", "pip", "install", "--quiet", "--no-deps",
            "--disable-pip-version-check", "--target", folder, "openfinops==0.3.0",
        ],
        check=True,
        timeout=_DEADLINE_SECONDS,
    )  # fmt: skip
    return folder
