"""Forks: the request of a run that takes over what another did (see docs/fork.md).

    source.outcomes() -> plan_fork -> ForkPlan -> source.start_fork

A run that its server has forgotten tells its outcomes through the run store (`perdure_graph.recorded`). What is taken
over is chosen in `perdure_graph.fork_plan`; here the caller's changes are laid over it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from perdure_graph.errors import InvalidInputs
from perdure_graph.fork_plan import Split, split
from perdure_graph.graph import Graph, graph_of
from perdure_graph.outcomes import Outcomes, top_of
from perdure_graph.request import Asked, Pin, Reused, RunOptions, RunRequest
from perdure_graph.sizes import was_cut
from perdure_graph.step import check_request

Variables = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class ForkPlan:
    """A fork that could be started.

    reused: nodes taken over whole, in the order they ended; partial: iterations of which so many first items are.
    anew: nodes that run, or that what runs may skip; skipped: those that stay skipped.
    changed: nodes that are new in the graph or drawn otherwise.
    """

    source: Outcomes
    graph: Graph
    request: RunRequest
    reused: tuple[str, ...]
    partial: Mapping[str, int]
    anew: tuple[str, ...]
    skipped: tuple[str, ...]
    changed: tuple[str, ...]


def plan_fork(
    source: Outcomes,
    from_node: str | None = None,
    *,
    graph: Graph | None = None,
    inputs: Mapping[str, Any] | None = None,
    variables: Variables | None = None,
    pins: Mapping[str, Pin | Mapping[str, Any]] | None = None,
    options: RunOptions | None = None,
) -> ForkPlan:
    """Plan a fork; the arguments are those of `RunHandle.fork`.

    Raises:
        InvalidInputs: the run cannot be entered there, a variable cannot be changed, or nothing would run anew.
    """
    old = graph_of(source.graph)
    new = graph or old
    given = variables or {}
    _check_names(source, given)
    source = _told_anew(source, new, inputs or {}, given)
    pinned = source.pins if pins is None else _read_pins(pins)
    if from_node is None:
        anew = _otherwise_pinned(new, source.pins, pinned) + ([new.root] if inputs is not None else [])
        found = split(source, old, new, anew=anew, altered=[name for name in given if name in new.nodes])
    else:
        found = split(source, old, new, from_node)
    if not found.anew:
        raise InvalidInputs(
            f"nothing of run {source.run_id!r} would run anew: all its nodes ended well and the graph is the same. "
            "Name a node to begin with, or change the graph, an input or the outputs of a node.",
            field="from_node",
        )
    asked = source.asked.model_copy(update={"inputs": source.asked.inputs | dict(inputs or {})})
    asked = _set_scopes(asked, given)
    request = RunRequest(
        graph=new.document,
        pins=pinned,
        options=options or source.options,
        forked_from=source.run_id,
        **{name: getattr(asked, name) for name in Asked.model_fields},
    )
    reuse = _set_outputs(found, given)
    if inputs is not None and new.root in reuse:
        reuse[new.root] = _with_inputs(new, request, reuse[new.root])
    return ForkPlan(
        source=source,
        graph=new,
        request=request.model_copy(update={"reuse": reuse}),
        reused=tuple(node_id for node_id, known in reuse.items() if known.items is None),
        partial={node_id: known.items for node_id, known in reuse.items() if known.items is not None},
        anew=found.anew,
        skipped=found.skipped,
        changed=found.changed,
    )


def _check_names(source: Outcomes, variables: Variables) -> None:
    """Check that changed variables are there to be changed; what cannot be is said later."""
    for node_id, values in variables.items():
        known = source.nodes.get(node_id)
        if node_id in ("conversation", "sys", "env") or (known is not None and known.items is not None):
            continue
        field = f"variables.{node_id}"
        if known is None and node_id not in source.unfinished:
            text = f"no node {node_id!r} of run {source.run_id!r} ended. {_near(node_id, source.order)}"
            raise InvalidInputs(f"cannot set variables of {node_id!r}: {text}", node=node_id, field=field)
        missing = [name for name in values if known is not None and name not in known.outputs]
        if known is not None and missing:
            text = f"cannot set {node_id}.{missing[0]}: node {node_id!r} put out no {missing[0]!r}."
            raise InvalidInputs(
                f"{text} {_near(missing[0], known.outputs)}", node=node_id, field=f"{field}.{missing[0]}"
            )


def _near(name: str, known: Iterable[str]) -> str:
    listed = list(known)
    near = get_close_matches(name, listed, 1)
    return f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(listed) or 'none'}."


def _told_anew(source: Outcomes, graph: Graph, inputs: Mapping[str, Any], variables: Variables) -> Outcomes:
    """Take what is given now from the list of what is not known whole.

    Raises:
        InvalidInputs: an input of the run is not known, and not given.
    """
    if not source.lost:
        return source
    told = {graph.root: inputs, **variables}
    lost = {node_id: [n for n in names if n not in told.get(node_id, {})] for node_id, names in source.lost.items()}
    unknown = [name for name in lost.get(graph.root, ()) if was_cut(source.asked.inputs.get(name))]
    if unknown:
        raise InvalidInputs(
            f"input {unknown[0]!r} of run {source.run_id!r} was too large to be recorded whole, and the server has "
            f"forgotten the run: give it anew with `inputs`.",
            node=graph.root,
            field=unknown[0],
        )
    return source.model_copy(update={"lost": {node_id: names for node_id, names in lost.items() if names}})


def _read_pins(pins: Mapping[str, Pin | Mapping[str, Any]]) -> dict[str, Pin]:
    read: dict[str, Pin] = {}
    for name, pin in pins.items():
        try:
            read[name] = Pin.model_validate(pin)
        except ValidationError as error:
            detail = error.errors()[0]
            place = ".".join(["pins", name, *map(str, detail["loc"])])
            raise InvalidInputs(f"{place}: {detail['msg']}", field=place) from error
    return read


def _otherwise_pinned(graph: Graph, old: Mapping[str, Pin], new: Mapping[str, Pin]) -> list[str]:
    """List the nodes of the top frame that answer otherwise because of their pins, or those of nodes inside them."""
    names = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    found: list[str] = []
    for node in graph.nodes.values():
        if node.id in names or f"type:{node.type.name}" in names or any(n.endswith(f".{node.id}") for n in names):
            found.append(top_of(graph, node).id)
    return found


def _set_scopes(asked: Asked, variables: Variables) -> Asked:
    if "env" in variables:
        text = "variables of 'env' belong to the graph: change them there and give `graph`."
        raise InvalidInputs(text, field="variables.env")
    conversation = asked.conversation | dict(variables.get("conversation", {}))
    return asked.model_copy(
        update={"conversation": conversation, "sysvars": asked.sysvars | dict(variables.get("sys", {}))}
    )


def _set_outputs(found: Split, variables: Variables) -> dict[str, Reused]:
    """Lay changed variables over what is taken over; a write of an earlier node to one of them is left out."""
    reuse = dict(found.reuse)
    for node_id, values in variables.items():
        if node_id in ("conversation", "sys"):
            continue
        known = reuse.get(node_id)
        if known is None or known.items is not None:
            taken = ", ".join(name for name, entry in reuse.items() if entry.items is None) or "none"
            raise InvalidInputs(
                f"cannot set variables of {node_id!r}: it is not taken over, so it puts out its own. Taken over are: "
                f"{taken}.",
                node=node_id,
                field=f"variables.{node_id}",
            )
        reuse[node_id] = known.model_copy(update={"outputs": known.outputs | dict(values)})
    changed = {("conversation", name) for name in variables.get("conversation", {})}
    for node_id, known in reuse.items():
        if any(write.selector in changed for write in known.writes):
            kept = tuple(write for write in known.writes if write.selector not in changed)
            reuse[node_id] = known.model_copy(update={"writes": kept})
    return reuse


def _with_inputs(graph: Graph, request: RunRequest, known: Reused) -> Reused:
    """Let a root that is taken over put out the inputs as they are now."""
    inputs = check_request(graph, request)
    declared = graph.nodes[graph.root].type.outputs(graph.nodes[graph.root].data)
    names = [name for name in inputs if name in declared] if graph.nodes[graph.root].type.name == "start" else inputs
    return known.model_copy(update={"outputs": known.outputs | {name: inputs[name] for name in names}})
