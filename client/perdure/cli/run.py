"""`perdure run` and `perdure start`: check everything here, start the run, follow it to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from perdure_graph.checks import check_runnable
from perdure_graph.errors import CommandRefused
from perdure_graph.graph import Graph
from perdure_graph.request import Pin, RunError, RunOptions, RunRequest, RunResult
from perdure_graph.step import check_request

from . import given
from .connect import Demo, Server, connect, connected, required
from .follow import Follower, Waiting, interrupts, settled, unless
from .forms import Answers, command, option, render, render_held
from .output import FAILED, INTERRUPTED, OK, Output
from .progress import view_for

if TYPE_CHECKING:
    from perdure.client import Client
    from perdure.handle import RunHandle


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for on the command line."""

    flow: Path
    pairs: list[str] = field(default_factory=list[str])
    inputs: Path | None = None
    pins: Path | None = None
    query: str | None = None
    conversation: Path | None = None
    conversation_id: str | None = None
    run_id: str | None = None
    options: RunOptions = field(default_factory=RunOptions)
    submits: list[str] = field(default_factory=list[str])


def options_of(
    max_parallel: int | None, on_failure: Literal["fail", "wait"], deadline: float | None, batch: bool
) -> RunOptions:
    """Turn options of the command line into those of a run."""
    priority = "batch" if batch else "interactive"
    options = RunOptions(on_failure=on_failure, deadline_s=deadline, priority=priority)
    return options if max_parallel is None else options.model_copy(update={"max_parallel": max_parallel})


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run that is known to be acceptable."""

    graph: Graph
    inputs: dict[str, Any]
    pins: dict[str, Pin]
    conversation: dict[str, Any]
    options: RunOptions
    answers: Answers

    async def start(self, client: Client, asked: Asked) -> RunHandle:
        """Start it."""
        return await client.start(
            self.graph,
            self.inputs,
            run_id=asked.run_id,
            query=asked.query,
            conversation=self.conversation,
            conversation_id=asked.conversation_id,
            pins=self.pins,
            options=self.options,
        )


def prepare(asked: Asked, out: Output) -> Prepared:
    """Read and check everything that was given, before any server is started.

    Raises:
        InvalidGraph: the flow cannot be loaded, or cannot run with these pins.
        InvalidInputs: an input, a pin or a file does not fit.
    """
    graph = Graph.load(asked.flow)
    pins = given.read_pins(asked.pins)
    inputs = given.read_mapping(asked.inputs, "inputs") | given.convert(graph, given.read_pairs(asked.pairs))
    conversation = given.read_mapping(asked.conversation, "conversation")
    answers = given.read_answers(asked.submits)
    given.check_answers(graph, answers)
    for note in [*given.unknown_pins(graph, pins), *given.undeclared(graph, inputs)]:
        out.note(note)
    check_runnable(graph, pins)
    check_request(graph, RunRequest(graph=graph.document, inputs=inputs))
    return Prepared(graph, inputs, pins, conversation, asked.options, Answers(answers))


async def start(asked: Asked, address: str | None, out: Output) -> int:
    """Start a run on a server and leave it there."""
    prepared = prepare(asked, out)
    handle = await prepared.start(await connect(required(address)), asked)
    out.run_id = handle.run_id
    out.say(f"started {handle.run_id}")
    out.say(f"follow it: perdure events {handle.run_id} --follow")
    if out.as_json:
        out.json(as_json(RunResult(run_id=handle.run_id, status="running", outputs={})))
    return OK


async def run(asked: Asked, server: Server | None, out: Output, demo: Demo | None = None) -> int:
    """Run a flow to its end, on a server or on a stack of our own."""
    prepared = prepare(asked, out)
    async with connected(server, out.note, worker_process=False, demo=demo) as client:
        handle = await prepared.start(client, asked)
        out.run_id = handle.run_id
        out.say(f"run {handle.run_id}: {prepared.graph.name}, {len(prepared.graph.nodes)} nodes")
        return await to_the_end(handle, prepared.answers, server, out)


async def to_the_end(handle: RunHandle, answers: Answers, server: Server | None, out: Output) -> int:
    """Follow a run to its end, or until it waits for somebody else; stop it on Ctrl-C where the server is ours."""
    view = view_for(out.people)
    follower = Follower(handle, view, answers, out)
    with interrupts() as asked:
        following = asyncio.create_task(follower.follow(server))
        try:
            if await unless(asked, following):
                ended = following.result()
            elif server is None:
                view.hold()
                out.note("stopping the run (Ctrl-C again leaves at once)")
                with suppress(CommandRefused):
                    await handle.stop("interrupted")
                ended = await handle.result()
            else:
                ended = None
        except BaseException:
            view.close()
            raise
    view.close(ended.status if isinstance(ended, RunResult) else None)
    match ended:
        case RunResult():
            return report_end(ended, out, follower.simulated)
        case Waiting():
            return await _left_waiting(handle, ended, server, out)
        case None:
            return _detached(handle.run_id, out)


def _detached(run_id: str, out: Output) -> int:
    out.note(f"detached; the run goes on. Follow it: perdure events {run_id} --follow")
    out.note(f"its result: perdure result {run_id}; end it: perdure stop {run_id}")
    if out.as_json:
        out.json(as_json(RunResult(run_id=run_id, status="running", outputs={})))
    return INTERRUPTED


async def _left_waiting(handle: RunHandle, left: Waiting, server: Server | None, out: Output) -> int:
    view = await handle.status(patient=True)
    first = left.forms[0] if left.forms else left.held[0]
    how = _how_to_go_on(handle.run_id, left, on_server=server is not None)
    for form in left.forms:
        out.note(render(form))
    for held in left.held:
        out.note(render_held(held))
    out.note(f"paused: {how}")
    if out.as_json:
        kind = "FormOpen" if left.forms else "NodeHeld"
        error = RunError(message=how, type=kind, node=first.node_id, title=first.title)
        result = RunResult(
            run_id=handle.run_id,
            status="paused",
            outputs=view.outputs,
            error=error,
            elapsed=view.elapsed,
            steps=view.steps,
        )
        out.json(as_json(result))
    return FAILED


def _how_to_go_on(run_id: str, left: Waiting, *, on_server: bool) -> str:
    if on_server:
        if left.forms:
            return f"The run waits. Answer with `{command(run_id, left.forms[0])}`."
        return (
            f"The run waits for an operator: `perdure retry {run_id} {left.held[0].key}`, or `perdure stop {run_id}`."
        )
    again = f"with `{option(left.forms[0])}`, on a terminal, or " if left.forms else ""
    return (
        f"Nobody is here to answer, so the run ends with this process. Run it again {again}on a server "
        "(`perdure dev`, then `perdure start`)."
    )


def report_end(result: RunResult, out: Output, simulated: Collection[str] | None = None) -> int:
    """Write how a run ended and give the exit code. simulated: nodes that a fake provider answered, where known."""
    out.say(f"{result.status} in {result.elapsed:.2f} s, {result.steps} steps")
    if simulated:
        out.note(f"simulated: no real model was asked by {', '.join(map(repr, simulated))}")
    if result.error is not None:
        place = f"node {result.error.title or result.error.node!r}: " if result.error.node else ""
        out.note(f"error: {place}{result.error.message}")
    if out.as_json:
        known = {} if simulated is None else {"simulated": bool(simulated)}
        out.json(as_json(result) | known)
    else:
        show_outputs(result.outputs, out)
    return OK if settled(result.status) else FAILED


def as_json(result: RunResult) -> dict[str, Any]:
    """Write a result as the object that `--json` ends with."""
    return {
        "run_id": result.run_id,
        "status": result.status,
        "outputs": result.outputs,
        "error": None if result.error is None else result.error.model_dump(),
        "elapsed": result.elapsed,
        "steps": result.steps,
    }


def show_outputs(outputs: Mapping[str, Any], out: Output) -> None:
    """Write outputs for people: text as it is, all else as JSON."""
    import json

    for name, value in outputs.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2, default=str)
        out.say(f"{name}:\n{text}" if "\n" in text else f"{name}: {text}")
