"""docs/cli.md agrees with the program.

Its tables are generated: `python tests/test_docs_cli.py` rewrites them.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from exporter.cli.app import app

PROGRAM = "openfinops-exporter"
PAGE = Path(__file__).parent.parent / "docs" / "cli.md"
BLOCK = re.compile(
    r"(?P<start><!-- options: (?P<command>[^>]*?) ?-->\n).*?(?P<end><!-- end -->)", re.DOTALL
)
EXAMPLE = re.compile(rf"^ *(?:\$ )?{PROGRAM} (?P<arguments>[^|#\n]*)", re.MULTILINE)


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command that is not a group, by its full name."""
    for name, inner in getattr(command, "commands", {}).items():
        yield from leaves(inner, (*path, name))
    if not hasattr(command, "commands"):
        yield " ".join(path), command


COMMANDS = dict(leaves(typer.main.get_command(app)))


def options(command: Any) -> Iterator[Any]:
    yield from (parameter for parameter in command.params if "--help" not in parameter.opts)


def is_flag(option: Any) -> bool:
    return bool(getattr(option, "is_flag", False))  # arguments have no such attribute


def table(command: Any) -> Iterator[str]:
    yield "| option | default | meaning |"
    yield "| --- | --- | --- |"
    for option in options(command):
        names = ", ".join(f"`{name}`" for name in option.opts)
        value = "" if is_flag(option) else f" {option.metavar}"
        yield f"| {names}{value.replace('|', chr(92) + '|')} | {default(option)} | {option.help} |"


def default(option: Any) -> str:
    value = option.show_default if isinstance(option.show_default, str) else option.default
    if value is None or value is False:
        return ""
    return f"`{getattr(value, 'value', value)}`"


def regenerated(page: str) -> str:
    def block(match: re.Match[str]) -> str:
        rows = "\n".join(table(COMMANDS[match["command"]]))
        return f"{match['start']}{rows}\n{match['end']}"

    return BLOCK.sub(block, page)


def test_tables_agree_with_the_program() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == regenerated(page), "run: python tests/test_docs_cli.py"


def test_every_command_has_a_section_and_every_option_a_row() -> None:
    page = PAGE.read_text(encoding="utf-8")
    documented = {match["command"]: match.group() for match in BLOCK.finditer(page)}
    assert set(documented) <= set(COMMANDS)
    for name, command in COMMANDS.items():
        assert re.search(rf"^#+ `{name}`$", page, re.MULTILINE), name
        for option in options(command):
            assert f"| `{option.opts[0]}`" in documented[name], f"{name} {option.opts}"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_has_a_help_text(name: str) -> None:
    assert COMMANDS[name].help
    for option in options(COMMANDS[name]):
        assert option.help, option.opts
        assert option.help.endswith("."), option.opts
        assert is_flag(option) or option.metavar, option.opts


def examples() -> list[str]:
    texts = [PAGE.read_text(encoding="utf-8"), *(command.help for command in COMMANDS.values())]
    return [match["arguments"] for text in texts for match in EXAMPLE.finditer(text)]


@pytest.mark.parametrize("example", examples())
def test_every_example_is_valid(example: str) -> None:
    command: Any = typer.main.get_command(app)
    arguments = shlex.split(example)
    while arguments and hasattr(command, "commands"):
        if arguments[0].startswith("-"):
            break
        command = command.commands[arguments.pop(0)]
    if arguments != ["--version"]:  # which would print the version at once
        command.make_context(PROGRAM, arguments)


if __name__ == "__main__":
    PAGE.write_text(regenerated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
