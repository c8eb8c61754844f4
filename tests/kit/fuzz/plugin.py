"""How long the fuzz tests go on: some seconds in CI, as long as one likes by hand."""

from __future__ import annotations

import pytest

__all__ = ["pytest_addoption"]

pytest.register_assert_rewrite("kit.fuzz.comparison")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the caller search for longer, and elsewhere."""
    group = parser.getgroup("fuzzing", "how long the fuzz tests go on")
    group.addoption(
        "--fuzz-seconds",
        type=float,
        default=6.0,
        help="how long each of the two fuzz tests goes on; default: %(default)s",
    )
    group.addoption(
        "--fuzz-seed",
        type=int,
        default=1,
        help="which sequence of inputs they take; default: %(default)s",
    )
