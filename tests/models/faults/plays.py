"""How cases are played: through client, server and worker; those that a flow cannot ask for, by the runtime itself."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, cast

from fakes.adapters import ask
from perdure.handle import RunHandle
from perdure_activities.models.protocol import ModelFault
from perdure_graph.models.effects import InvokeModel, ModelAnswer
from perdure_graph.models.messages import ThinkingPart, ToolSpec, user
from perdure_store.read import Store

from .case import Check, Played
from .desk import Desk, flow
from .judge import Screen, Seen, judged, of_screen

_LIMIT_S = 120.0
_TOLD_BYTES = 2048
WEATHER = ToolSpec(name="weather", description="the weather", parameters={"type": "object", "properties": {}})

Play = Callable[[Desk, Played, list[str]], Awaitable[Seen]]


async def play(desk: Desk, played: Played) -> list[Check]:
    """Play a case and say what holds."""
    runs: list[str] = []
    async with asyncio.timeout(_LIMIT_S):
        seen = await PLAYS[played.case.play](desk, played, runs)
    async with Store.open(desk.stack.store_url) as store:
        rows = [row for run_id in runs for row in (await store.usage(run_id=run_id)).rows]
    (health,) = (await desk.ledger.health([played.id])).values()
    return judged(played, seen, await desk.requests(played), rows, health)


async def begin(desk: Desk, played: Played, runs: list[str], **more: Any) -> RunHandle:
    """Start a run of the case's flow."""
    run_id = f"{played.id}-{uuid.uuid4().hex[:8]}"
    runs.append(run_id)
    memory = more.pop("memory", False)
    return await desk.client.start(flow(played, memory=memory), query=more.pop("query", "q"), run_id=run_id, **more)


async def watched(handle: RunHandle) -> Seen:
    """Read the events of a run to its end."""
    screen = Screen()
    async for event in handle.events():
        screen.take(event)
    result = await handle.result()
    return of_screen(screen, result.outputs["answer"] if result.status == "succeeded" else None)


async def run(desk: Desk, played: Played, runs: list[str]) -> Seen:
    """Run the flow as often as the case wants; the last one is what is seen."""
    seen = await watched(await begin(desk, played, runs))
    for _ in range(played.case.runs - 1):
        seen = await watched(await begin(desk, played, runs))
    return seen


async def run_and_read_error(desk: Desk, played: Played, runs: list[str]) -> Seen:
    """Run it, and look at how long the error is."""
    seen = await run(desk, played, runs)
    page = seen.error.count("x")
    seen.events = [*seen.events, Check("bytes of the page in the error", "1 to 2048", page, 0 < page <= _TOLD_BYTES)]
    return seen


async def run_and_let_go(desk: Desk, played: Played, runs: list[str]) -> Seen:
    """Run it, and look whether the provider saw the connection end."""
    seen = await run(desk, played, runs)
    seen.outputs = {"let go by us": (await _let_go(desk, played)) is not None}
    return seen


async def redirected(desk: Desk, played: Played, runs: list[str]) -> Seen:
    """Run it, and look what came to where it leads."""
    seen = await run(desk, played, runs)
    seen.outputs = {"requests elsewhere": len(desk.elsewhere.requests)}
    return seen


async def second_turn(desk: Desk, played: Played, runs: list[str]) -> Seen:
    """Two turns of one conversation."""
    first = await begin(desk, played, runs, memory=True, query="my name is Ada")
    await watched(first)
    second = await begin(desk, played, runs, memory=True, query="who am I?", conversation_id=first.run_id)
    seen = await watched(second)
    lengths: list[int] = []
    for entry in await desk.requests(played):
        body = cast("dict[str, Any]", entry.body)
        messages = cast("list[Any]", body.get("messages") or body.get("input"))
        lengths.append(sum(1 for message in messages if message.get("role") != "system"))
    seen.outputs = {"messages": tuple(lengths)}
    return seen


async def long_wait(desk: Desk, played: Played, runs: list[str]) -> Seen:
    """Look when the server will try again, then stop the run."""
    handle = await begin(desk, played, runs)
    described = desk.client.temporal.get_workflow_handle(handle.run_id)
    wait = 0.0
    while not wait:
        await asyncio.sleep(0.2)
        for pending in (await described.describe()).raw_description.pending_activities:
            if pending.attempt == 2 and pending.HasField("next_attempt_schedule_time"):
                wait = pending.next_attempt_schedule_time.ToDatetime().timestamp() - _utc_now()
    await handle.stop()
    seen = await watched(handle)
    seen.outputs = {"seconds until the next attempt": wait}
    return seen


def _utc_now() -> float:
    from datetime import UTC, datetime

    return datetime.now(UTC).replace(tzinfo=None).timestamp()


async def stopped(desk: Desk, played: Played, runs: list[str]) -> Seen:
    """Stop a run once its text is seen."""
    handle = await begin(desk, played, runs)
    screen, asked = Screen(), 0.0
    async for event in handle.events():
        screen.take(event)
        if screen.live and not asked:
            asked = time.monotonic()
            await handle.stop()
    seen = of_screen(screen, None)
    ended = await _let_go(desk, played)
    seen.outputs = {
        "let go by us": ended is not None,
        "seconds from the stop to the end of the connection": (ended or 1e9) - asked,
    }
    return seen


