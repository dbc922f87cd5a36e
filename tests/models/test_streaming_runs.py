"""Text from a provider to the reader, through all that is between: the fake provider, a worker in its own process, the
store and the client; what is shown in the end is what is stored, whoever dies on the way.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from fakes.graphs import document, node, start
from perdure import Client
from perdure.handle import RunHandle
from perdure_fake import FakeProvider, Script
from perdure_graph.events import Event, TextChunk, TextRewind
from perdure_graph.graph import Graph
from perdure_worker.embedded import EmbeddedStack, embedded
from perdure_worker.settings import WorkerSettings

MODEL: dict[str, Any] = {"provider": "openai", "name": "gpt-5-mini", "mode": "chat", "completion_params": {}}
WORDS = [f"word{index} " for index in range(60)]
SLOW = {"first": 0.05, "chunk": 0.05}


@dataclass(frozen=True)
class Desk:
    """A worker whose models are all served by a fake provider."""

    client: Client
    provider: FakeProvider
    stack: EmbeddedStack


@pytest.fixture(scope="module")
async def desk(
    stack: EmbeddedStack, worker_settings: WorkerSettings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Desk]:
    """One for all tests of this file."""
    given: dict[str, Any] = {"address": stack.address, "blobs": stack.blobs, "blobs_create": False}
    given |= {"task_queue": f"streams-{uuid.uuid4()}", "store": f"sqlite:///{tmp_path_factory.mktemp('s')}/runs.db"}
    async with FakeProvider.start_process() as provider:
        chosen = worker_settings.model_copy(update={**given, "demo_model": provider.openai_url})
        async with embedded(chosen) as own:
            client = Client(own.client, own.task_queue, store=own.store_url)
            # The first call loads the SDK, which takes its time.
            await (await client.start(chat("{{#a.text#}}", "a"), query="q")).result()
            yield Desk(client, provider, own)


def script(*steps: dict[str, Any], **more: Any) -> Script:
    return Script.model_validate({"steps": list(steps), **more})


def chat(text: str, *nodes: str) -> Graph:
    """A chat flow that asks models one beside another, and prints them."""
    drawn = [
        node(name, "llm", model=MODEL, prompt_template=[{"role": "user", "text": f"say {name}"}]) for name in nodes
    ]
    edges: list[tuple[str, ...]] = [("start", name) for name in nodes] + [(name, "answer") for name in nodes]
    parts = [start(), *drawn, node("answer", "answer", answer=text)]
    return Graph.from_document(document(parts, edges, mode="advanced-chat"))


class Screen:
    """A reader: appends, and cuts where it is told to."""

    def __init__(self) -> None:
        self.text = ""
        self.shown = ""
        self.rewinds = 0
        self.live = 0
        self.seq = 0

    def take(self, event: Event) -> None:
        self.seq = event.seq
        match event:
            case TextChunk():
                self.text += event.text
                self.live += event.live
            case TextRewind():
                self.text = self.text[: event.to]
                self.rewinds += 1
            case _:
                pass


async def read(handle: RunHandle, screen: Screen, until: int | None = None) -> None:
    """Read to the end, or until so many live pieces have come."""
    async with asyncio.timeout(90):
        async for event in handle.events(screen.seq):
            screen.take(event)
            if until is not None and screen.live >= until:
                return


async def test_words_come_as_the_provider_says_them(desk: Desk) -> None:
    await desk.provider.script(script({"reply": {"chunks": WORDS}}, latency=SLOW))
    handle = await desk.client.start(chat("> {{#a.text#}}", "a"), query="q")
    screen, began = Screen(), time.monotonic()
    await read(handle, screen, until=1)
    first = time.monotonic() - began
    await read(handle, screen)
    assert screen.text == (await handle.outputs())["answer"] == "> " + "".join(WORDS)
    assert screen.live > 30
    assert first < 0.6 * (time.monotonic() - began)


async def test_killing_the_worker_in_mid_stream_doubles_nothing(desk: Desk) -> None:
    await desk.provider.script(script({"reply": {"chunks": WORDS}}, latency=SLOW))
    handle = await desk.client.start(chat("> {{#a.text#}} and {{#b.text#}}.", "a", "b"), query="q")
    screen = Screen()
    reading = asyncio.create_task(read(handle, screen))
    while screen.live < 10:
        await asyncio.sleep(0.01)
    await desk.stack.kill_worker()
    await desk.stack.restart_worker()
    await reading
    said = "".join(WORDS)
    assert screen.text == (await handle.outputs())["answer"] == f"> {said} and {said}."
    assert screen.rewinds == 1


async def test_a_stream_that_is_cut_starts_again(desk: Desk) -> None:
    cut = {"fault": {"row": 21}, "reply": {"chunks": ["lost ", "words ", "here"]}, "times": 1}
    await desk.provider.script(script(cut, {"reply": {"chunks": WORDS}}, latency=SLOW))
    before = len(await desk.provider.journal())
    handle = await desk.client.start(chat("{{#a.text#}}!", "a"), query="q")
    screen = Screen()
    await read(handle, screen)
    assert screen.text == (await handle.outputs())["answer"] == "".join(WORDS) + "!"
    assert len(await desk.provider.journal()) - before == 2
    assert screen.rewinds == 1


async def test_readers_come_and_go_as_they_like(desk: Desk) -> None:
    await desk.provider.script(script({"reply": {"chunks": WORDS}}, latency=SLOW))
    handle = await desk.client.start(chat("{{#a.text#}}|{{#b.text#}}|{{#c.text#}}", "a", "b", "c"), query="q")
    chosen = random.Random(5)

    async def reader() -> str:
        screen = Screen()
        for _ in range(4):
            await read(handle, screen, until=screen.live + chosen.randint(1, 12))
            await asyncio.sleep(chosen.random() / 2)
        await read(handle, screen)
        return screen.text

    texts = await asyncio.gather(*(reader() for _ in range(5)))
    assert set(texts) == {(await handle.outputs())["answer"]}
