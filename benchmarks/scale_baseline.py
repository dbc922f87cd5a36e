"""A large iteration written by hand: child workflows of some items each, so that no history holds them all."""

from __future__ import annotations

import asyncio

from baseline import OPTIONS
from perdure_bench_nodes.effects import BenchNoop, BenchReply
from temporalio import workflow


@workflow.defn
class BaselineWindow:
    """Call the activity once per item, at most `width` at once."""

    @workflow.run
    async def run(self, items: list[str], width: int) -> list[str]:
        """Give the texts in order."""
        texts = [""] * len(items)
        left = iter(enumerate(items))

        async def lane() -> None:
            for index, item in left:
                reply = await workflow.execute_activity(
                    "bench_noop", BenchNoop(text=item), result_type=BenchReply, **OPTIONS
                )
                texts[index] = reply.text

        await asyncio.gather(*(lane() for _ in range(width)))
        return texts


@workflow.defn
class BaselineItems:
    """Spread items over `BaselineWindow` children of `size` items; `lanes` of them run at once."""

    @workflow.run
    async def run(self, items: list[str], size: int, lanes: int, width: int) -> list[str]:
        """Give the texts in order."""
        found: dict[int, list[str]] = {}
        left = iter(range(0, len(items), size))

        async def lane() -> None:
            for first in left:
                found[first] = await workflow.execute_child_workflow(
                    "BaselineWindow",
                    args=[items[first : first + size], width],
                    id=f"{workflow.info().workflow_id}/{first}",
                    result_type=list[str],
                )

        await asyncio.gather(*(lane() for _ in range(lanes)))
        return [text for first in sorted(found) for text in found[first]]


WORKFLOWS: list[type] = [BaselineWindow, BaselineItems]