async def _let_go(desk: Desk, played: Played) -> float | None:
    """When the provider saw the connection end, by the clock that all processes share."""
    for _ in range(100):
        (entry,) = await desk.requests(played)
        if entry.done:
            return entry.aborted_at
        await asyncio.sleep(0.1)
    return None


async def killed(desk: Desk, played: Played, runs: list[str]) -> Seen:
    """Kill the worker once the reader has seen text, and start another one."""
    handle = await begin(desk, played, runs)
    screen = Screen()
    reading = asyncio.create_task(_read(handle, screen))
    while screen.live < 5:
        await asyncio.sleep(0.02)
    await desk.stack.kill_worker()
    await desk.stack.restart_worker()
    await reading
    return of_screen(screen, (await handle.outputs())["answer"])


async def _read(handle: RunHandle, screen: Screen) -> None:
    async for event in handle.events():
        screen.take(event)


def _effect(played: Played, runs: list[str], **more: Any) -> InvokeModel:
    if not runs:
        runs.append(f"{played.id}-{uuid.uuid4().hex[:8]}")
    return cast(
        "InvokeModel",
        ask(run=runs[0], key=more.pop("key", "say"), provider=played.provider, model=played.id, **more),
    )


async def tools(desk: Desk, played: Played, runs: list[str]) -> Seen:
    """Ask with a tool, by the runtime."""
    answer = await desk.runtime.invoke(_effect(played, runs, tools=(WEATHER,)), 1)
    calls = answer.tool_calls
    found: dict[str, Any] = {
        "calls": len(calls),
        "ids": len({call.id for call in calls}),
        "names": tuple(call.name for call in calls),
        "arguments": tuple(call.arguments for call in calls),
    }
    wanted = played.expect.outputs.get("broken", ())
    broken = tuple(call.broken or "" for call in calls if call.broken)
    pairs = zip(wanted, broken, strict=False)
    checks = [Check("why a call is marked", why, said, why in said) for why, said in pairs]
    # What is marked is told by its words, as the case has them.
    found["broken"] = wanted if len(broken) == len(wanted) else broken
    checks.append(Check.same("arguments that may be used are JSON", True, _all_json(answer)))
    return Seen("succeeded", outputs=found, text=answer.text, events=checks)


def _all_json(answer: ModelAnswer) -> bool:
    usable = [call.arguments for call in answer.tool_calls if not call.broken]
    return all(isinstance(json.loads(text), dict) for text in usable)


async def sent_back(desk: Desk, played: Played, runs: list[str]) -> Seen:
    """Let the model think, then send what it thought back with the next question."""
    first = await desk.runtime.invoke(_effect(played, runs), 1)
    blocks = [part for part in first.message.content if isinstance(part, ThinkingPart)]
    messages = (user("hello"), first.message, user("and?"))
    await desk.runtime.invoke(_effect(played, runs, key="again", messages=messages), 1)
    entries = await desk.requests(played)
    sealed = [part.signature or part.data for part in blocks]
    there = all(json.dumps(seal)[1:-1] in json.dumps(entries[-1].body) for seal in sealed)
    checks = [
        Check.same("statuses of both requests", [200, 200], [entry.status for entry in entries]),
        Check.same("the signature is in the second request", True, bool(sealed) and all(sealed) and there),
    ]
    return Seen("succeeded", outputs={"blocks": len(blocks)}, events=checks)


async def total(desk: Desk, played: Played, runs: list[str]) -> Seen:
    """Ask with a short limit, by the runtime."""
    try:
        await desk.runtime.invoke(_effect(played, runs, total_s=3.0), 1)
    except ModelFault as fault:
        gone = await _let_go(desk, played)
        checks = [Check.same("the provider saw the connection end", True, gone is not None)]
        return Seen("failed", outputs={"kind": fault.kind}, error=fault.message, events=checks)
    return Seen("succeeded")


async def cancelled(desk: Desk, played: Played, runs: list[str]) -> Seen:
    """Cancel a call of the runtime in mid-stream."""
    task = asyncio.create_task(desk.runtime.invoke(_effect(played, runs), 1))
    while not await desk.requests(played):
        await asyncio.sleep(0.1)
    await asyncio.sleep(0.5)
    asked = time.monotonic()
    task.cancel()
    await asyncio.wait((task,))
    ended = await _let_go(desk, played)
    name = "seconds from the cancel to the end of the connection"
    return Seen("stopped" if task.cancelled() else "succeeded", outputs={name: (ended or 1e9) - asked})


PLAYS: dict[str, Play] = {
    each.__name__: each
    for each in (
        run,
        run_and_read_error,
        run_and_let_go,
        redirected,
        second_turn,
        long_wait,
        stopped,
        killed,
        tools,
        sent_back,
        total,
        cancelled,
    )
}
