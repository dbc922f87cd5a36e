"""Which variables the nodes of a graph name, and whether anything can have that name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar, cast

from .graph import Graph, Node
from .nodes.base import no_outputs
from .report import Finding
from .templates import references

T = TypeVar("T")

SYSTEM = frozenset(
    {
        "query",
        "files",
        "conversation_id",
        "dialogue_count",
        "user_id",
        "app_id",
        "workflow_id",
        "workflow_run_id",
        "timestamp",
        *("document_id", "original_document_id", "batch", "dataset_id", "datasource_type", "datasource_info"),
        "invoke_from",
    }
)
_OPEN_TYPES = frozenset({"tool", "agent", "datasource", "trigger-webhook", "trigger-plugin"})
_SELECTOR_KEYS = frozenset({"variable", "query", "file"})
_VERBATIM = frozenset({"code", "template", "jinja2_text", "title", "desc", "description", "label"})
_VARIABLE_MARKS = ("type", "input_type", "value_type")


def check_references(graph: Graph) -> list[Finding]:
    """Report selectors and `{{#...#}}` references that name what does not exist."""
    declared: dict[str, frozenset[str] | None] = {}
    findings: list[Finding] = []
    for spec in graph.document.nodes:
        seen: set[tuple[str, tuple[str, ...]]] = set()
        for field, selector, in_text in named_variables(spec.data):
            message = _problem(graph, selector, declared)
            if message is None or (field, selector) in seen:
                continue
            seen.add((field, selector))
            effect = "it stays as its own name in the text." if in_text else "it has no value."
            findings.append(
                Finding(
                    level="warning",
                    message=f"{message}; {effect}",
                    node=spec.id,
                    title=graph.nodes[spec.id].title,
                    field=field,
                    next_step="Choose the variable again in the editor.",
                )
            )
    return findings


def named_variables(data: dict[str, Any]) -> Iterator[tuple[str, tuple[str, ...], bool]]:
    """List the variables that the data of a node names: field, selector, whether within a text."""
    yield from _walk(data, "data", "")


def _walk(value: Any, path: str, key: str) -> Iterator[tuple[str, tuple[str, ...], bool]]:
    match value:
        case str():
            if key not in _VERBATIM and "{{#" in value:
                for selector in references(value):
                    yield path, selector, True
        case list():
            items = cast("list[Any]", value)
            if (key.endswith("selector") or key in _SELECTOR_KEYS) and is_selector(items):
                yield path, tuple(items), False
                return
            for index, item in enumerate(items):
                # an aggregator's `variables` are selectors themselves
                yield from _walk(item, f"{path}.{index}", "selector" if key == "variables" else key)
        case dict():
            mapping = cast("dict[str, Any]", value)
            if mapping.get("enabled") is False or mapping.get("group_enabled") is False:
                return
            is_variable = any(mapping.get(mark) == "variable" for mark in _VARIABLE_MARKS)
            for name, item in mapping.items():
                yield from _walk(item, f"{path}.{name}", "selector" if is_variable and name == "value" else name)
        case _:
            return


def is_selector(items: Sequence[Any]) -> bool:
    """Whether a list can be a selector: at least two texts."""
    return len(items) >= 2 and all(isinstance(item, str) for item in items)


def _problem(graph: Graph, selector: tuple[str, ...], declared: dict[str, frozenset[str] | None]) -> str | None:
    head, name = selector[0], selector[1]
    written = ".".join(selector)
    match head:
        case "sys":
            return None if name in SYSTEM else f"there is no system variable {name!r} ({written})"
        case "env" | "conversation":
            kind = "environment" if head == "env" else "conversation"
            variables = graph.document.environment if head == "env" else graph.document.conversation
            if any(variable.name == name for variable in variables):
                return None
            return f"there is no {kind} variable {name!r} ({written})"
        case "rag":
            return None
        case _:
            node = graph.nodes.get(head)
    if node is None:
        return f"{written} names node {head!r}, which does not exist"
    if head not in declared:
        declared[head] = outputs_of(node)
    names = declared[head]
    if names is None or name in names or name.startswith(("sys.", "env.", "conversation.")):
        return None
    return f"node {head!r} ({node.title}) has no output {name!r} ({written})"


def outputs_of(node: Node) -> frozenset[str] | None:
    """Name what a node puts out; None when that is known only when it runs."""
    if node.type.outputs is no_outputs or node.type.name in _OPEN_TYPES:
        return None
    outputs = told(node.type.outputs, node)
    if outputs is None:
        return None
    names = {*outputs, *(default.key for default in node.data.default_value)}
    if node.data.error_strategy is not None:
        names |= {"error_message", "error_type"}
    if node.type.role == "container":
        names |= {"item", "index"}
    return frozenset(names)


def told(ask: Callable[[Any], T], node: Node) -> T | None:
    """Ask a node type about data; None when it cannot say.

    Node types may be anybody's and data anything: what they cannot read fails the node when it runs, not the
    load.
    """
    try:
        return ask(node.data)
    except (ValueError, TypeError, LookupError, AttributeError):
        return None
