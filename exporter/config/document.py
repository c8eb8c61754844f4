"""A configuration file as a tree of plain values, each with the line that it stands in.

Knows YAML and nothing of what the keys mean. YAML is read as version 1.2 reads it, like the
Collector does: `yes`, `010`, `1:30` and `2024-01-01` are texts and not a bool, 8, 90 and a date.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn

import yaml

from exporter.config.references import expand
from exporter.config.values import FLOAT, INTEGER, EnvironmentText
from exporter.errors import ConfigError

__all__ = ["Document", "KeyPath", "dotted", "read_document"]

KeyPath = tuple[str | int, ...]

# Ten levels of ten aliases make 10^10 values out of a few lines; no real file comes near this.
_MAX_VALUES: Final = 10_000

_TAG: Final = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalar types of YAML 1.2, and `<<` as the Collector has it."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's


for _name, _pattern in {
    "null": "~|null|Null|NULL|",
    "bool": "true|True|TRUE|false|False|FALSE",
    "int": INTEGER.pattern,
    "float": rf"{FLOAT.pattern}|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    "merge": "<<",
}.items():
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(rf"(?:{_pattern})\Z"), None)


@dataclass(slots=True)
class Document:
    """What a file says.

    Attributes:
        name: the file, for messages.
        tree: its mapping, with references to variables replaced.
        lines: for each key and each element of a list, its line, counted from 1.
        problems: (path, message) of every mistake that needs no knowledge of the keys.
        unreadable: paths of values that are missing from the tree because of one.
        variables: names of all environment variables that it refers to.
    """

    name: str
    tree: dict[str, object] = field(default_factory=dict)
    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: list[tuple[KeyPath, str]] = field(default_factory=list)
    unreadable: set[KeyPath] = field(default_factory=set)
    variables: set[str] = field(default_factory=set)


def dotted(path: KeyPath) -> str:
    """A key's path as people write it: `service.pipelines.metrics.receivers[0]`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{_shown(part)}" for part in path)
    return text.removeprefix(".")


def _shown(key: str) -> str:
    # A connection string whose indentation slipped can end up as a key.
    return key if re.fullmatch(r"[\w./ -]{1,60}", key) else "(...)"


def read_document(path: Path, environ: Mapping[str, str]) -> Document:
    """Read a YAML file.

    Raises:
        ConfigError: the file cannot be read, or is not YAML with a mapping at the top. Mistakes
            in single values are in the result's `problems` instead.
    """
    document = Document(str(path))
    text = _read_text(path)
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is not None and root.tag != _TAG + "null":
            _Builder(document, environ, loader).build_root(root)
    except yaml.YAMLError as error:
        _refuse_yaml(path, text, error)
    except RecursionError:
        raise ConfigError(f"cannot read the configuration {path}: nested too deeply") from None
    return document


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"cannot read the configuration {path}: {error.strerror}; give the path of a YAML "
            "file that this user may read"
        ) from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        # The cause would carry the whole file, passwords included, into a traceback.
        raise ConfigError(
            f"cannot read the configuration {path}: line {line} is not UTF-8; save it as UTF-8"
        ) from None


def _refuse_yaml(path: Path, text: str, error: yaml.YAMLError) -> NoReturn:
    """Say where the YAML breaks, without the piece of the file that PyYAML would quote."""
    where, problem = str(path), "a character that YAML does not allow"
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else where
        problem = ", ".join(part for part in (error.context, error.problem) if part)
    elif isinstance(error, yaml.reader.ReaderError):
        where = f"{path}:{text.count(chr(10), 0, error.position) + 1}"
    # Names of aliases, anchors and tags are file content, so possibly a mistyped password.
    problem = re.sub(r"'(?!<[a-z ]+>')[^']{2,}'|\"[^\"]{2,}\"", "(...)", problem)
    raise ConfigError(
        f"cannot read the configuration {where}: not valid YAML: {problem}; put texts with "
        "special characters in quotes"
    ) from None


