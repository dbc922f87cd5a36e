"""`handle.events()` shows text while a model writes it: exactly once, whatever becomes of the attempts at it.

A stand-in takes the place of the model's activity; workflow, worker, store and client are the real ones.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from temporalio import activity
from temporalio.exceptions import ApplicationError

from fakes.command_line import COMMAND, Done
from fakes.graphs import document, node, start
from perdure import Client
from perdure.cli.progress import LiveView
from perdure.handle import RunHandle
from perdure_activities.models.deltas import DeltaSink
from perdure_graph import naming
from perdure_graph.events import Event, NodeFinished, TextChunk, TextRewind, TextStream
from perdure_graph.graph import Graph, NodeSpec
from perdure_graph.models.effects import InvokeModel, ModelAnswer
from perdure_graph.models.messages import assistant
from perdure_store import migrate
from perdure_store.database import parse
from perdure_store.ledger import Ledger
from perdure_store.recorder import Recorder
from perdure_worker import plugins
from perdure_worker.embedded import EmbeddedStack
from perdure_worker.runtime import make_worker
from perdure_worker.settings import WorkerSettings


@dataclass
class Model:
    """What the stand-in writes.

    Each attempt is a list of pieces, waits in seconds, and events that it waits for; all but the last one break.
    """

    attempts: list[list[Any]]
    fails: bool = False

    def text(self) -> str:
        return "".join(piece for piece in self.attempts[-1] if isinstance(piece, str))


@dataclass
class Scene:
    """A worker with stand-ins for models, by name, and a client that reads its store."""

    client: Client
    ledger: Ledger
    address: str
    store: str
    models: dict[str, Model] = field(default_factory=dict[str, Model])

    def start(self, *nodes: NodeSpec, edges: list[tuple[str, ...]]) -> Any:
        drawn = document([start(), *nodes], edges, mode="advanced-chat")
        return self.client.start(Graph.from_document(drawn), query="q")


async def perform(scene: Scene, effect: InvokeModel) -> ModelAnswer:
    model, attempt = scene.models[effect.model], activity.info().attempt
    sink = DeltaSink(scene.ledger, effect, attempt)
    for piece in model.attempts[attempt - 1]:
        activity.heartbeat()
        if isinstance(piece, str):
            await sink.text(piece)
        elif isinstance(piece, asyncio.Event):
            while not piece.is_set():
                activity.heartbeat()
                await asyncio.sleep(0.02)
        else:
            await asyncio.sleep(piece)
    if attempt < len(model.attempts) or model.fails:
        last = attempt >= len(model.attempts)
        raise ApplicationError("cut", type="E", non_retryable=last, next_retry_delay=timedelta(seconds=0.05))
    await sink.done()
    return ModelAnswer(text=model.text(), message=assistant(model.text()), epoch=attempt)


@pytest.fixture
async def scene(stack: EmbeddedStack, worker_settings: WorkerSettings, tmp_path: Path) -> AsyncIterator[Scene]:
    store, queue = f"sqlite:///{tmp_path}/runs.db", f"live-{uuid.uuid4()}"
    recorder = Recorder(store, limit_s=4.0)
    await migrate.upgrade(parse(store))
    found = Scene(Client(stack.client, queue, store=store), Ledger(recorder), stack.address, store)

    @activity.defn(name=InvokeModel.activity)
    async def invoke_model(effect: InvokeModel) -> ModelAnswer:
        return await perform(found, effect)

    await found.ledger.answer("none")
    others = [one for one in plugins.activities() if plugins.activity_name(one) != InvokeModel.activity]
    settings = worker_settings.model_copy(update={"task_queue": queue})
    async with make_worker(stack.client, settings, activities=[*others, invoke_model], recorder=recorder):
        yield found
    await recorder.close()


def llm(name: str, *, model_name: str = "", **data: Any) -> NodeSpec:
    model = {"provider": "fake", "name": model_name or name, "mode": "chat", "completion_params": {}}
    return node(name, "llm", model=model, prompt_template=[{"role": "user", "text": "Say."}], **data)


def answer(text: str) -> NodeSpec:
    return node("answer", "answer", answer=text)


class Screen:
    """A reader: appends, and cuts where it is told to."""

    def __init__(self) -> None:
        self.text = ""
        self.events: list[Event] = []

    def take(self, event: Event) -> None:
        self.events.append(event)
        match event:
            case TextChunk():
                self.text += event.text
            case TextRewind():
                self.text = self.text[: event.to]
            case _:
                pass

    def live(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, TextChunk) and event.live]

    def rewinds(self) -> list[int]:
        return [event.to for event in self.events if isinstance(event, TextRewind)]

    def numbers(self) -> list[int]:
        return [
            event.seq for event in self.events if not isinstance(event, TextRewind) and not getattr(event, "live", 0)
        ]


async def read(handle: RunHandle, *gates: asyncio.Event) -> Screen:
    """Read to the end; each gate opens with one more live piece."""
    screen = Screen()
    async with asyncio.timeout(60):
        async for event in handle.events():
            screen.take(event)
            for gate in gates[: len(screen.live())]:
                gate.set()
    return screen


def gates(count: int) -> list[asyncio.Event]:
    return [asyncio.Event() for _ in range(count)]


CHAIN: list[tuple[str, ...]] = [("start", "a"), ("a", "answer")]


async def test_text_comes_while_it_is_written_and_once(scene: Scene) -> None:
    one, two, three = gates(3)
    scene.models["a"] = Model([["one ", one, "two ", two, "three", three]])
    handle = await scene.start(llm("a"), answer("# {{#a.text#}}!"), edges=CHAIN)
    screen = await read(handle, one, two, three)
    assert screen.text == (await handle.outputs())["answer"] == "# one two three!"
    assert screen.live() == ["one ", "two ", "three"]
    assert screen.numbers() == list(range(1, len(screen.numbers()) + 1))
    kinds = [event.type for event in screen.events]
    assert kinds.index("text_stream") < kinds.index("text_chunk", kinds.index("text_stream"))
    # Recorded is what was always recorded: the whole text once.
    plain = [event async for event in handle.events(live=False)]
    assert [e.text for e in plain if isinstance(e, TextChunk)] == ["# ", "one two three", "!"]
    assert [event async for event in Client(scene.client.temporal, store="off").run(handle.run_id).events()] == plain


async def test_a_broken_attempt_is_taken_back_once(scene: Scene) -> None:
    shown = gates(4)
    attempts = [["dropped ", shown[0], "text", shown[1]], ["kept ", shown[2], "text", shown[3]]]
    scene.models["a"] = Model(attempts)
    handle = await scene.start(llm("a"), answer("> {{#a.text#}}"), edges=CHAIN)
    screen = await read(handle, *shown)
    assert screen.text == (await handle.outputs())["answer"] == "> kept text"
    assert screen.live() == ["dropped ", "text", "kept ", "text"]
    assert screen.rewinds() == [2]


async def test_the_graphs_own_retry_and_a_failure_take_back_too(scene: Scene) -> None:
    scene.models["a"] = Model([["part", 0.6]], fails=True)
    retried = {"retry_config": {"retry_enabled": True, "max_retries": 1, "retry_interval": 100}}
    given = [{"key": "text", "type": "string", "value": "instead"}]
    failing = llm("a", error_strategy="default-value", default_value=given, **retried)
    handle = await scene.start(failing, answer("{{#a.text#}}."), edges=CHAIN)
    screen = await read(handle)
    assert screen.text == (await handle.outputs())["answer"] == "instead."
    assert screen.live() == ["part", "part"]
    assert screen.rewinds() == [0, 0]
    assert [event.key for event in screen.events if isinstance(event, TextStream)] == ["a", "a#2"]


async def test_what_is_second_waits_and_then_comes_at_once(scene: Scene) -> None:
    one, two, three, early, late = gates(5)
    first = Model([["one ", one, "two ", 0.2, two, "three", three]])
    scene.models |= {"a": first, "b": Model([["early ", "still ", early, "late", late]])}
    edges = [("start", "a"), ("start", "b"), ("a", "answer"), ("b", "answer")]
    handle = await scene.start(llm("a"), llm("b"), answer("{{#a.text#}}|{{#b.text#}}"), edges=edges)
    screen = await read(handle, one, two, three, early, late)
    assert screen.text == (await handle.outputs())["answer"] == "one two three|early still late"
    assert screen.live() == ["one ", "two ", "three", "early still ", "late"]
    assert screen.rewinds() == []


async def test_a_reader_who_left_in_the_middle_comes_back(scene: Scene) -> None:
    scene.models["a"] = Model([["one ", 0.3, "two ", 0.3, "three ", 0.3, "four", 0.1]])
    handle = await scene.start(llm("a"), answer("{{#a.text#}}"), edges=CHAIN)
    screen = Screen()
    for pieces in (1, 2):
        async for event in handle.events(screen.events[-1].seq if screen.events else 0):
            screen.take(event)
            if len([e for e in screen.events if getattr(e, "live", False)]) >= pieces and getattr(event, "live", False):
                break
    async for event in handle.events(screen.events[-1].seq):
        screen.take(event)
    assert screen.text == (await handle.outputs())["answer"] == "one two three four"
    # Long after, and after a break right before the whole text was recorded.
    cut = next(i for i, e in enumerate(screen.events) if getattr(e, "live", False))
    late = Screen()
    for event in screen.events[: cut + 1]:
        late.take(event)
    assert late.text == "one "
    async for event in handle.events(late.events[-1].seq):
        late.take(event)
    assert late.text == "one two three four"


async def test_a_text_that_is_given_back_from_before_is_shown_at_its_end(scene: Scene) -> None:
    # The same question from another node: who reads the answer makes no difference.
    scene.models["m"] = Model([["said"]])
    kept = {"perdure": {"cache": {"ttl_s": 60}}}
    for name, cached in (("a", False), ("b", True)):
        edges = [("start", name), (name, "answer")]
        handle = await scene.start(llm(name, model_name="m", **kept), answer(f"{{{{#{name}.text#}}}}"), edges=edges)
        screen = await read(handle)
        assert screen.text == "said"
        assert [e.cached for e in screen.events if isinstance(e, NodeFinished) and e.node_id == name] == [cached]


async def test_a_quiet_run_is_not_asked_all_the_time(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.models["a"] = Model([["word ", 0.02] * 100])
    handle = await scene.start(llm("a"), answer("{{#a.text#}}"), edges=CHAIN)
    asked = 0
    query = handle._channel.query

    async def counted(name: str, *more: Any) -> Any:
        nonlocal asked
        asked += name == naming.EVENTS
        return await query(name, *more)

    monkeypatch.setattr(handle._channel, "query", counted)
    screen = await read(handle)
    assert screen.text == "word " * 100
    assert len(screen.live()) > 20
    assert asked < 25, "100 pieces in two seconds are no reason to ask the run"


async def test_news_from_the_store_is_asked_for_at_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    # Two seconds of silence would slow the polls down to one in half a second.
    scene.models |= {"a": Model([[2.0]]), "b": Model([[0.5, "word", 0.05]])}
    edges = [("start", "a"), ("a", "b"), ("b", "answer")]
    took: list[float] = []
    for _ in range(3):
        handle = await scene.start(llm("a"), llm("b"), answer("{{#b.text#}}"), edges=edges)
        async for event in handle.events():
            if isinstance(event, TextStream):
                took.append(time.time() - event.at / 1000)
    assert min(took) < 0.15, took


async def follow(scene: Scene, *arguments: object, heard: Callable[[str], None] = lambda _out: None) -> Done:
    """Run a command; `heard` gets what it writes, as it writes it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PERDURE_")}
    environment |= {"PERDURE_ADDRESS": scene.address, "PERDURE_TASK_QUEUE": scene.client.task_queue}
    environment["PERDURE_STORE"] = scene.store
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *map(str, arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment
    )
    assert process.stdout is not None and process.stderr is not None
    out = ""
    async with asyncio.timeout(60):
        while found := await process.stdout.read(65536):
            out += found.decode()
            heard(out)
        return Done(await process.wait(), out, (await process.stderr.read()).decode())


