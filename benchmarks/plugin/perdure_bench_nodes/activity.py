"""The activity behind bench-noop."""

from __future__ import annotations

from temporalio import activity

from .effects import BenchNoop, BenchReply


@activity.defn(name=BenchNoop.activity)
async def bench_noop(request: BenchNoop) -> BenchReply:
    """Answer at once."""
    return BenchReply(text=request.text)