class _Builder:
    """Turns PyYAML's nodes into plain values, once, and notes lines and mistakes on the way."""

    def __init__(self, document: Document, environ: Mapping[str, str], loader: _Loader) -> None:
        self._document = document
        self._environ = environ
        self._loader = loader
        self._values = 0
        self._open: set[int] = set()

    def build_root(self, root: yaml.Node) -> None:
        """Fill the document."""
        if not isinstance(root, yaml.MappingNode):
            raise ConfigError(
                f"cannot use the configuration {self._document.name}: the top level is "
                f"{'a list' if isinstance(root, yaml.SequenceNode) else 'a single value'}; it "
                "should be a mapping with the keys receivers, exporters and service"
            )
        self._note_duplicates(root, (), set())
        tree = self._build(root, ())
        if isinstance(tree, dict):
            self._document.tree = tree

    def _note_duplicates(self, node: yaml.Node, path: KeyPath, seen: set[int]) -> None:
        """Before `<<` is resolved, because a key beside it that replaces a merged one is fine."""
        if id(node) in seen:
            return
        seen.add(id(node))
        lines: dict[str, list[int]] = {}
        for part, key, child in _children(node):
            if key is not None and key.tag != _TAG + "merge":
                lines.setdefault(str(part), []).append(key.start_mark.line + 1)
            self._note_duplicates(child, (*path, part), seen)
        for name, at in lines.items():
            if len(at) > 1:
                self._document.lines.setdefault((*path, name), at[-1])
                places = ", ".join(str(line) for line in at)
                self._problem(
                    (*path, name), f"this key is there more than once, in lines {places}; keep one"
                )

    def _build(self, node: yaml.Node, path: KeyPath) -> object:
        self._values += 1
        if self._values > _MAX_VALUES:
            raise ConfigError(
                f"cannot use the configuration {self._document.name}: it holds more than "
                f"{_MAX_VALUES} values; do not nest aliases"
            )
        if id(node) in self._open:
            self._unreadable(path, "an alias here refers to the value that it is a part of")
            return None
        self._open.add(id(node))
        value = self._content(node, path)
        self._open.discard(id(node))
        return value

    def _content(self, node: yaml.Node, path: KeyPath) -> object:
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        return [self._child(child, (*path, part)) for part, _, child in _children(node)]

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, object]:
        self._loader.flatten_mapping(node)
        built: dict[str, object] = {}
        for part, key, child in _children(node):
            if not isinstance(key, yaml.ScalarNode):
                self._unreadable(path, "a key here is a list or a mapping; it should be a name")
            else:
                built[str(part)] = self._child(child, (*path, part), key)
        return built

    def _child(self, node: yaml.Node, path: KeyPath, key: yaml.Node | None = None) -> object:
        self._document.lines[path] = (key or node).start_mark.line + 1
        return self._build(node, path)

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> object:
        kind = node.tag.removeprefix(_TAG)
        try:
            if kind == "str":
                return self._text(node.value)
            return _TYPED[kind](node.value)
        except KeyError:
            self._unreadable(path, "a YAML tag (!...) stands here; remove it, plain values will do")
        except ValueError as error:
            message = str(error) if kind == "str" else f"what follows !!{kind} is no {kind}"
            self._unreadable(path, message)
        return None

    def _text(self, text: str) -> str:
        expanded = expand(text, self._environ)
        if isinstance(expanded, EnvironmentText):
            self._document.variables.update(expanded.variables)
        return expanded

    def _problem(self, path: KeyPath, message: str) -> None:
        self._document.problems.append((path, message))

    def _unreadable(self, path: KeyPath, message: str) -> None:
        self._problem(path, message)
        self._document.unreadable.add(path)


_TYPED: Final[Mapping[str, Callable[[str], object]]] = {
    "null": lambda _: None,
    "bool": lambda text: text.lower() == "true",
    "int": int,
    "float": lambda text: float(text.lower().replace(".inf", "inf").replace(".nan", "nan")),
}


def _children(node: yaml.Node) -> Iterator[tuple[str | int, yaml.Node | None, yaml.Node]]:
    if isinstance(node, yaml.SequenceNode):
        for index, child in enumerate(node.value):
            yield index, None, child
    elif isinstance(node, yaml.MappingNode):
        for key, child in node.value:
            yield (key.value if isinstance(key, yaml.ScalarNode) else ""), key, child
