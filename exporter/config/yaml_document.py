"""A YAML file as a tree of plain values, with the line of each and variables substituted.

Knows nothing of the keys. YAML is read by the rules of version 1.2, as the Collector does: `yes`,
`010`, `1:30` and `2024-01-01` are texts and not a bool, 8, 90 and a date.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn

import yaml

from exporter.config.parsers import FLOAT, INTEGER, EnvironmentText
from exporter.errors import ConfigError

KeyPath = tuple[str | int, ...]

# Ten levels of ten aliases make 10^10 values out of a few lines; no real file comes near this.
_MAX_VALUES: Final = 10_000

_TAG: Final = "tag:yaml.org,2002:"

_REFERENCE: Final = re.compile(r"\$\$|\$\{(?P<reference>[^{}]*)\}|\$\{")
_VARIABLE_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

# Other sources that the Collector can take values from. Any other word before a colon may be part
# of a password and is not repeated in an error.
_OTHER_SOURCES: Final = frozenset({"file", "http", "https", "yaml"})

_REFERENCE_HINT: Final = "write ${env:NAME} or ${env:NAME:-default}, and $$ for a dollar sign"


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalar types of YAML 1.2 and the merge key `<<` of 1.1."""

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
class YamlDocument:
    """The content of a file.

    Attributes:
        name: the file, for messages.
        tree: its mapping, with environment variables substituted.
        lines: the line of each key and of each element of a list, counted from 1.
        errors: (path, message) of every error that can be found without knowing the keys.
        invalid: paths of values that are missing from the tree because of an error.
        variables: names of all environment variables that the file refers to.
    """

    name: str
    tree: dict[str, object] = field(default_factory=dict)
    lines: dict[KeyPath, int] = field(default_factory=dict)
    errors: list[tuple[KeyPath, str]] = field(default_factory=list)
    invalid: set[KeyPath] = field(default_factory=set)
    variables: set[str] = field(default_factory=set)


