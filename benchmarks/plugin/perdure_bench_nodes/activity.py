"""The activity behind bench-noop."""

from __future__ import annotations

import asyncio

from temporalio import activity

from .effects import BenchNoop, BenchReply


@activity.defn(name=BenchNoop.activity)
async def bench_noop(request: BenchNoop) -> BenchReply:
    """Answer at once, or after what stands for a slow call."""
    if request.wait_s:
        await asyncio.sleep(request.wait_s)
    return BenchReply(text=request.text)
