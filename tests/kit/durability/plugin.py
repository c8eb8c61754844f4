"""How long the durability tests go on: short in CI, as long as one likes by hand."""

from __future__ import annotations

import pytest

__all__ = ["pytest_addoption"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the caller have longer outages and more kills."""
    group = parser.getgroup("durability", "how long the durability tests go on")
    group.addoption(
        "--outage-seconds",
        type=float,
        default=8.0,
        help="how long the database is away; default: %(default)s",
    )
    group.addoption(
        "--kills",
        type=int,
        default=25,
        help="how often the program is killed, for each backend; default: %(default)s",
    )
