"""The workflow of agents on a real server: long ones, those with runs below them, commands, and what replays."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowHistory

from fakes.graphs import document, end, node, start
from fakes.moments import ask
from perdure import AgentConfig, Client, Graph, RunHandle, RunOptions
from perdure_fake import FakeProvider, Script
from perdure_graph.events import TextChunk, TextRewind
from perdure_graph.view import RunView
from perdure_payloads import data_converter
from perdure_worker.embedded import EmbeddedStack, embedded
from perdure_worker.replay import replay
from perdure_worker.settings import WorkerSettings

pytestmark = pytest.mark.xdist_group("agents-run")

MODEL = {"provider": "openai", "name": "gpt-5-mini"}
CALCULATOR = {"provider_type": "builtin", "provider_id": "calculator", "tool_name": "calculator"}
ASKS = document(
    [start(x="text-input"), ask("f"), end(said=["start", "x"])],
    [("start", "f"), ("f", "go", "end")],
    name="asks",
)
FLOW = {
    "provider_type": "workflow",
    "tool_name": "ask_somebody",
    "description": "ask",
    "flow": ASKS.model_dump(mode="json"),
}
WORDS = [*(f"word{index} " for index in range(30)), "end"]


def agent(task: str, *tools: dict[str, Any], **more: Any) -> AgentConfig:
    """An agent whose model finds its task in the system text."""
    drawn = {"name": task, "model": MODEL, "instruction": f"Task: {task}.", "tools": list(tools), **more}
    return AgentConfig.model_validate(drawn)


def called(name: str, text: str = "", **arguments: Any) -> dict[str, Any]:
    return {"text": text, "tool_calls": [{"name": name, "arguments": arguments}]}


def helper(task: str) -> dict[str, Any]:
    """An agent as a tool, which has somebody asked."""
    return {"provider_type": "agent", "tool_name": "helper", "agent": agent(task, FLOW).model_dump(mode="json")}


HELPED = [called("ask_somebody", x="hm"), "helped"]
LED = [called("helper", query="go on"), "led"]
TURNS: dict[str, list[Any]] = {
    "counting": [*(called("calculator", expression=f"{n}+1") for n in range(4)), "counted"],
    "asking": [called("ask_somebody", x="hm"), "asked"],
    "telling": [called("calculator", "Let me see. ", expression="6*7"), {"chunks": WORDS}],
    "node telling": [called("calculator", "Let me see. ", expression="6*7"), {"chunks": WORDS}],
    **{f"{what} lead": LED for what in ("answer", "pause", "stop", "lose")},
    **{f"{what} help": HELPED for what in ("answer", "pause", "stop", "lose")},
}


def script() -> Script:
    steps = [
        {"match": {"contains": f"Task: {task}.", "nth": number}, "reply": reply}
        for task, replies in TURNS.items()
        for number, reply in enumerate(replies, 1)
    ]
    return Script.model_validate({"steps": steps, "latency": {"first": 0.02, "chunk": 0.02}})


@dataclass(frozen=True)
class Desk:
    client: Client
    stack: EmbeddedStack

    def workflow(self, id: str) -> Any:
        return self.stack.client.get_workflow_handle(id)

    async def replayed(self, *ids: str) -> list[str | None]:
        """Replay what workflows did; why it failed, for each."""

        async def histories() -> AsyncIterator[WorkflowHistory]:
            for each in ids:
                yield await self.workflow(each).fetch_history()

        return [done.error async for done in replay(histories(), data_converter())]


@pytest.fixture(scope="module")
async def desk(
    stack: EmbeddedStack, worker_settings: WorkerSettings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Desk]:
    given: dict[str, Any] = {"address": stack.address, "blobs": stack.blobs, "blobs_create": False}
    given |= {"task_queue": f"agents-{uuid.uuid4()}", "store": f"sqlite:///{tmp_path_factory.mktemp('a')}/runs.db"}
    async with FakeProvider.start_process() as provider:
        await provider.script(script())
        chosen = worker_settings.model_copy(update={**given, "demo_model": provider.openai_url})
        async with embedded(chosen) as own:
            yield Desk(Client(own.client, own.task_queue, store=own.store_url), own)


async def until(handle: RunHandle, met: Callable[[RunView], Any]) -> RunView:
    async with asyncio.timeout(60):
        while not met(view := await handle.status()):
            await asyncio.sleep(0.05)
        return view


def asks_somebody(view: RunView) -> bool:
    return view.status == "paused" and bool(view.forms)


async def test_an_agent_moves_to_fresh_histories_between_its_rounds(desk: Desk) -> None:
    options = RunOptions(continue_after_events=10)
    handle = await desk.client.start_agent(agent("counting", CALCULATOR), "go", options=options)
    first = (await desk.workflow(handle.run_id).describe()).run_id
    result = await handle.result()
    assert (result.status, result.outputs["answer"], result.outputs["end"]) == ("succeeded", "counted", "answer")
    assert result.outputs["usage"]["total_tokens"] > 0
    last = await desk.workflow(handle.run_id).describe()
    assert last.run_id != first
    assert [call["observation"] for thought in await handle.thoughts() for call in thought.calls] == [
        "1",
        "2",
        "3",
        "4",
    ]
    assert await desk.replayed(handle.run_id) == [None]


async def test_a_graph_that_is_a_tool_asks_through_its_agent_also_by_signal(desk: Desk) -> None:
    handle = await desk.client.start_agent(agent("asking", FLOW), "go")
    view = await until(handle, asks_somebody)
    (form,) = view.forms
    assert (form.node_id, form.form.content) == ("agent", "?")
    assert view.reasons == [{"type": "human_input_required", "key": form.key, "node_id": "agent"}]
    effect, _, inner = form.key.partition("/")
    assert inner == "f"
    workflow = desk.workflow(handle.run_id)
    for _ in range(2):
        await workflow.signal("submit", {"form": form.key, "action": "go", "id": "once"})
    result = await handle.result()
    assert result.outputs["answer"] == "asked"
    (call,) = (await handle.thoughts())[0].calls
    assert "hm" in call["observation"]
    assert await desk.replayed(handle.run_id, f"{handle.run_id}/{effect}") == [None, None]


async def test_what_is_asked_two_runs_below_is_answered_at_the_top(desk: Desk) -> None:
    handle = await desk.client.start_agent(agent("answer lead", helper("answer help")), "go")
    (form,) = (await until(handle, asks_somebody)).forms
    top, below, inner = form.key.split("/")
    assert inner == "f"
    ids = (handle.run_id, f"{handle.run_id}/{top}", f"{handle.run_id}/{top}/{below}")
    assert [await kind_of(desk, each) for each in ids] == ["AgentRun", "AgentRun", "GraphRun"]
    await handle.submit(form.key, "go")
    assert (await handle.result()).outputs["answer"] == "led"
    assert await desk.replayed(*ids) == [None, None, None]


async def kind_of(desk: Desk, id: str) -> str:
    return (await desk.workflow(id).describe()).workflow_type


async def test_a_pause_reaches_what_is_below(desk: Desk) -> None:
    handle = await desk.client.start_agent(agent("pause lead", helper("pause help")), "go")
    (form,) = (await until(handle, asks_somebody)).forms
    await handle.pause("look")
    await handle.submit(form.key, "go")
    lowest = f"{handle.run_id}/{form.key.rpartition('/')[0]}"
    async with asyncio.timeout(20):
        while (await desk.client.run(lowest).status()).status not in ("paused",):
            await asyncio.sleep(0.05)
    assert (await until(handle, lambda view: view.status == "paused")).reasons[0]["type"] == "scheduled_pause"
    await handle.resume()
    assert (await handle.result()).outputs["answer"] == "led"


async def test_a_stop_ends_what_is_below(desk: Desk) -> None:
    handle = await desk.client.start_agent(agent("stop lead", helper("stop help")), "go")
    (form,) = (await until(handle, asks_somebody)).forms
    assert (await handle.stop("enough")).status == "stopped"
    top, below, _ = form.key.split("/")
    for each in (f"{handle.run_id}/{top}", f"{handle.run_id}/{top}/{below}"):
        assert (await desk.workflow(each).describe()).status == WorkflowExecutionStatus.CANCELED
    assert (await handle.result()).status == "stopped"


async def test_an_agent_goes_on_without_a_run_below_it_that_was_ended_from_outside(desk: Desk) -> None:
    handle = await desk.client.start_agent(agent("lose lead", helper("lose help")), "go")
    (form,) = (await until(handle, asks_somebody)).forms
    await desk.workflow(f"{handle.run_id}/{form.key.partition('/')[0]}").cancel()
    assert (await handle.result()).outputs["answer"] == "led"
    (call,) = (await handle.thoughts())[0].calls
    assert call["status"] == "failed"
    assert "cancelled from outside" in call["observation"]


async def screen(handle: RunHandle) -> tuple[str, int, int]:
    """Read along; the text on the screen in the end, the live pieces that differ from what was there, the rewinds."""
    text, live, rewinds = "", 0, 0
    async with asyncio.timeout(60):
        async for event in handle.events():
            match event:
                case TextChunk():
                    text += event.text
                    live += event.live
                case TextRewind():
                    text = text[: event.to]
                    rewinds += 1
                case _:
                    pass
    return text, live, rewinds


async def test_the_text_of_an_agent_is_read_while_it_is_written(desk: Desk) -> None:
    handle = await desk.client.start_agent(agent("telling", CALCULATOR), "go")
    text, live, _ = await screen(handle)
    assert text == (await handle.result()).outputs["answer"] == "".join(WORDS)
    assert live > 3


def drawn(task: str) -> Graph:
    """A chat flow of one agent node with a tool."""
    given: dict[str, Any] = {
        "model": {"provider": "openai", "model": "gpt-5-mini"},
        "instruction": f"Task: {task}.",
        "query": "go",
        "tools": [{"provider_name": "calculator", "type": "builtin", "tool_name": "calculator", "enabled": True}],
    }
    spec = node(
        "a",
        "agent",
        agent_strategy_provider_name="langgenius/agent/agent",
        agent_strategy_name="function_calling",
        agent_parameters={name: {"type": "constant", "value": value} for name, value in given.items()},
    )
    parts = [start(), spec, node("answer", "answer", answer="It says: {{#a.text#}}!")]
    return Graph.from_document(document(parts, [("start", "a"), ("a", "answer")], mode="advanced-chat"))


async def test_the_text_of_an_agent_node_is_read_while_its_child_writes_it(desk: Desk) -> None:
    handle = await desk.client.start(drawn("node telling"), query="go")
    text, live, rewinds = await screen(handle)
    assert text == (await handle.result()).outputs["answer"] == f"It says: {''.join(WORDS)}!"
    assert live > 3
    # What it said in the first round is no part of the answer.
    assert rewinds >= 1
    assert await desk.replayed(handle.run_id, f"{handle.run_id}/a") == [None, None]
