"""docs/configuration.md agrees with the code.

Its tables are generated: `python tests/test_docs_configuration.py` rewrites them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.config import load
from exporter.config.fields import allowed_of, texts_of
from exporter.config.schema import KEYS, VARIABLES, Configuration, File, Section

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "configuration.md"
BLOCK = re.compile(r"(?P<start><!-- (?P<what>[^>]+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)
EXAMPLE = re.compile(r"```yaml\n(.*?)```", re.DOTALL)
ENVIRONMENT = {"DB_PASSWORD": "secret", "DB_URL": "postgresql://finops:secret@db/finops"}


def regenerated(page: str) -> str:
    def block(match: re.Match[str]) -> str:
        return match["start"] + "\n".join(table(match["what"])) + "\n" + match["end"]

    return BLOCK.sub(block, page)


def table(what: str) -> Iterator[str]:
    kind, _, prefix = what.partition(": ")
    if kind == "keys":
        return keys_table(tuple(prefix.split(".")))
    return {"variables": variables_table, "unsupported": unsupported_table}[kind]()


def keys_table(prefix: tuple[str, ...]) -> Iterator[str]:
    counterparts = prefix[0] == "exporters"
    extra = "in the Collector | " if counterparts else ""
    yield f"| key | allowed | default | {extra}meaning |"
    yield "| --- | --- | --- | --- |" + (" --- |" if counterparts else "")
    for path, key in KEYS.items():
        if path[: len(prefix)] == prefix:
            texts = texts_of(key)
            collector = f" {code(texts['collector'])} |" if counterparts else ""
            yield (
                f"| `{'.'.join(path[len(prefix) :])}` | {allowed_of(key)} | "
                f"{code(default_text(key.default))} |{collector} {key.description} |"
            )


def variables_table() -> Iterator[str]:
    yield "| variable | key |"
    yield "| --- | --- |"
    for name, path in VARIABLES.items():
        yield f"| `{name}` | `{'.'.join(path)}` |"


def unsupported_table() -> Iterator[str]:
    yield "| key | instead |"
    yield "| --- | --- |"
    for path, section in [*sections(File, ()), *sections(Configuration, ())]:
        for name, hint in section.unsupported.items():
            yet = "not supported yet; " if name in section.planned else ""
            yield f"| `{'.'.join((*path, name))}` | {yet}{hint} |"


def sections(
    section: type[Section], path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], type[Section]]]:
    yield path, section
    for name, key in section.model_fields.items():
        if isinstance(key.annotation, type) and issubclass(key.annotation, Section):
            yield from sections(key.annotation, (*path, name))


def default_text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(value)}]"
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def code(text: object) -> str:
    return f"`{text}`" if text else ""


def test_tables_agree_with_the_code() -> None:
    page = PAGE.read_text()
    assert page == regenerated(page), "run: python tests/test_docs_configuration.py"


def test_every_key_and_variable_has_one_row() -> None:
    page = PAGE.read_text()
    rows = re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)
    prefixes = [block["what"].partition(": ")[2] for block in BLOCK.finditer(page)]
    for path in KEYS:
        name = ".".join(path)
        covering = [prefix for prefix in prefixes if prefix and name.startswith(f"{prefix}.")]
        assert len(covering) == 1, name
        assert rows.count(name.removeprefix(f"{covering[0]}.")) == 1, name
    for name in VARIABLES:
        assert rows.count(name) == 1, name


def test_every_key_has_texts() -> None:
    for path, key in KEYS.items():
        assert key.description, path
        assert key.description.endswith("."), path
        assert allowed_of(key) not in {"", "a mapping"}, path


@pytest.mark.parametrize("name", ["docs/configuration.md", "otel-config.yaml"])
def test_only_existing_variables_are_mentioned(name: str) -> None:
    mentioned = set(re.findall(r"\bOPENFINOPS_[A-Z_]*[A-Z]", (ROOT / name).read_text()))
    assert mentioned <= set(VARIABLES)
    assert "OPENFINOPS_DB_URL" in mentioned


@pytest.mark.parametrize("example", EXAMPLE.findall(PAGE.read_text()))
def test_examples_load(example: str, tmp_path: Path) -> None:
    path = tmp_path / "example.yaml"
    path.write_text(example)
    assert load(path, ENVIRONMENT).warnings == ()


def test_examples_show_every_backend() -> None:
    backends = set(re.findall(r"^ +backend: (\w+)$", PAGE.read_text(), re.MULTILINE))
    assert backends == {"sqlite", "memory", "postgresql", "timescaledb"}


if __name__ == "__main__":
    PAGE.write_text(regenerated(PAGE.read_text()))
