"""Where two runs part: node by node, in the order in which they ended in the first.

    diff_runs -> record (both) -> compare -> RunDiff

Of a node that a fork took over only what it put out is compared: it read nothing and ran nothing inside.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import BaseModel, ConfigDict

from perdure_graph.definition import definition
from perdure_graph.events import ContainerCompleted, Event, NodeFinished
from perdure_graph.graph import Graph, graph_of
from perdure_graph.outcomes import Outcomes

if TYPE_CHECKING:
    from .handle import RunHandle

Field = Literal["missing", "inputs", "outputs", "handle", "status", "attempts"]
MAX_PATHS = 5
SHOWN_CHARS = 200
ABSENT = "(absent)"


class Step(BaseModel):
    """How one node ended in one frame; None where that is not known."""

    model_config = ConfigDict(frozen=True)

    key: str
    node_id: str
    frame: str
    title: str
    container: bool
    status: str
    outputs: dict[str, Any]
    inputs: dict[str, Any] | None = None
    handle: str | None = None
    attempts: int | None = None
    reused: bool = False


class Record(BaseModel):
    """What a run did, as far as it can be compared; `steps` in the order they ended."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    status: str
    outputs: dict[str, Any]
    steps: list[Step]


class Difference(BaseModel):
    """One difference: of a node (`key` is `it[3].k` for one in an item), or of the whole run where `key` is empty.

    path: where in the inputs or outputs, `items[3].price`. `a` and `b` are shortened to be shown.
    """

    model_config = ConfigDict(frozen=True)

    key: str
    title: str = ""
    field: Field
    path: str = ""
    a: str
    b: str


class RunDiff(BaseModel):
    """The differences of two runs; the first one is where they part.

    changed: nodes drawn otherwise in the graph of `b`; added, removed: nodes that only one graph has.
    """

    model_config = ConfigDict(frozen=True)

    a: str
    b: str
    same_graph: bool
    changed: list[str] = []
    added: list[str] = []
    removed: list[str] = []
    differences: list[Difference]

    @property
    def equal(self) -> bool:
        """Whether the runs did the same; their graphs may differ."""
        return not self.differences


async def diff_runs(a: RunHandle, b: RunHandle, *, attempts: bool = False) -> RunDiff:
    """Compare two runs as far as they have come.

    Raises:
        RunNotFound: one of them does not exist.
    """
    told = [await a.outcomes(), await b.outcomes()]
    records = [await record(a, told[0]), await record(b, told[1])]
    old, new = graph_of(told[0].graph), graph_of(told[1].graph)
    return RunDiff(
        a=a.run_id,
        b=b.run_id,
        same_graph=told[0].graph_hash == told[1].graph_hash,
        changed=[n for n in old.nodes if n in new.nodes and definition(old, n) != definition(new, n)],
        added=[n for n in new.nodes if n not in old.nodes],
        removed=[n for n in old.nodes if n not in new.nodes],
        differences=compare(records[0], records[1], attempts=attempts),
    )


async def record(handle: RunHandle, told: Outcomes) -> Record:
    """Read what a run did so far."""
    view = await handle.status(patient=True)
    events: list[Event] = []
    if view.seq:
        async for event in handle.events(live=False):
            events.append(event)
            if event.seq >= view.seq:
                break
    graph = graph_of(told.graph)
    return Record(run_id=handle.run_id, status=told.status, outputs=view.outputs, steps=steps_of(graph, told, events))


def steps_of(graph: Graph, told: Outcomes, events: list[Event]) -> list[Step]:
    """List the ends of nodes. Where the first events are no longer kept, nodes of the top frame are still known."""
    found: dict[str, Step] = {}
    for event in events:
        if isinstance(event, NodeFinished | ContainerCompleted):
            step = _step(event)
            known = told.nodes.get(event.node_id) if not event.frame else None
            if known is not None and known.items is None:
                # An event leaves out what is too large to show.
                step = step.model_copy(update={"outputs": known.outputs})
            found[step.key] = step
    early = [node_id for node_id in told.order if node_id not in found and not graph.nodes[node_id].type.hidden]
    return [*(_told(graph, told, node_id) for node_id in early), *found.values()]


def _step(event: NodeFinished | ContainerCompleted) -> Step:
    plain = event if isinstance(event, NodeFinished) else None
    return Step(
        key=event.frame + event.node_id,
        node_id=event.node_id,
        frame=event.frame,
        title=event.title,
        container=plain is None or plain.node_type in ("iteration", "loop"),
        status=event.status,
        outputs=event.outputs,
        inputs=plain.inputs if plain is not None and not plain.reused else None,
        handle=plain.handle if plain is not None else None,
        attempts=plain.attempts if plain is not None and not plain.reused else None,
        reused=plain is not None and plain.reused,
    )


