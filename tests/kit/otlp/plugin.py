"""Pytest plugin of the decoder's tests: hypothesis profiles and the folder of captured payloads.

The profile `ci` is the default: the same examples in every run, about a minute in all. A search of
half an hour with new examples: `pytest tests/unit -k wire --hypothesis-profile=long`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.register_assert_rewrite("kit.otlp.checks", "kit.otlp.observed")

# No deadline and no check for slow drawing: a slow machine must not fail a test.
_NO_DEADLINE: Final = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.register_profile("ci", _NO_DEADLINE, max_examples=60, derandomize=True, database=None)
settings.register_profile("long", _NO_DEADLINE, max_examples=3_000)
settings.load_profile("ci")

_MANIFEST: Final = Path("corpus/otlp/manifest.json")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option for the folder of captured payloads."""
    parser.addoption(
        "--corpus",
        type=Path,
        metavar="DIR",
        help="folder of real OTLP payloads; default: */corpus beside the project's folder",
    )


def _folders(config: pytest.Config) -> Iterator[Path]:
    given: Path | None = config.getoption("--corpus")
    if given is not None:
        yield given
        return
    for manifest in sorted(config.rootpath.parent.glob(f"*/{_MANIFEST}")):
        yield manifest.parent.parent


@pytest.fixture(scope="session")
def corpus(pytestconfig: pytest.Config) -> Path:
    """The folder of captured payloads; the test is skipped if there is none."""
    for folder in _folders(pytestconfig):
        if (folder / "otlp" / "manifest.json").is_file():
            return folder
        pytest.fail(f"--corpus {folder}: no otlp/manifest.json in it")
    pytest.skip("no corpus of real payloads beside the project; name one with --corpus DIR")
