"""Text from a model to a reader: how much later its first piece comes than from the provider itself, and how many
streams at once one worker carries.

The provider is the fake one, in a process of its own; its latencies are stated and have a seed. Nothing here says
anything about a model.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass

import psutil
from graphs import chain, model

from perdure import Client, Graph
from perdure_fake import FakeProvider, Script
from perdure_fake.script import Delay, Latency, Reply, Step
from perdure_graph.events import TextChunk, TextRewind
from perdure_worker.embedded import embedded
from perdure_worker.settings import WorkerSettings

FIRST_S, CHUNK_S, SIGMA, SEED = 0.2, 0.02, 0.2, 7
PIECES, SAMPLES, STREAMS, WARM_UP = 50, 40, 50, 5


@dataclass(frozen=True, slots=True)
class Streams:
    """What was measured.

    overhead_ms: by how much the first piece comes later to a reader of a run, from the call that starts it, than to a
        plain client of the provider: p50 and p95.
    alone_ms: the latter.
    pieces_per_s: of `STREAMS` runs at once, from the first start to the last end. `at_most` is what the provider gives.
    seconds: of that. fake_cpu_s: what the provider computed meanwhile.
    """

    overhead_ms: tuple[float, float]
    alone_ms: float
    pieces_per_s: float
    at_most: float
    seconds: float
    fake_cpu_s: float


def script(first_s: float, chunk_s: float, sigma: float) -> Script:
    """Answer with `PIECES` pieces."""
    pieces = tuple(f"word{n} " for n in range(PIECES))
    latency = Latency(first=Delay(median=first_s, sigma=sigma), chunk=Delay(median=chunk_s, sigma=sigma))
    return Script(steps=(Step(reply=Reply(chunks=pieces)),), latency=latency, seed=SEED)


async def alone(fake: FakeProvider) -> float:
    """Seconds to the first piece for a plain client of the provider, whose connection is there already; median."""
    from openai import AsyncOpenAI, AsyncStream
    from openai.types.chat import ChatCompletionChunk

    times: list[float] = []
    async with AsyncOpenAI(api_key="none", base_url=fake.openai_url, max_retries=0) as client:
        for n in range(SAMPLES // 2 + WARM_UP):
            began = time.monotonic()
            stream: AsyncStream[ChatCompletionChunk] = await client.chat.completions.create(
                model="gpt-5.4-mini", messages=[{"role": "user", "content": f"say {n}"}], stream=True
            )
            async for chunk in stream:
                if chunk.choices and chunk.choices[0].delta.content:
                    times.append(time.monotonic() - began)
                    break
            await stream.close()
    return statistics.median(times[WARM_UP:])


async def first_piece(client: Client, graph: Graph, n: int) -> float:
    """Seconds from the call that starts a run to the first piece of its text; the run then goes on to its end."""
    began = time.monotonic()
    run = await client.start(graph, user=str(n))
    found = 0.0
    async for event in run.events():
        if isinstance(event, TextChunk) and event.text and not found:
            found = time.monotonic() - began
    return found


async def whole(client: Client, graph: Graph, n: int) -> None:
    """Read the text of a run to its end."""
    run = await client.start(graph, user=str(n))
    text = ""
    async for event in run.events():
        if isinstance(event, TextChunk):
            text += event.text
        elif isinstance(event, TextRewind):
            text = text[: event.to]
    if text.count("word") != PIECES:
        raise RuntimeError(f"a reader got {text!r}")


async def measure_streams() -> Streams:
    """Measure on a stack of its own."""
    graph = chain(1, model)
    async with FakeProvider.start_process(script=script(FIRST_S, 0.0, 0.0)) as fake:
        settings = WorkerSettings(address=None, db=None, demo_model=fake.openai_url, graceful_shutdown_s=1.0)
        async with embedded(settings) as stack:
            client = Client(stack.client, stack.task_queue, task_timeout=stack.task_timeout, store=stack.store_url)
            for n in range(WARM_UP):
                await first_piece(client, graph, n)
            base = await alone(fake)
            over = [(await first_piece(client, graph, n) - base) * 1000 for n in range(SAMPLES)]
            await fake.script(script(FIRST_S, CHUNK_S, SIGMA))
            process = psutil.Process(fake.pid)
            cpu, began = sum(process.cpu_times()[:2]), time.monotonic()
            await asyncio.gather(*(whole(client, graph, n) for n in range(STREAMS)))
            seconds = time.monotonic() - began
            cpu = sum(process.cpu_times()[:2]) - cpu
    return Streams(
        overhead_ms=(statistics.median(over), statistics.quantiles(over, n=20)[18]),
        alone_ms=base * 1000,
        pieces_per_s=STREAMS * PIECES / seconds,
        at_most=STREAMS * PIECES / (FIRST_S + PIECES * CHUNK_S),
        seconds=seconds,
        fake_cpu_s=cpu,
    )


def lines(found: Streams) -> str:
    """Write it for people."""
    p50, p95 = found.overhead_ms
    return (
        f"first piece of a model's text: {p50:.0f} ms (p50), {p95:.0f} ms (p95) later than from the provider itself, "
        f"which takes {found.alone_ms:.0f} ms; {SAMPLES} runs one after another\n"
        f"{STREAMS} streams at once: {found.pieces_per_s:.0f} pieces/s in {found.seconds:.1f} s; the provider gives "
        f"{found.at_most:.0f}\n"
        f"The provider is simulated: {PIECES} pieces, {FIRST_S * 1000:.0f} ms to the first, {CHUNK_S * 1000:.0f} ms "
        f"between two, lognormal with sigma {SIGMA} for the streams, seed {SEED}; it computed {found.fake_cpu_s:.1f} s "
        "meanwhile."
    )
