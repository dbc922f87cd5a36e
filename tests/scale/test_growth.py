"""History grows with what is new, not with what is already there."""

from __future__ import annotations

import random
import statistics
import string
from collections.abc import Mapping
from typing import Any

from scale.flows import chain, each_item, histories

from perdure import Client, Graph, RunOptions
from perdure_worker.embedded import EmbeddedStack

# Nothing that compression could hide a second copy of.
TEXT = "".join(random.Random(26).choices(string.ascii_letters + string.digits, k=2_000))
# Twice the work, and some slack; a state stored anew at every step would give nearly four.
MOST = 2.3
# Events ride in effects in batches that depend on time, and so does how well they compress.
TIMES = 2


async def size_of(
    perdure: Client, stack: EmbeddedStack, graph: Graph, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
) -> float:
    """Bytes in all histories of a run, the mean of some runs."""
    sizes: list[int] = []
    for _ in range(TIMES):
        handle = await perdure.start(graph, inputs, options=RunOptions(window_items=10))
        assert await handle.outputs() == outputs
        sizes.append(sum(each.size for each in await histories(stack.client, handle.run_id)))
    return statistics.mean(sizes)


async def test_complaint_26_twice_the_nodes_take_twice_the_bytes(perdure: Client, stack: EmbeddedStack) -> None:
    """Every step stored the whole state again."""
    value = {"text": TEXT}
    await (await perdure.start(chain(1), value)).outputs()
    sizes = [await size_of(perdure, stack, chain(length), value, value) for length in (20, 40)]
    print(sizes, sizes[1] / sizes[0])
    assert sizes[1] / sizes[0] < MOST, sizes


async def test_complaint_26_twice_the_items_take_twice_the_bytes(perdure: Client, stack: EmbeddedStack) -> None:
    """The items of a window travel to that window only, its results come back once."""
    sizes: list[float] = []
    for count in (30, 60):
        items = [f"{index}: {TEXT[index : index + 500]}" for index in range(count)]
        sizes.append(await size_of(perdure, stack, each_item(4), {"items": {"l": items}}, {"out": items}))
    print(sizes, sizes[1] / sizes[0])
    assert sizes[1] / sizes[0] < MOST, sizes
