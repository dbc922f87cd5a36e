"""The client without async code, and a stack of one's own."""

from __future__ import annotations

import asyncio
from typing import Any

from fakes.graphs import document, end, start
from perdure import Client, Graph, Sync, embedded
from perdure_worker.embedded import EmbeddedStack

FLOW = Graph.from_document(document([start(x="number"), end(x=["start", "x"])], [("start", "end")]))


async def test_plain_code_starts_watches_and_waits(stack: EmbeddedStack) -> None:
    def use() -> tuple[list[str], dict[str, Any]]:
        with Sync() as sync:
            client = sync(Client.connect(stack.address, task_queue=stack.task_queue))
            handle = sync(client.start(FLOW, {"x": 4}))
            kinds = [event.type for event in sync.iterate(handle.events())]
            return kinds, sync(handle.outputs())

    kinds, outputs = await asyncio.to_thread(use)
    assert (kinds[0], kinds[-1], outputs) == ("run_started", "run_finished", {"x": 4})


async def test_five_lines_with_a_stack_of_ones_own() -> None:
    async with embedded() as client:
        handle = await client.start(FLOW, {"x": 5})
        assert await handle.outputs() == {"x": 5}
