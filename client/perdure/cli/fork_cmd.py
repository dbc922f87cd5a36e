"""`perdure fork` and `perdure diff`: go on from a node of another run, and say where two runs part."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perdure_graph.errors import PerdureError
from perdure_graph.graph import Graph, graph_of

from . import given
from .connect import connect, patience, required
from .output import FAILED, INVALID, OK, Output

if TYPE_CHECKING:
    from perdure.diff import Difference, RunDiff
    from perdure.fork import ForkPlan

SHOWN = 20


@dataclass(frozen=True, slots=True)
class Changes:
    """What a fork does otherwise, as given on the command line."""

    from_node: str | None = None
    flow: Path | None = None
    pairs: list[str] = field(default_factory=list[str])
    inputs: Path | None = None
    variables: list[str] = field(default_factory=list[str])
    pins: Path | None = None


async def fork(run_id: str, changes: Changes, new_id: str | None, address: str | None, out: Output) -> int:
    """Start a fork; say what it takes over and what runs anew."""
    from perdure.fork import plan_fork
    from perdure.testing.cases import load_flow

    graph = load_flow(changes.flow) if changes.flow else None
    pins = given.read_pins(changes.pins) if changes.pins else None
    variables = given.read_variables(changes.variables)
    server = required(address)
    source = (await connect(server)).run(run_id)
    async with patience(out.note, server) as heard:
        told = await source.fork_source(graph)
        heard()
    if told.from_store:
        out.note("the server has forgotten the run: what is known of it comes from the run store")
    inputs = _inputs(changes, graph or graph_of(told.graph), out)
    planned = plan_fork(told, changes.from_node, graph=graph, inputs=inputs, variables=variables, pins=pins)
    forked = await source.start_fork(planned, new_id)
    out.run_id = forked.run_id
    _show_plan(planned, out)
    out.say(f"started {forked.run_id}, forked from {run_id}")
    out.say(f"follow it: perdure events {forked.run_id} --follow")
    if out.as_json:
        out.json(
            {
                "run_id": forked.run_id,
                "status": "running",
                "forked_from": run_id,
                "reused": list(planned.reused),
                "partial": dict(planned.partial),
                "anew": list(planned.anew),
                "skipped": list(planned.skipped),
                "changed": list(planned.changed),
            }
        )
    return OK


def _inputs(changes: Changes, graph: Graph, out: Output) -> dict[str, Any] | None:
    if not changes.pairs and changes.inputs is None:
        return None
    inputs = given.read_mapping(changes.inputs, "inputs") | given.convert(graph, given.read_pairs(changes.pairs))
    for note in given.undeclared(graph, inputs):
        out.note(note)
    return inputs


def _show_plan(planned: ForkPlan, out: Output) -> None:
    rows = {
        "changed": planned.changed,
        "reused": planned.reused,
        "in part": tuple(
            f"{node_id} ({_items(count)} reused, anew from {node_id}[{count}] on)"
            for node_id, count in planned.partial.items()
        ),
        "anew": tuple(node_id for node_id in planned.anew if node_id not in planned.partial),
        "skipped": planned.skipped,
    }
    for name, nodes in rows.items():
        if nodes:
            more = f", and {len(nodes) - SHOWN} more" if len(nodes) > SHOWN else ""
            out.say(f"  {name:<8} {', '.join(nodes[:SHOWN])}{more}")


def _items(count: int) -> str:
    return "first item" if count == 1 else f"first {count} items"


async def diff(a: str, b: str, address: str | None, out: Output, *, attempts: bool) -> int:
    """Write where two runs part; the exit code is 1 when they do, 2 when they cannot be compared."""
    try:
        server = required(address)
        client = await connect(server)
        async with patience(out.note, server) as heard:
            found = await client.diff(a, b, attempts=attempts)
            heard()
    except PerdureError as error:
        out.refuse(error)
        return INVALID
    _show_diff(found, out)
    if out.as_json:
        out.json({"equal": found.equal, **found.model_dump(mode="json")})
    return OK if found.equal else FAILED


def _show_diff(found: RunDiff, out: Output) -> None:
    if not found.same_graph:
        drawn = {"changed": found.changed, "added": found.added, "removed": found.removed}
        parts = [f"{what} {', '.join(nodes)}" for what, nodes in drawn.items() if nodes]
        out.say(f"the graphs differ: {'; '.join(parts) or 'in nothing that a node puts out'}")
    if found.equal:
        out.say(f"{found.a} and {found.b} did the same")
        return
    first, *rest = found.differences
    out.say(f"{found.a} and {found.b} part at {_place(first)}")
    _show_difference(first, out)
    if rest:
        out.say("then:")
    for difference in rest[:SHOWN]:
        out.say(f"  {_place(difference)}")
        _show_difference(difference, out)
    if len(rest) > SHOWN:
        out.say(f"and {len(rest) - SHOWN} more")


def _place(difference: Difference) -> str:
    if not difference.key:
        where = "the run"
    elif difference.title in ("", difference.key):
        where = difference.key
    else:
        where = f"{difference.key} ({difference.title})"
    if difference.field == "missing":
        return where
    path = difference.path
    return f"{where}, {difference.field}{'' if not path or path.startswith('[') else '.'}{path}"


def _show_difference(difference: Difference, out: Output) -> None:
    out.say(f"    - {difference.a}")
    out.say(f"    + {difference.b}")
