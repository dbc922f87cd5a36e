"""Agents through the client and the command line, on a real server, with a worker that asks the fake provider."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from fakes.command_line import Done, against
from perdure import AgentConfig, Client, CommandRefused, RunHandle
from perdure.approvals import Approval
from perdure_graph.events import AgentThought, Event, FormRequired, NodeFinished, RunFinished
from perdure_worker.embedded import EmbeddedStack, embedded
from perdure_worker.settings import WorkerSettings

pytestmark = pytest.mark.xdist_group("agents-client")

MODEL = {"provider": "openai", "name": "gpt-4o"}
CALCULATOR = {"provider_type": "builtin", "provider_id": "calculator", "tool_name": "calculator"}
PLAIN = AgentConfig.model_validate({"name": "desk", "model": MODEL, "tools": [CALCULATOR]})
ASKING = AgentConfig.model_validate(
    {"name": "careful", "model": MODEL, "tools": [CALCULATOR | {"approval": "required"}]}
)
BOSS = AgentConfig.model_validate(
    {
        "name": "boss",
        "model": MODEL,
        "tools": [
            {
                "provider_type": "agent",
                "tool_name": "ask_helper",
                "agent": ASKING.model_dump() | {"name": "helper", "instruction": "Task: please compute"},
            }
        ],
    }
)


def doing(config: AgentConfig, task: str) -> AgentConfig:
    """The agent with a task that the model finds in its system text, whatever is said to it later."""
    return config.model_copy(update={"instruction": f"Task: {task}"})


def asks(name: str, arguments: dict[str, Any], text: str = "") -> dict[str, Any]:
    return {"text": text, "tool_calls": [{"name": name, "arguments": arguments}]}


def steps() -> list[dict[str, Any]]:
    """Tasks and what the model says to them: first with tools, then without."""
    work = {"expression": "6*7"}
    turns: list[tuple[str, list[Any]]] = [
        ("please compute", [asks("calculator", work), "The helper says 42."]),
        ("delegate", [asks("ask_helper", {"query": "please compute"}), "Done: 42."]),
        *[
            (f"sum {way}", [asks("calculator", work, "Let me see."), "It is 42."])
            for way in ("plain", "yes", "other", "cli")
        ],
        ("sum no", [asks("calculator", work), "Then not."]),
        ("sum shell", [asks("calculator", work), "It is 42."]),
    ]
    return [
        {"match": {"contains": f"Task: {task}", "nth": number}, "reply": reply}
        for task, replies in turns
        for number, reply in enumerate(replies, 1)
    ]


@dataclass
class Desk:
    client: Client
    stack: EmbeddedStack

    async def cli(self, *arguments: object) -> Done:
        return await against(self.stack, *arguments)


@pytest.fixture(scope="module")
async def desk(
    stack: EmbeddedStack, worker_settings: WorkerSettings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Desk]:
    script = tmp_path_factory.mktemp("script") / "model.yml"
    script.write_text(yaml.safe_dump({"steps": steps()}))
    chosen = worker_settings.model_copy(
        update={"address": stack.address, "task_queue": "agents-client", "demo_model": "start", "demo_script": script}
    )
    async with embedded(chosen) as own:
        yield Desk(Client(own.client, own.task_queue, store=own.store_url), own)


async def waiting(handle: RunHandle, calls: int = 1) -> list[Approval]:
    async with asyncio.timeout(30):
        while True:
            if len(found := await handle.approvals()) == calls and (await handle.status()).status == "paused":
                return found
            await asyncio.sleep(0.05)


async def all_events(handle: RunHandle, after: int = 0) -> list[Event]:
    async with asyncio.timeout(30):
        return [event async for event in handle.events(after, live=False)]


def thoughts(events: list[Event]) -> list[tuple[str, int, list[str]]]:
    return [
        (event.title, event.position, [call["status"] for call in event.calls])
        for event in events
        if isinstance(event, AgentThought)
    ]


async def test_an_agent_runs_to_its_answer(desk: Desk) -> None:
    handle = await desk.client.start_agent(doing(PLAIN, "sum plain"), "go")
    result = await handle.result()
    assert (result.status, result.outputs["answer"], result.outputs["end"]) == ("succeeded", "It is 42.", "answer")
    first, second = await handle.thoughts()
    assert (first.position, first.thought, first.simulated) == (1, "Let me see.", True)
    (call,) = first.calls
    assert (call["name"], call["arguments"], call["status"]) == ("calculator", {"expression": "6*7"}, "done")
    assert "42" in call["observation"]
    assert (second.position, second.answer, second.calls) == (2, "It is 42.", [])
    assert isinstance((await all_events(handle))[-1], RunFinished)


async def test_the_same_start_is_the_same_run(desk: Desk) -> None:
    run_id = f"agent-{uuid.uuid4()}"
    first = await desk.client.start_agent(PLAIN, "hello", run_id=run_id)
    second = await desk.client.start_agent(PLAIN, "hello", run_id=run_id)
    assert first.run_id == second.run_id == run_id
    for other in (
        lambda: desk.client.start_agent(PLAIN, "goodbye", run_id=run_id),
        lambda: desk.client.start_agent(ASKING, "hello", run_id=run_id),
    ):
        with pytest.raises(CommandRefused, match="belongs to a run"):
            await other()
    assert (await first.result()).status == "succeeded"


async def test_a_call_waits_until_somebody_approves_it(desk: Desk) -> None:
    handle = await desk.client.start_agent(doing(ASKING, "sum yes"), "go")
    (call,) = await waiting(handle)
    assert (call.tool, call.agent, call.arguments) == ("Calculator", "careful", {"expression": "6*7"})
    given = str(uuid.uuid4())
    await handle.approve(call.key, id=given)
    # An answer that got lost is given again.
    await handle.approve(call.key, id=given)
    assert (await handle.result()).outputs["answer"] == "It is 42."
    with pytest.raises(CommandRefused):
        await handle.approve(call.key)


async def test_a_call_may_be_made_with_other_arguments(desk: Desk) -> None:
    handle = await desk.client.start_agent(doing(ASKING, "sum other"), "go")
    (call,) = await waiting(handle)
    with pytest.raises(CommandRefused, match="calls that do"):
        await handle.approve("nobody")
    await handle.approve(call.key, {"expression": "1+1"})
    await handle.result()
    (made,) = (await handle.thoughts())[0].calls
    assert (made["arguments"], made["asked_arguments"]) == ({"expression": "1+1"}, {"expression": "6*7"})
    assert made["observation"].strip().endswith("2")


async def test_the_model_is_told_why_a_call_is_not_made(desk: Desk) -> None:
    handle = await desk.client.start_agent(doing(ASKING, "sum no"), "go")
    (call,) = await waiting(handle)
    await handle.deny(call.key, "too dear")
    assert (await handle.result()).outputs["answer"] == "Then not."
    (made,) = (await handle.thoughts())[0].calls
    assert (made["status"], made["error_kind"]) == ("failed", "denied")
    assert "too dear" in made["observation"]


async def test_what_an_agent_below_asks_and_thinks_is_seen_in_its_run(desk: Desk) -> None:
    handle = await desk.client.start_agent(doing(BOSS, "delegate"), "go")
    live: list[Event] = []

    async def watch() -> None:
        async for event in handle.events():
            live.append(event)

    watching = asyncio.create_task(watch())
    (call,) = await waiting(handle)
    assert "/" in call.key
    assert (call.agent, call.arguments) == ("helper", {"expression": "6*7"})
    await handle.approve(call.key)
    assert (await handle.result()).outputs["answer"] == "Done: 42."
    async with asyncio.timeout(30):
        await watching
    for events in (live, await all_events(handle)):
        forms = [event.key for event in events if isinstance(event, FormRequired)]
        assert forms == [call.key], "shown once, under the key that the run takes"
        told = thoughts(events)
        assert [one for one in told if one[0] == "helper"][-1] == ("helper", 2, [])
        assert told[0][:2] == ("boss", 1)
        assert told.index(("helper", 2, [])) < told.index(("boss", 2, []))
        assert len({(event.thread, event.id) for event in events if isinstance(event, AgentThought)}) == 4
        finished = next(
            n for n, event in enumerate(events) if isinstance(event, NodeFinished) and event.node_id == "agent"
        )
        assert max(n for n, event in enumerate(events) if isinstance(event, AgentThought)) < finished
    assert [event.seq for event in live] == sorted(event.seq for event in live)
    agents = {thought.title: thought.answer for thought in await handle.thoughts()}
    assert agents == {"boss": "Done: 42.", "helper": "The helper says 42."}
    async with asyncio.timeout(20):
        while handle.run_id not in {run.run_id for run in await desk.client.list()}:
            await asyncio.sleep(0.2)
    assert "helper" not in {run.graph for run in await desk.client.list()}, "what is below a run is no run of its own"


async def test_the_command_line_shows_and_approves(desk: Desk, tmp_path: Any) -> None:
    file = tmp_path / "careful.yml"
    file.write_text(yaml.safe_dump(doing(ASKING, "sum cli").model_dump(mode="json", exclude_defaults=True)))
    done = await desk.cli("agent", "run", file, "-q", "go", "--approve-all", "--json")
    assert (done.code, done.json["outputs"]["answer"], done.json["simulated"]) == (0, "It is 42.", True)
    assert 'careful, round 1: calculator({"expression": "6*7"})' in done.err
    assert "careful, round 1: calculator gave" in done.err
    table = await desk.cli("thoughts", done.json["run_id"])
    assert "calculator(" in table.out
    records = (await desk.cli("thoughts", done.json["run_id"], "--json")).json["thoughts"]
    assert [(record["position"], record["tool"]) for record in records] == [(1, "calculator"), (2, "")]


async def test_whoever_is_not_there_is_told_how_to_answer(desk: Desk, tmp_path: Any) -> None:
    file = tmp_path / "careful.yml"
    file.write_text(yaml.safe_dump(doing(ASKING, "sum shell").model_dump(mode="json", exclude_defaults=True)))
    left = await desk.cli("agent", "run", file, "-q", "go")
    run_id = left.out.split()[1].rstrip(":")
    assert left.code == 1
    assert f"perdure approve {run_id} " in left.err
    handle = desk.client.run(run_id)
    (call,) = await waiting(handle)
    refused = await desk.cli("approve", run_id, call.key, "--arguments", "[1]")
    assert refused.code == 2
    assert "no JSON object" in refused.err
    approved = await desk.cli("approve", run_id, call.key, "--arguments", '{"expression": "2+3"}')
    assert approved.code == 0, approved.err
    assert (await handle.result()).outputs["answer"] == "It is 42."
    late = await desk.cli("deny", run_id, call.key, "--reason", "no")
    assert late.code == 1
    assert "has ended" in late.err
