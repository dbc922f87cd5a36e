"""`perdure status`, `events`, `result` and `list`: look at runs without changing them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

from perdure_graph.events import Event, TextStream
from perdure_graph.request import ENDED
from perdure_graph.view import RunView

from .board import Board, Row
from .connect import connect, patience, required
from .forms import command, render, render_held
from .output import OK, Output
from .progress import describe
from .run import report_end, show_outputs

if TYPE_CHECKING:
    from perdure.archive import LogEntry
    from perdure.handle import RunHandle


async def status(run_id: str, address: str | None, out: Output) -> int:
    """Write where a run is."""
    client = await connect(required(address))
    view = await client.run(run_id).status()
    show_view(view, out)
    return OK


def show_view(view: RunView, out: Output) -> None:
    """Write the state of a run: for people its nodes and open forms, or all of it as JSON."""
    if out.as_json:
        out.json(view.model_dump(mode="json"))
        return
    out.say(f"{view.run_id} ({view.graph}): {view.status}, {view.steps} steps, {view.elapsed:.1f} s")
    if view.waiting_for_worker:
        out.say(f"  waiting for a worker on queue {', '.join(map(repr, view.queues))}; start one with `perdure worker`")
    if view.deadline_at is not None and view.status not in ENDED:
        out.say(f"  deadline: {datetime.fromtimestamp(view.deadline_at / 1000).astimezone():%Y-%m-%d %H:%M:%S}")
    for reason in view.reasons:
        if reason.get("type") == "scheduled_pause" and (text := reason.get("message")):
            out.say(f"  reason: {text}")
    for node in view.nodes:
        row = Row(node.node_id, node.title, node.node_type, 0, attempts=node.attempt, done=node.done, total=node.total)
        frame = node.key.removesuffix(node.node_id)
        out.say(f"  {node.status:<10} {frame}{node.title} ({node.node_type})  {describe(row)}".rstrip())
    for form in view.forms:
        out.say(render(form))
        out.say(f"  answer: {command(view.run_id, form)}")
    for held in view.held:
        out.say(render_held(held))
        out.say(f"  run it again: perdure retry {view.run_id} {held.key}; end the run: perdure stop {view.run_id}")
    if view.error is not None:
        out.say(f"error: {view.error.message}")
    show_outputs(view.outputs, out)


async def log(run_id: str, address: str | None, out: Output, *, after: int, follow: bool) -> int:
    """Write what the run store has of a run and its windows, by position; with `follow` until the run ends."""
    handle = (await connect(required(address))).run(run_id)
    await show_log(handle.log(after, follow=follow), out)
    return OK


async def show_log(entries: AsyncIterator[LogEntry], out: Output) -> None:
    """Write the entries of a log: position, scope, and the event as `events` shows it."""
    boards: dict[str, Board] = {}
    async for entry in entries:
        if out.as_json:
            out.json({"position": entry.position, "scope": entry.scope, **entry.event.model_dump(mode="json")})
            continue
        board = boards.setdefault(entry.scope, Board())
        out.say(f"{entry.position:>6} {entry.scope:<16} {_line(entry.event, board)}")


async def events(run_id: str, address: str | None, out: Output, *, after: int, follow: bool) -> int:
    """Write the events of a run, one per line; with `follow` until the run ends."""
    server = required(address)
    handle = (await connect(server)).run(run_id)
    board = Board()
    async with patience(out.note, server) as heard:
        last = None if follow else (await handle.status(patient=True)).seq
        if last is not None and after >= last:
            return OK
        async with aclosing(_events(handle, after, live=follow)) as found:
            async for event in found:
                heard()
                _show_event(event, board, out)
                if last is not None and event.seq >= last:
                    break
    return OK


def _events(handle: RunHandle, after: int, *, live: bool) -> AsyncGenerator[Event]:
    return cast("AsyncGenerator[Event]", handle.events(after, live=live))


def _show_event(event: Event, board: Board, out: Output) -> None:
    if out.as_json:
        out.json(event.model_dump(mode="json"))
        return
    out.say(_line(event, board))


def _line(event: Event, board: Board) -> str:
    row = board.apply(event)
    at = datetime.fromtimestamp(event.at / 1000, UTC).strftime("%H:%M:%S.%f")[:-3]
    about: list[str] = []
    if row is not None:
        about.append(f"{getattr(event, 'frame', '')}{row.title} ({row.kind})")
    if isinstance(event, TextStream):
        about.append(f"{event.node_id}.{event.selector[-1]} as {event.key!r} writes it")
    for name in ("status", "index", "text", "to", "error", "action"):
        value = getattr(event, name, None)
        if value is not None and value != "":
            about.append(f"{name}={value!r}" if name in ("text", "error") else f"{name}={value}")
    return f"{event.seq:>5} {at} {event.type:<24} {' '.join(about)}".rstrip()


async def result(run_id: str, address: str | None, out: Output) -> int:
    """Wait for the end of a run and write its result; the exit code is that of `perdure run`."""
    client = await connect(required(address))
    return report_end(await client.run(run_id).result(), out)


async def list_runs(address: str | None, out: Output, *, status: str | None, limit: int) -> int:
    """Write the runs of a server, newest first."""
    client = await connect(required(address))
    runs = await client.list(status=status, limit=limit)
    if out.as_json:
        out.json({"runs": [run.model_dump(mode="json") for run in runs]})
        return OK
    width = max((len(run.run_id) for run in runs), default=0)
    for run in runs:
        started = run.started_at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        out.say(f"{run.run_id:<{width}}  {run.status:<18} {started}  {run.graph}")
    if not runs:
        out.note("no runs" + (f" with status {status!r}" if status else ""))
    return OK
