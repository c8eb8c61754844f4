"""Which components of a file run: the Collector's pipelines, reduced to what this exporter has.

A file may define several OTLP receivers and openfinops exporters; service.pipelines chooses one of
each. Without service.pipelines, which the Collector requires, the components of the file are used
if there is only one of each kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from exporter.config.layers import Layer, Location, overlap, validated_layer
from exporter.config.schema import File, Pipeline
from exporter.config.validation_errors import closest_match, validation_errors
from exporter.config.yaml_document import KeyPath, YamlDocument, dotted, read_yaml
from exporter.errors import ConfigError

_PIPELINE_TYPES: Final = {"receivers": "otlp", "processors": "batch", "exporters": "openfinops"}
_COMPONENT_TYPES: Final = {"extensions": "bearertokenauth", **_PIPELINE_TYPES}
_AUTHENTICATOR: Final = ("receivers", "otlp", "protocols", "grpc", "auth", "authenticator")
_SIGNALS: Final = ("metrics", "logs")
_OTHER_SIGNALS: Final = frozenset({"traces", "profiles"})

# What replaces a common component of the Collector that this exporter lacks.
_ALTERNATIVES: Final = {
    "memory_limiter": "max_queued_entries of exporters.openfinops bounds what waits in memory",
    "health_check": "the gRPC health service is always there, and the command `health` asks it",
    "debug": "`query metrics` shows what was stored",
    "logging": "`query metrics` shows what was stored",
}


def read_file(path: Path, environ: Mapping[str, str]) -> tuple[Layer, set[str]]:
    """Read a configuration file and choose the components that run.

    Returns:
        The layer of the file, and the names of the variables that it refers to.

    Raises:
        ConfigError: the file cannot be read, or is a configuration of another kind.
    """
    document = read_yaml(path, environ)
    if "file_format" in document.tree:
        raise ConfigError(
            f"cannot use the configuration {document.name}: its key file_format (line "
            f"{document.lines[('file_format',)]}) makes it a declarative configuration for an "
            "OpenTelemetry SDK, which the sending program reads (OTEL_CONFIG_FILE); the "
            "receiver needs a file in the form of the Collector's, see docs/configuration.md"
        )
    return _ComponentSelection(document).layer(), document.variables


class _ComponentSelection:
    """Validates the components of one document and merges those that run."""

    def __init__(self, document: YamlDocument) -> None:
        self._document = document
        self._tree = document.tree
        self._layer = Layer()
        self._unused: dict[str, dict[str, Layer]] = {}

    def layer(self) -> Layer:
        """The values of the components that run, and the errors of all components."""
        for path, message in self._document.errors:
            self._error(path, message)
        for path, message in validation_errors(File, self._tree):
            self._error_unless_reported(path, message)
        self._unused = {kind: self._components(kind) for kind in _COMPONENT_TYPES}
        service = _mapping(self._tree.get("service"))
        if "telemetry" in service:
            self._layer.merge(self._telemetry(service["telemetry"]))
        pipelines = _mapping(service.get("pipelines"))
        chosen = self._from_pipelines(pipelines) if pipelines else self._without_pipelines()
        for kind, name in chosen.items():
            self._layer.merge(self._unused[kind].pop(name))
        self._use_authenticator(service.get("extensions"))
        self._warn_unused(has_pipelines=bool(pipelines))
        # In the order of the file, so that the user can correct it from top to bottom.
        self._layer.errors.sort(key=lambda error: error[0].line)
        return self._layer

    def _components(self, kind: str) -> dict[str, Layer]:
        """The supported components of one kind, each validated on its own."""
        valid: dict[str, Layer] = {}
        for name, content in _mapping(self._tree.get(kind)).items():
            error = _component_error(kind, name)
            if error:
                self._error((kind, name), error)
            else:
                valid[name] = self._component(kind, name, content)
        return valid

    def _component(self, kind: str, name: str, content: object) -> Layer:
        plain = (kind, _COMPONENT_TYPES[kind])
        invalid = [plain + path[2:] for path in self._document.invalid if path[:2] == (kind, name)]
        return validated_layer(
            {kind: {plain[1]: content}},
            lambda path: self._location((kind, name, *path[2:])),
            invalid,
        )

    def _telemetry(self, content: object) -> Layer:
        return validated_layer(
            {"service": {"telemetry": content}}, self._location, self._document.invalid
        )

    def _from_pipelines(self, pipelines: Mapping[str, object]) -> dict[str, str]:
        """The components that the pipelines name; a pipeline for logs shares those for metrics."""
        found: dict[str, list[KeyPath]] = {signal: [] for signal in _SIGNALS}
        for name in pipelines:
            path: KeyPath = ("service", "pipelines", name)
            signal = name.partition("/")[0]
            if signal in found:
                found[signal].append(path)
            elif signal in _OTHER_SIGNALS:
                self._error(path, f"pipelines for {signal} are not supported yet; remove it")
            else:
                self._error(path, "unknown pipeline; those supported are metrics and logs")
        self._check_number_of_pipelines(found)
        components = {
            signal: self._pipeline_components(paths[0], pipelines[str(paths[0][-1])])
            for signal, paths in found.items()
            if len(paths) == 1
        }
        if "metrics" in components and "logs" in components:
            self._compare(found["logs"][0], components["logs"], components["metrics"])
        # Cost events arrive as log records and are accepted with either pipeline. A file with only
        # a logs pipeline accepts cost events and refuses metrics.
        self._layer.takes_metrics = bool(found["metrics"])
        return components.get("metrics" if found["metrics"] else "logs", {})

    def _check_number_of_pipelines(self, found: Mapping[str, list[KeyPath]]) -> None:
        path: KeyPath = ("service", "pipelines")
        if not any(found.values()):
            self._error(
                path, f"found no pipeline for {' or '.join(_SIGNALS)}; there must be one of them"
            )
        for signal, paths in found.items():
            if len(paths) > 1:
                self._error(
                    path, f"found {len(paths)} pipelines for {signal}; there must be at most one"
                )

    def _compare(self, path: KeyPath, logs: dict[str, str], metrics: dict[str, str]) -> None:
        """Only one receiver and one exporter run, so both pipelines must name the same ones."""
        for kind, name in logs.items():
            if kind == "processors" and kind not in metrics:
                self._error(
                    (*path, kind),
                    f"{dotted((name,))} is not in the pipeline for metrics; cost events and "
                    "metrics share their batches, so name it in both or in neither",
                )
            elif metrics.get(kind, name) != name:
                self._error(
                    (*path, kind),
                    f"found {dotted((name,))}, and the pipeline for metrics has "
                    f"{dotted((metrics[kind],))}; only one of the {kind} runs, name the same one",
                )

    def _pipeline_components(self, path: KeyPath, content: object) -> dict[str, str]:
        invalid = set()
        for inner, message in validation_errors(Pipeline, content):
            self._error_unless_reported((*path, *inner), message)
            invalid.add(inner[0] if inner else "")
        if "" in invalid:
            return {}
        chosen = {}
        for kind in _PIPELINE_TYPES:
            names: Any = _mapping(content).get(kind, [])
            name = None if kind in invalid else self._only_component(kind, names, (*path, kind))
            if name:
                chosen[kind] = name
        return chosen

    def _only_component(self, kind: str, names: list[str], path: KeyPath) -> str | None:
        """The one component of its kind in a pipeline."""
        self._check_defined(kind, names, path)
        if len(names) > 1 or (not names and kind != "processors"):
            limit = "at most" if kind == "processors" else "exactly"
            self._error(path, f"found {len(names)} {kind}; there must be {limit} one")
            return None
        return names[0] if names and names[0] in self._unused[kind] else None

    def _check_defined(self, kind: str, names: list[str], path: KeyPath) -> None:
        for name in names:
            if name not in _mapping(self._tree.get(kind)):
                near = closest_match(str(name), self._unused[kind])
                hint = f"; did you mean {near}?" if near else ""
                self._error(path, f"'{dotted((str(name),))}' is not defined under {kind}{hint}")

    def _without_pipelines(self) -> dict[str, str]:
        """The components of a file without pipelines."""
        chosen = {}
        for kind in _PIPELINE_TYPES:
            names = list(self._unused[kind])
            if len(names) == 1:
                chosen[kind] = names[0]
            elif names:
                self._error(
                    (kind,),
                    f"found {', '.join(names)}; write service.pipelines to say which one "
                    "runs, or remove the others",
                )
        return chosen

    def _use_authenticator(self, started: object) -> None:
        """Merge the extension that the receiver names; service.extensions must list it as well."""
        names = started if isinstance(started, list) else []
        self._check_defined("extensions", names, ("service", "extensions"))
        value = self._layer.values.get(_AUTHENTICATOR)
        if value is None:
            return
        name, location = str(value.value), Location(value.source, dotted(_AUTHENTICATOR))
        if name not in _mapping(self._tree.get("extensions")):
            message = f"'{dotted((name,))}' is not defined under extensions"
            self._layer.errors.append((location, message))
        elif name not in names:
            # The Collector would not start the extension either; the same file must work in both.
            message = f"'{dotted((name,))}' is missing from service.extensions; add it there"
            self._layer.errors.append((location, message))
        self._layer.merge(self._unused["extensions"].pop(name, Layer()))

    def _warn_unused(self, *, has_pipelines: bool) -> None:
        for kind, components in self._unused.items():
            for name, layer in components.items():
                # An unused component is validated as well: it may be meant to run later.
                self._layer.errors += layer.errors
                location = self._location((kind, name))
                if kind == "extensions":
                    self._layer.warnings.append(
                        f"{location}: the receiver that runs does not name it in "
                        "auth.authenticator, so it refuses no client"
                    )
                elif has_pipelines:
                    self._layer.warnings.append(f"{location}: is in no pipeline and has no effect")

    def _location(self, path: KeyPath) -> Location:
        """The line of a key, or of the nearest parent whose line is known."""
        known = path
        while known and known not in self._document.lines:
            known = known[:-1]
        line = self._document.lines[known] if known else 0
        source = f"{self._document.name}:{line}" if line else self._document.name
        return Location(source, dotted(path), line)

    def _error(self, path: KeyPath, message: str) -> None:
        self._layer.errors.append((self._location(path), message))

    def _error_unless_reported(self, path: KeyPath, message: str) -> None:
        if not any(overlap(path, reported) for reported in self._document.invalid):
            self._error(path, message)


def _mapping(value: object) -> dict[str, object]:
    """A section's content; {} for anything else, which the validation of `File` reports."""
    return value if isinstance(value, dict) else {}


def _component_error(kind: str, name: str) -> str | None:
    """Why a component of this name is not allowed; None if it is."""
    type_name, slash, label = name.partition("/")
    known = _COMPONENT_TYPES[kind]
    if slash and not label.strip():
        return f"a name is missing after the slash; write {type_name} or {type_name}/name"
    if type_name == known:
        return None
    singular = kind.removesuffix("s")
    if closest_match(type_name, [known]):
        return f"unknown {singular}; did you mean {known}?"
    alternative = _ALTERNATIVES.get(type_name)
    return (
        f"the {singular} {dotted((type_name,))} is not supported, the only one here is {known}; "
        f"{alternative or 'a Collector in front can run it and send on over OTLP'}"
    )
