"""Pytest plugin: how long the fuzz tests run; seconds in CI, any time by hand."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("kit.fuzz.comparison")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add options for the duration and the sequence of inputs."""
    group = parser.getgroup("fuzzing", "how long the fuzz tests run")
    group.addoption(
        "--fuzz-seconds",
        type=float,
        default=6.0,
        help="how long each of the two fuzz tests runs, in seconds; default: %(default)s",
    )
    group.addoption(
        "--fuzz-seed",
        type=int,
        default=1,
        help="which sequence of inputs they use; default: %(default)s",
    )