def _told(graph: Graph, told: Outcomes, node_id: str) -> Step:
    node, known = graph.nodes[node_id], told.nodes[node_id]
    return Step(
        key=node_id,
        node_id=node_id,
        frame="",
        title=node.title,
        container=node.type.role == "container",
        status=known.status,
        outputs=known.outputs,
        handle=known.handle,
        reused=True,
    )


def compare(a: Record, b: Record, *, attempts: bool = False) -> list[Difference]:
    """List the differences in the order of the first run; what only the second did comes last."""
    left, right = {step.key: step for step in a.steps}, {step.key: step for step in b.steps}
    found: list[Difference] = []
    for key, step in left.items():
        other = right.get(key)
        if other is not None:
            found += _compare_steps(step, other, attempts=attempts)
        elif not _inside_reused(step, right):
            found.append(Difference(key=key, title=step.title, field="missing", a=step.status, b="did not end"))
    for key, step in right.items():
        if key not in left and not _inside_reused(step, left):
            found.append(Difference(key=key, title=step.title, field="missing", a="did not end", b=step.status))
    if a.status != b.status:
        found.append(Difference(key="", field="status", a=a.status, b=b.status))
    return [*found, *_compare_values("", "", "outputs", a.outputs, b.outputs)]


def _inside_reused(step: Step, other: dict[str, Step]) -> bool:
    """Whether a node lies in a container that the other run took over, whole or as far as this item."""
    if not step.frame:
        return False
    top = step.frame.partition("[")[0]
    known = other.get(top)
    if known is not None and known.reused:
        return True
    # An iteration taken over in part has no frames of its first items; one that ran in windows has none at all.
    frames = [s.frame for s in other.values() if s.frame.startswith(f"{top}[")]
    return known is not None and all(_index(frame, top) > _index(step.frame, top) for frame in frames)


def _index(frame: str, top: str) -> int:
    return int(frame.removeprefix(top + "[").partition("]")[0])


def _compare_steps(a: Step, b: Step, *, attempts: bool) -> Iterator[Difference]:
    if a.inputs is not None and b.inputs is not None:
        yield from _compare_values(a.key, a.title, "inputs", a.inputs, b.inputs)
    if a.status != b.status:
        yield Difference(key=a.key, title=a.title, field="status", a=a.status, b=b.status)
    if not (a.container or b.container) and a.handle != b.handle:
        yield Difference(key=a.key, title=a.title, field="handle", a=str(a.handle), b=str(b.handle))
    yield from _compare_values(a.key, a.title, "outputs", a.outputs, b.outputs)
    if attempts and None not in (a.attempts, b.attempts) and a.attempts != b.attempts:
        yield Difference(key=a.key, title=a.title, field="attempts", a=str(a.attempts), b=str(b.attempts))


def _compare_values(key: str, title: str, field: Field, a: Any, b: Any) -> Iterator[Difference]:
    for number, (path, left, right) in enumerate(parts(a, b)):
        if number == MAX_PATHS:
            return
        yield Difference(key=key, title=title, field=field, path=path, a=left, b=right)


def parts(a: Any, b: Any, path: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield where two JSON values differ, as (path, shortened value, shortened value); 5 equals 5.0."""
    if isinstance(a, dict) and isinstance(b, dict):
        left, right = cast("dict[str, Any]", a), cast("dict[str, Any]", b)
        for name in [*left, *(name for name in right if name not in left)]:
            at = f"{path}.{name}" if path else name
            if name in left and name in right:
                yield from parts(left[name], right[name], at)
            else:
                yield at, shown(left[name]) if name in left else ABSENT, shown(right[name]) if name in right else ABSENT
    elif isinstance(a, list) and isinstance(b, list):
        first, second = cast("list[Any]", a), cast("list[Any]", b)
        for index in range(max(len(first), len(second))):
            at = f"{path}[{index}]"
            if index < len(first) and index < len(second):
                yield from parts(first[index], second[index], at)
            else:
                yield (
                    at,
                    shown(first[index]) if index < len(first) else ABSENT,
                    shown(second[index]) if index < len(second) else ABSENT,
                )
    elif isinstance(a, bool) is not isinstance(b, bool) or a != b:
        yield (path, *_shown_apart(a, b))


def _shown_apart(a: Any, b: Any) -> tuple[str, str]:
    """Show two values; of long texts the part where they differ."""
    if not (isinstance(a, str) and isinstance(b, str)):
        return shown(a), shown(b)
    same = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    start = max(0, same - SHOWN_CHARS // 4)
    if max(len(a), len(b)) <= SHOWN_CHARS or start == 0:
        return shown(a), shown(b)
    return f"(from character {start}) {shown(a[start:])}", f"(from character {start}) {shown(b[start:])}"


def shown(value: Any) -> str:
    """Write a value as JSON, shortened."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}... [{len(text):,} characters]"
