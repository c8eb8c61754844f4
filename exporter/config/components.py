"""Which components of a file run: the Collector's pipelines, reduced to the one that is here.

A file may define several OTLP receivers and openfinops exporters; service.pipelines says which
run. Metrics and logs, of which cost events are kept, take the same way, so that a pipeline for logs
names what the one for metrics names. Cost events are taken without it all the same; metrics are not
where it is the only one, because who writes that wants nothing but cost events.

Without service.pipelines, which the Collector requires, the components that are defined are joined,
as long as there is only one of each kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from exporter.config.document import Document, KeyPath, dotted, read_document
from exporter.config.layers import Layer, Place, Problem, overlap, read_layer
from exporter.config.mistakes import mistakes_in, nearest
from exporter.config.schema import File, Pipeline
from exporter.errors import ConfigError

__all__ = ["read_file"]

_TYPE_OF_PIPED: Final = {"receivers": "otlp", "processors": "batch", "exporters": "openfinops"}
_TYPE_OF_KIND: Final = {"extensions": "bearertokenauth", **_TYPE_OF_PIPED}
_AUTHENTICATOR: Final = ("receivers", "otlp", "protocols", "grpc", "auth", "authenticator")
_SIGNALS: Final = ("metrics", "logs")
_OTHER_SIGNALS: Final = frozenset({"traces", "profiles"})

# What a component that this exporter lacks is usually there for, and what stands in for it.
_INSTEAD: Final = {
    "memory_limiter": "max_queued_entries of exporters.openfinops bounds what waits in memory",
    "health_check": "the gRPC health service is always there, and the command `health` asks it",
    "debug": "`query metrics` shows what was stored",
    "logging": "`query metrics` shows what was stored",
}


def read_file(path: Path, environ: Mapping[str, str]) -> tuple[Layer, set[str]]:
    """Read a configuration file and choose the components that run.

    Returns:
        What the file gives, and the names of the variables that it refers to.

    Raises:
        ConfigError: it cannot be read at all, or is not a configuration of this kind.
    """
    document = read_document(path, environ)
    if "file_format" in document.tree:
        raise ConfigError(
            f"cannot use the configuration {document.name}: its key file_format (line "
            f"{document.lines[('file_format',)]}) makes it a declarative configuration for an "
            "OpenTelemetry SDK, which the program that sends reads (OTEL_CONFIG_FILE); the "
            "receiver needs a file of the Collector's shape, see docs/configuration.md"
        )
    return _FileReader(document).read(), document.variables


class _FileReader:
    """Goes through one document and gathers what it gives."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._tree = document.tree
        self._layer = Layer()
        self._defined: dict[str, dict[str, Layer]] = {}

    def read(self) -> Layer:
        """Everything that the running components give, and the mistakes of all."""
        for path, message in self._document.problems:
            self._problem(path, message)
        for mistake in mistakes_in(File, self._tree):
            self._unless_reported(mistake.path, mistake.message)
        self._defined = {kind: self._components(kind) for kind in _TYPE_OF_KIND}
        service = _mapping(self._tree.get("service"))
        if "telemetry" in service:
            self._layer.lay_over(self._telemetry(service["telemetry"]))
        pipelines = _mapping(service.get("pipelines"))
        chosen = self._piped(pipelines) if pipelines else self._joined()
        for kind, name in chosen.items():
            self._layer.lay_over(self._defined[kind].pop(name))
        self._authenticate(service.get("extensions"))
        self._note_unused(explicit=bool(pipelines))
        self._layer.problems.sort(key=lambda problem: problem.place.line)
        return self._layer

    def _components(self, kind: str) -> dict[str, Layer]:
        """The components of one kind that this exporter has, each checked on its own."""
        sound: dict[str, Layer] = {}
        for name, content in _mapping(self._tree.get(kind)).items():
            mistake = _wrong_component(kind, name)
            if mistake:
                self._problem((kind, name), mistake)
            else:
                sound[name] = self._component(kind, name, content)
        return sound

    def _component(self, kind: str, name: str, content: object) -> Layer:
        plain = (kind, _TYPE_OF_KIND[kind])
        gaps = [plain + gap[2:] for gap in self._document.unreadable if gap[:2] == (kind, name)]
        return read_layer(
            {kind: {plain[1]: content}},
            lambda path: self._place((kind, name, *path[2:])),
            gaps,
        )

    def _telemetry(self, content: object) -> Layer:
        return read_layer(
            {"service": {"telemetry": content}}, self._place, self._document.unreadable
        )

    def _piped(self, pipelines: Mapping[str, object]) -> dict[str, str]:
        """The components of the pipelines; if there is one for each signal, they share them."""
        found: dict[str, list[KeyPath]] = {signal: [] for signal in _SIGNALS}
        for name in pipelines:
            path: KeyPath = ("service", "pipelines", name)
            signal = name.partition("/")[0]
            if signal in found:
                found[signal].append(path)
            elif signal in _OTHER_SIGNALS:
                self._problem(path, f"pipelines for {signal} are not supported yet; remove it")
            else:
                self._problem(path, "unknown pipeline; those supported are metrics and logs")
        self._count_pipelines(found)
        members = {
            signal: self._members(paths[0], pipelines[str(paths[0][-1])])
            for signal, paths in found.items()
            if len(paths) == 1
        }
        if "metrics" in members and "logs" in members:
            self._compare(found["logs"][0], members["logs"], members["metrics"])
        self._layer.takes_metrics = bool(found["metrics"])
        return members.get("metrics" if found["metrics"] else "logs", {})

    def _count_pipelines(self, found: Mapping[str, list[KeyPath]]) -> None:
        path: KeyPath = ("service", "pipelines")
        if not any(found.values()):
            self._problem(
                path, f"found no pipeline for {' or '.join(_SIGNALS)}; there must be one of them"
            )
        for signal, paths in found.items():
            if len(paths) > 1:
                self._problem(
                    path, f"found {len(paths)} pipelines for {signal}; there must be at most one"
                )

    def _compare(self, path: KeyPath, logs: dict[str, str], metrics: dict[str, str]) -> None:
        """One receiver and one exporter run, so both pipelines lead through the same ones."""
        for kind, name in logs.items():
            if kind == "processors" and kind not in metrics:
                self._problem(
                    (*path, kind),
                    f"{dotted((name,))} is not in the pipeline for metrics; cost events and "
                    "metrics share their batches, so name it in both or in neither",
                )
            elif metrics.get(kind, name) != name:
                self._problem(
                    (*path, kind),
                    f"found {dotted((name,))}, and the pipeline for metrics has "
                    f"{dotted((metrics[kind],))}; only one of the {kind} runs, name the same one",
                )

    def _members(self, path: KeyPath, content: object) -> dict[str, str]:
        wrong = set()
        for mistake in mistakes_in(Pipeline, content):
            self._unless_reported((*path, *mistake.path), mistake.message)
            wrong.add(mistake.path[0] if mistake.path else "")
        if "" in wrong:
            return {}
        chosen = {}
        for kind in _TYPE_OF_PIPED:
            names: Any = _mapping(content).get(kind, [])
            member = None if kind in wrong else self._member(kind, names, (*path, kind))
            if member:
                chosen[kind] = member
        return chosen

    def _member(self, kind: str, names: list[str], path: KeyPath) -> str | None:
        """The one component of its kind in a pipeline."""
        self._check_defined(kind, names, path)
        if len(names) > 1 or (not names and kind != "processors"):
            limit = "at most" if kind == "processors" else "exactly"
            self._problem(path, f"found {len(names)} {kind}; there must be {limit} one")
            return None
        return names[0] if names and names[0] in self._defined[kind] else None

    def _check_defined(self, kind: str, names: list[str], path: KeyPath) -> None:
        for name in names:
            if name not in _mapping(self._tree.get(kind)):
                near = nearest(str(name), self._defined[kind])
                hint = f"; did you mean {near}?" if near else ""
                self._problem(path, f"'{dotted((str(name),))}' is not defined under {kind}{hint}")

    def _joined(self) -> dict[str, str]:
        """The components of a file without pipelines."""
        piped = {kind: self._defined[kind] for kind in _TYPE_OF_PIPED}
        for kind, components in piped.items():
            if len(components) > 1:
                self._problem(
                    (kind,),
                    f"found {', '.join(components)}; write service.pipelines to say which one "
                    "runs, or remove the others",
                )
        return {
            kind: next(iter(components))
            for kind, components in piped.items()
            if len(components) == 1
        }

    def _authenticate(self, started: object) -> None:
        """Take the extension that the receiver names; the Collector wants it started as well."""
        names = started if isinstance(started, list) else []
        self._check_defined("extensions", names, ("service", "extensions"))
        given = self._layer.given.get(_AUTHENTICATOR)
        if given is None:
            return
        name, place = str(given.value), Place(given.source, dotted(_AUTHENTICATOR))
        if name not in _mapping(self._tree.get("extensions")):
            message = f"'{dotted((name,))}' is not defined under extensions"
            self._layer.problems.append(Problem(place, message))
        elif name not in names:
            message = f"'{dotted((name,))}' is missing from service.extensions; add it there"
            self._layer.problems.append(Problem(place, message))
        self._layer.lay_over(self._defined["extensions"].pop(name, Layer()))

    def _note_unused(self, *, explicit: bool) -> None:
        for kind, components in self._defined.items():
            for name, layer in components.items():
                self._layer.problems += layer.problems
                place = self._place((kind, name))
                if kind == "extensions":
                    self._layer.warnings.append(
                        f"{place}: no receiver that runs names it in auth.authenticator, so it "
                        "keeps nobody out"
                    )
                elif explicit:
                    self._layer.warnings.append(f"{place}: is in no pipeline and does nothing")

    def _place(self, path: KeyPath) -> Place:
        """The line of a key, or of the nearest one around it that has a line of its own."""
        known = path
        while known and known not in self._document.lines:
            known = known[:-1]
        line = self._document.lines[known] if known else 0
        source = f"{self._document.name}:{line}" if line else self._document.name
        return Place(source, dotted(path), line)

    def _problem(self, path: KeyPath, message: str) -> None:
        self._layer.problems.append(Problem(self._place(path), message))

    def _unless_reported(self, path: KeyPath, message: str) -> None:
        if not any(overlap(path, gap) for gap in self._document.unreadable):
            self._problem(path, message)


def _mapping(value: object) -> dict[str, object]:
    """A section's content; one that is no mapping is reported when the file's shape is checked."""
    return value if isinstance(value, dict) else {}


def _wrong_component(kind: str, name: str) -> str | None:
    """Why there cannot be such a component here."""
    type_name, slash, label = name.partition("/")
    known = _TYPE_OF_KIND[kind]
    if slash and not label.strip():
        return f"a name is missing after the slash; write {type_name} or {type_name}/name"
    if type_name == known:
        return None
    singular = kind.removesuffix("s")
    if nearest(type_name, [known]):
        return f"unknown {singular}; did you mean {known}?"
    instead = _INSTEAD.get(type_name)
    return (
        f"the {singular} {dotted((type_name,))} is not supported, the only one here is {known}; "
        f"{instead or 'a Collector in front can run it and send on over OTLP'}"
    )
