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

from graphs import chain, model

from perdure import Client, Graph
from perdure_fake import FakeProvider, Script
from perdure_fake.script import Delay, Latency, Reply, Step
from perdure_graph.events import TextChunk
from perdure_worker.embedded import embedded
from perdure_worker.settings import WorkerSettings

FIRST_S = 0.2
CHUNK_S = 0.02
SIGMA = 0.2
SEED = 7
PIECES = 50
SAMPLES = 40
STREAMS = 50
_ATTEMPTS_BEFORE = 5


@dataclass(frozen=True, slots=True)
class Streams:
    """What was measured.

    overhead_ms: by how much the first piece came later to a reader of the run, from the call that starts it, than to a
        plain client of the provider; p50 and p95.
    pieces_per_s: of `STREAMS` runs at once; `at_most` is what the provider would give with this latency.
    """

    overhead_ms: tuple[float, float]
    direct_ms: float
    pieces_per_s: float
    at_most: float
    fake_cpu_s: float


def script(first_s: float, chunk_s: float, sigma: float) -> Script:
    """Answer with `PIECES` pieces."""
    pieces = tuple(f"word{n} " for n in range(PIECES))
    latency = Latency(first=Delay(median=first_s, sigma=sigma), chunk=Delay(median=chunk_s, sigma=sigma))
    return Script(steps=(Step(reply=Reply(chunks=pieces)),), latency=latency, seed=SEED)


async def direct(fake: FakeProvider) -> float:
    """Seconds to the first piece for a plain client of the provider."""
    from openai import AsyncOpenAI, AsyncStream
    from openai.types.chat import ChatCompletionChunk

    async with AsyncOpenAI(api_key="none", base_url=fake.openai_url, max_retries=0) as client:
        times: list[float] = []
        for n in range(SAMPLES // 2):
            began = time.monotonic()
            stream: AsyncStream[ChatCompletionChunk] = await client.chat.completions.create(
                model="gpt-5.4-mini", messages=[{"role": "user", "content": f"say {n}"}], stream=True
            )
            async for chunk in stream:
                if chunk.choices and chunk.choices[0].delta.content:
                    times.append(time.monotonic() - began)
                    break
            await stream.close()
        return statistics.median(times[_ATTEMPTS_BEFORE:])


async def first_piece(client: Client, graph: Graph, n: int) -> float:
    """Seconds from the call that starts a run to the first piece of its text; the run then goes on to its end."""
    began = time.monotonic()
    run = await client.start(graph, user=str(n))
    found = 0.0
    async for event in run.events():
        if isinstance(event, TextChunk) and event.text and not found:
            found = time.monotonic() - began
    return found


async def whole(client: Client, graph: Graph, n: int) -> int:
    """Read a whole run; gives the pieces that came live."""
    run = await client.start(graph, user=str(n))
    return sum([1 async for event in run.events() if isinstance(event, TextChunk) and event.text])


async def measure_streams() -> Streams:
    """Measure on a stack of its own."""
    graph = chain(1, model)
    async with FakeProvider.start_process(script=script(FIRST_S, 0.0, 0.0)) as fake:
        settings = WorkerSettings(address=None, db=None, demo_model=fake.openai_url, graceful_shutdown_s=1.0)
        async with embedded(settings) as stack:
            client = Client(stack.client, stack.task_queue, task_timeout=stack.task_timeout, store=stack.store_url)
            for n in range(_ATTEMPTS_BEFORE):
                await first_piece(client, graph, n)
            alone = await direct(fake)
            times = [await first_piece(client, graph, n) - alone for n in range(SAMPLES)]
            await fake.script(script(FIRST_S, CHUNK_S, SIGMA))
            began = time.monotonic()
            await asyncio.gather(*(whole(client, graph, n) for n in range(STREAMS)))
            seconds = time.monotonic() - began
    ideal = STREAMS * PIECES / (FIRST_S + PIECES * CHUNK_S)
    cuts = statistics.quantiles(times, n=20)
    return Streams(
        (statistics.median(times) * 1000, cuts[18] * 1000), alone * 1000, STREAMS * PIECES / seconds, ideal, 0.0
    )
