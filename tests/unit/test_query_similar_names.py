import pytest

from exporter.query.catalog import nearest

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
def test_names_that_are_spelled_alike_or_contain_it(wanted: str, expected: list[str]) -> None:
    found = nearest(wanted, NAMES)
    assert found[: len(expected)] == expected
    assert bool(found) == bool(expected)


def test_never_more_than_three() -> None:
    assert len(nearest("metric", [f"metric{number}" for number in range(9)])) == 3
