import pytest

from exporter.query.catalog import similar_names

NAMES = ["system.cpu.time", "system.cpu.utilization", "system.memory.usage", "http.duration"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("sytem.cpu.tme", ["system.cpu.time"]),
        ("SYSTEM.CPU.TIME", ["system.cpu.time"]),
        ("duration", ["http.duration"]),
        ("cpu*", ["system.cpu.time", "system.cpu.utilization"]),
        ("zzz", []),
        ("c", []),
        ("*", []),
        ("", []),
    ],
)
def test_names_that_are_similar_or_contain_the_wanted_one(wanted: str, expected: list[str]) -> None:
    found = similar_names(wanted, NAMES)
    assert found[: len(expected)] == expected
    assert bool(found) == bool(expected)


def test_at_most_three_names() -> None:
    assert len(similar_names("metric", [f"metric{number}" for number in range(9)])) == 3
