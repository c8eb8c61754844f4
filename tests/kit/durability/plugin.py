"""Options for the length of the durability tests: short in CI, longer by hand."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add options for longer outages and more kills."""
    group = parser.getgroup("durability", "the length of the durability tests")
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
        help="number of times that the program is killed, for each backend; default: %(default)s",
    )