async def test_the_events_command_shows_what_is_live(scene: Scene) -> None:
    away, half = asyncio.Event(), asyncio.Event()
    scene.models["a"] = Model([["away ", away], ["one ", half, "two"]])
    handle = await scene.start(llm("a"), answer("{{#a.text#}}"), edges=CHAIN)

    def heard(out: str) -> None:
        # The next thing is only written when the last one was shown.
        if "away" in out:
            away.set()
        if "one " in out:
            half.set()

    done = await follow(scene, "events", handle.run_id, "--follow", "--json", heard=heard)
    assert done.code == 0, done.err
    told = [json.loads(line) for line in done.out.splitlines()]
    texts = [(e["type"], e.get("text", e.get("to"))) for e in told if e["type"] in ("text_chunk", "text_rewind")]
    assert texts[:3] == [("text_chunk", "away "), ("text_rewind", 0), ("text_chunk", "one ")]
    assert "".join(str(text) for _, text in texts[2:]) == "one two"
    once = await follow(scene, "events", handle.run_id, "--json")
    assert not any(json.loads(line).get("live") for line in once.out.splitlines())


async def test_run_writes_the_text_between_its_lines(scene: Scene, tmp_path: Path) -> None:
    away, half = asyncio.Event(), asyncio.Event()
    scene.models["a"] = Model([["away", away], ["kept\n", half, "text"]])

    def heard(out: str) -> None:
        if "| away" in out:
            away.set()
        if "| kept" in out:
            half.set()

    drawn = [start(), llm("a"), answer("{{#a.text#}}!")]
    nodes = [{"id": spec.id, "type": "custom", "data": spec.data} for spec in drawn]
    edges = [{"source": a, "sourceHandle": "source", "target": b} for a, b in CHAIN]
    flow = {"kind": "app", "version": "0.6.0", "app": {"mode": "advanced-chat", "name": "spoken"}}
    (tmp_path / "flow.yml").write_text(json.dumps({**flow, "workflow": {"graph": {"nodes": nodes, "edges": edges}}}))
    done = await follow(scene, "run", tmp_path / "flow.yml", "--query", "q", heard=heard)
    assert done.code == 0, done.out + done.err
    lines = done.out.splitlines()
    taken_back = next(index for index, line in enumerate(lines) if "taken back" in line)
    assert lines[taken_back - 1 : taken_back + 3] == [
        "  | away",
        "  | [taken back: the answer goes on from its character 0]",
        "  | kept",
        "  | text",
    ]
    assert "answer:\nkept\ntext!" in done.out


def chunk(text: str, **more: Any) -> TextChunk:
    return TextChunk(seq=1, at=1, node_id="a", selector=("a", "text"), text=text, **more)


def test_on_a_terminal_the_end_of_the_text_stands_below_the_table() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=40, height=12)
    view = LiveView(console)

    def shown() -> str:
        with console.capture() as capture:
            console.print(view.picture())
        return capture.get()

    view.show(chunk("not live"))
    assert "not live" not in shown()
    view.show(chunk(" gone", live=True))
    assert "not live gone" in shown()
    view.show(TextRewind(seq=1, at=1, node_id="a", selector=("a", "text"), to=8))
    for index in range(50):
        view.show(chunk(f" word{index}", live=True))
    lines = [line.strip() for line in shown().splitlines() if line.strip()]
    assert "gone" not in shown()
    assert len(lines) <= 12 // 3 and lines[-1].endswith("word49")
