"""Imports follow the table in docs/ARCHITECTURE.md, and the table names every module."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "exporter"
MODULES = sorted(PACKAGE.rglob("*.py"))
ARCHITECTURE = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
TABLE = ARCHITECTURE.partition("## Layers")[2].partition("\n## ")[0]


def ranks() -> dict[str, int]:
    rows = [line.split("|")[2] for line in TABLE.splitlines() if line.startswith("| ")][1:]
    return {
        name: len(rows) - at for at, row in enumerate(rows) for name in re.findall("`(.*?)`", row)
    }


RANKS = ranks()


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def layer(module: str) -> str | None:
    names = [name for name in RANKS if module == name or module.startswith(f"{name}.")]
    return max(names, key=len, default=None)


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] == "exporter"}


def test_the_table_has_its_layers_and_nothing_that_is_not_there() -> None:
    assert len(set(RANKS.values())) >= 14
    missing = [
        name
        for name in RANKS
        if not (ROOT / name.replace(".", "/")).is_dir()
        and not (ROOT / name.replace(".", "/")).with_suffix(".py").is_file()
    ]
    assert missing == []


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_imports_go_down_the_table(path: Path) -> None:
    module = module_name(path)
    if module == "exporter":
        return  # the public face may show any layer; nothing imports it
    own = layer(module)
    assert own is not None, f"{module} is missing from the table in docs/ARCHITECTURE.md"
    for imported in imports(path):
        other = layer(imported)
        assert other is not None, f"{module} imports {imported}, which has no layer"
        assert RANKS[other] <= RANKS[own], f"{module} must not import {imported}"


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_only_the_command_line_prints_and_only_configuration_reads_the_environment(
    path: Path,
) -> None:
    own = layer(module_name(path))
    source = path.read_text(encoding="utf-8")
    if own != "exporter.cli":
        assert not re.search(r"(?<![\w.])print\(", source)
    if own != "exporter.config":
        assert "os.environ" not in source
        assert "getenv" not in source


# What both decoders need; the fast decoder has further modules.
REFERENCE_DECODER = {
    "exporter.series_cache",
    "exporter.series_cache.cache",
    "exporter.series_cache.entries",
    "exporter.wire.attributes",
    "exporter.wire.series_lookup",
    "exporter.wire.batch_builder",
    "exporter.wire.limits",
    "exporter.wire.protobuf_reader",
    "exporter.wire.reference_decoder",
    "exporter.wire.decode_result",
    "exporter.wire.time_window",
}


def test_the_reference_decoder_imports_nothing_of_the_fast_decoder() -> None:
    paths = {module_name(path): path for path in MODULES}
    found, pending = set(), {"exporter.wire.reference_decoder"}
    while pending:
        module = pending.pop()
        found.add(module)
        for name in imports(paths[module]):
            imported = name if name in paths else name.rpartition(".")[0]
            if layer(imported) in {"exporter.wire", "exporter.series_cache"}:
                pending |= {imported} - found
    assert found == REFERENCE_DECODER


def _listed_modules(package: Path) -> list[str]:
    """The modules that the docstring of a package lists, one line each: `name  purpose`."""
    docstring = ast.get_docstring(ast.parse((package / "__init__.py").read_text(encoding="utf-8")))
    return re.findall(r"^(\w+)  +\S", docstring or "", re.MULTILINE)


@pytest.mark.parametrize(
    "package",
    [
        path.parent
        for path in MODULES
        if path.name == "__init__.py" and _listed_modules(path.parent)
    ],
    ids=lambda path: path.name,
)
def test_the_docstring_of_a_package_lists_its_modules(package: Path) -> None:
    modules = {path.stem for path in package.glob("*.py")} - {"__init__"}
    assert set(_listed_modules(package)) == modules