def dotted(path: KeyPath) -> str:
    """A key's path as people write it: `service.pipelines.metrics.receivers[0]`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{_shown(part)}" for part in path)
    return text.removeprefix(".")


def _shown(key: str) -> str:
    # A connection string with wrong indentation can end up as a key.
    return key if re.fullmatch(r"[\w./ -]{1,60}", key) else "(...)"


def read_yaml(path: Path, environ: Mapping[str, str]) -> YamlDocument:
    """Read a YAML file.

    Args:
        path: the file.
        environ: the variables that references in values are replaced by.

    Raises:
        ConfigError: the file cannot be read, or is not YAML with a mapping at the top. Errors in
            single values are in the result's `errors` instead.
    """
    document = YamlDocument(str(path))
    text = _read_text(path)
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is not None and root.tag != _TAG + "null":
            _Builder(document, environ, loader).build_root(root)
    except yaml.YAMLError as error:
        _raise_invalid_yaml(path, text, error)
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
        # The cause would carry the whole file, with its passwords, into a traceback.
        raise ConfigError(
            f"cannot read the configuration {path}: line {line} is not UTF-8; save it as UTF-8"
        ) from None


def _raise_invalid_yaml(path: Path, text: str, error: yaml.YAMLError) -> NoReturn:
    """Name the place of a YAML error, without the piece of the file that PyYAML would quote."""
    where, problem = str(path), "a character that YAML does not allow"
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else where
        problem = ", ".join(part for part in (error.context, error.problem) if part)
    elif isinstance(error, yaml.reader.ReaderError):
        where = f"{path}:{text.count(chr(10), 0, error.position) + 1}"
    # Names of aliases, anchors and tags are file content and may be a mistyped password.
    problem = re.sub(r"'(?!<[a-z ]+>')[^']{2,}'|\"[^\"]{2,}\"", "(...)", problem)
    raise ConfigError(
        f"cannot read the configuration {where}: not valid YAML: {problem}; put texts with "
        "special characters in quotes"
    ) from None


class _Builder:
    """Converts PyYAML's nodes into plain values, and records lines and errors."""

    def __init__(self, document: YamlDocument, environ: Mapping[str, str], loader: _Loader) -> None:
        self._document = document
        self._environ = environ
        self._loader = loader
        self._values = 0
        # Nodes that are being built; an alias to one of them would recurse without end.
        self._open: set[int] = set()

    def build_root(self, root: yaml.Node) -> None:
        """Fill the document."""
        if not isinstance(root, yaml.MappingNode):
            raise ConfigError(
                f"cannot use the configuration {self._document.name}: the top level is "
                f"{'a list' if isinstance(root, yaml.SequenceNode) else 'a single value'}; it "
                "should be a mapping with the keys receivers, exporters and service"
            )
        self._find_duplicates(root, (), set())
        tree = self._build(root, ())
        if isinstance(tree, dict):
            self._document.tree = tree

    def _find_duplicates(self, node: yaml.Node, path: KeyPath, seen: set[int]) -> None:
        """Report duplicate keys. Runs before `<<` is resolved: a key may replace a merged one."""
        if id(node) in seen:
            return
        seen.add(id(node))
        lines: dict[str, list[int]] = {}
        for part, key, child in _children(node):
            if key is not None and key.tag != _TAG + "merge":
                lines.setdefault(str(part), []).append(key.start_mark.line + 1)
            self._find_duplicates(child, (*path, part), seen)
        for name, at in lines.items():
            if len(at) > 1:
                self._document.lines.setdefault((*path, name), at[-1])
                places = ", ".join(str(line) for line in at)
                self._error(
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
            self._invalid(path, "an alias here refers to the value that it is a part of")
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
        self._loader.flatten_mapping(node)  # resolves `<<`
        built: dict[str, object] = {}
        for part, key, child in _children(node):
            if not isinstance(key, yaml.ScalarNode):
                self._invalid(path, "a key here is a list or a mapping; it should be a name")
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
            self._invalid(path, "YAML tags (!...) are not supported; write the plain value")
        except ValueError as error:
            message = (
                str(error) if kind == "str" else f"the value after !!{kind} is not of type {kind}"
            )
            self._invalid(path, message)
        return None

    def _text(self, text: str) -> str:
        expanded = _expand(text, self._environ)
        if isinstance(expanded, EnvironmentText):
            self._document.variables.update(expanded.variables)
        return expanded

    def _error(self, path: KeyPath, message: str) -> None:
        self._document.errors.append((path, message))

    def _invalid(self, path: KeyPath, message: str) -> None:
        self._error(path, message)
        self._document.invalid.add(path)


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


def _expand(text: str, environ: Mapping[str, str]) -> str:
    """Replace `${env:NAME}`, `${env:NAME:-default}`, `${NAME}` and `$$` in one value.

    Values are expanded after the YAML is parsed, so that a password with a colon or a `#` cannot
    change the structure of the file. The value of a variable is not expanded again. As in shells,
    the default applies if the variable is unset or empty. An unset variable without a default is
    an error; the Collector would silently use an empty value.

    Returns:
        The text itself if it holds no reference, else an `EnvironmentText`.

    Raises:
        ValueError: a reference is not valid; names it and how to write one.
    """
    variables: list[str] = []

    def replacement(token: re.Match[str]) -> str:
        if token.group() == "$$":
            return "$"
        reference = token["reference"]
        if reference is None:
            raise ValueError(
                "it holds a ${ without its }, or with another brace inside; " + _REFERENCE_HINT
            )
        name, default = _parse_reference(reference)
        variables.append(name)
        return _value_of(name, default, environ)

    expanded = _REFERENCE.sub(replacement, text)
    if not variables:
        return expanded
    whole = _REFERENCE.fullmatch(text) is not None
    return EnvironmentText(expanded, tuple(variables), whole=whole)


def _parse_reference(reference: str) -> tuple[str, str | None]:
    """The variable's name and the default of what stands between the braces."""
    head, has_default, default = reference.partition(":-")
    source, colon, name = head.partition(":")
    if not colon:
        source, name = "env", head
    if source in _OTHER_SOURCES:
        raise ValueError(
            f"it refers to a {source}, which the Collector can read and this exporter cannot; "
            + _REFERENCE_HINT
        )
    if source != "env" or not _VARIABLE_NAME.fullmatch(name):
        raise ValueError("it holds a reference that is not valid; " + _REFERENCE_HINT)
    return name, default if has_default else None


def _value_of(name: str, default: str | None, environ: Mapping[str, str]) -> str:
    value = environ.get(name)
    if value is None and default is None:
        raise ValueError(
            f"the environment variable {name} is not set; set it, or write ${{env:{name}:-default}}"
        )
    return value or default or ""
