"""`set_variables`: an operator overwrites variables of a run, all of them or none.

What may be written: conversation and environment variables that the graph declares, outputs that nodes of the top
frame already have, and inputs of the start node. What reads them later sees the new values; requests that were made
before do not change.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from . import outcomes
from .check_references import told
from .errors import CommandRefused, InvalidInputs
from .events import VariablesSet
from .graph import Graph
from .inputs import check_inputs
from .machine import Machine
from .nodes.start import StartVariable
from .state import RunState
from .values import ValueType, infer_type, matches

_DECLARED = ("conversation", "env")
_HIDDEN = "******"

Given = Mapping[str, Mapping[str, Any]]


def check(graph: Graph, state: RunState, given: Given) -> dict[str, dict[str, Any]]:
    """Check every variable and return the values to write.

    Raises:
        CommandRefused: names the node, the variable and the type that it takes.
    """
    if not any(given.values()):
        raise CommandRefused("cannot set variables: none was named; give {node: {name: value}}.")
    return {
        node: {name: _checked(graph, state, node, name, value) for name, value in values.items()}
        for node, values in given.items()
    }


def apply(m: Machine, given: Given) -> None:
    """Write what was checked. Secrets stay out of the event."""
    scope = m.state.root.scope
    assert scope is not None
    values = check(m.graph, m.state, given)
    for node, written in values.items():
        scope.setdefault(node, {}).update(written)
    outcomes.note_set(m, values.get("conversation", {}))
    secret = {name for name, kind in m.state.types.get("env", {}).items() if kind is ValueType.SECRET}
    if "env" in values:
        values["env"] = {name: _HIDDEN if name in secret else value for name, value in values["env"].items()}
    m.emit(VariablesSet, variables=values)


def _checked(graph: Graph, state: RunState, node: str, name: str, value: Any) -> Any:
    if node == "sys":
        raise CommandRefused(f"cannot set sys.{name}: system variables belong to the run.")
    if node in _DECLARED:
        declared = state.types.get(node, {})
        if name not in declared:
            raise CommandRefused(
                f"cannot set {node}.{name}: the graph declares no such variable. {_near(name, declared)}"
            )
        return _typed(node, name, value, declared[name])
    inputs = _start_variables(graph, node)
    if name in inputs:
        return _as_input(node, inputs[name], value)
    present = (state.root.scope or {}).get(node, {})
    if name not in present:
        raise CommandRefused(f"cannot set {node}.{name}: {_missing(graph, state, node, name)}")
    return _typed(node, name, value, _type_of(graph, state, node, name))


def _start_variables(graph: Graph, node: str) -> dict[str, StartVariable]:
    root = graph.nodes[graph.root]
    if node != root.id or root.type.name != "start":
        return {}
    return {variable.variable: variable for variable in getattr(root.data, "variables", ())}


def _as_input(node: str, variable: StartVariable, value: Any) -> Any:
    if value is not None:
        _typed(node, variable.variable, value, variable.value_type)
    try:
        return check_inputs((variable,), {variable.variable: value}, node)[variable.variable]
    except InvalidInputs as error:
        raise CommandRefused(f"cannot set {node}.{variable.variable}: {error}.") from error


def _type_of(graph: Graph, state: RunState, node: str, name: str) -> ValueType:
    """Type that a variable keeps: as declared for the run, else by its node, else that of its value."""
    known = state.types.get(node, {}).get(name)
    if known is None and node in graph.nodes:
        known = (told(graph.nodes[node].type.outputs, graph.nodes[node]) or {}).get(name)
    if known is None:
        known = infer_type((state.root.scope or {})[node][name])
    return ValueType.ANY if known is ValueType.NONE else known


def _typed(node: str, name: str, value: Any, expected: ValueType) -> Any:
    if not matches(expected, value):
        raise CommandRefused(f"cannot set {node}.{name}: it must be {expected}, got {infer_type(value)}.")
    return value


def _missing(graph: Graph, state: RunState, node: str, name: str) -> str:
    scope = state.root.scope or {}
    with_outputs = [known for known in graph.nodes if scope.get(known)]
    if node not in graph.nodes:
        return f"the graph has no node {node!r}. {_near(node, with_outputs)}"
    if node not in with_outputs:
        inside = f"it lies inside {graph.nodes[node].parent!r}" if graph.nodes[node].parent else "it has none yet"
        return f"node {node!r} has no outputs in the top frame ({inside}). Nodes that have: {_listed(with_outputs)}."
    return f"node {node!r} has no output {name!r}. {_near(name, scope[node])}"


def _near(name: str, known: Any) -> str:
    near = get_close_matches(name, list(known), 1)
    return f"Did you mean {near[0]!r}?" if near else f"There are: {_listed(known)}."


def _listed(names: Any) -> str:
    return ", ".join(map(repr, names)) or "none"
