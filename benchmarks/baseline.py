"""The same work written by hand: what Perdure is measured against.

Same activity, same payload types and the options that Perdure gives an activity of this class, but no graph, no
variables, no events, no commands.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TypedDict

from perdure_bench_nodes.effects import BenchNoop, BenchReply
from temporalio import workflow
from temporalio.common import RetryPolicy


class Options(TypedDict):
    """Keywords for `workflow.execute_activity`."""

    start_to_close_timeout: timedelta
    heartbeat_timeout: timedelta
    retry_policy: RetryPolicy
    cancellation_type: workflow.ActivityCancellationType


# Written out, not imported: the sandbox loads anew, for every run, whatever this file imports.
OPTIONS = Options(
    start_to_close_timeout=timedelta(seconds=60),
    heartbeat_timeout=timedelta(seconds=5),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(milliseconds=500), maximum_interval=timedelta(seconds=10), maximum_attempts=5
    ),
    cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
)


async def _noop(text: str) -> str:
    reply = await workflow.execute_activity("bench_noop", BenchNoop(text=text), result_type=BenchReply, **OPTIONS)
    return reply.text


@workflow.defn
class BaselineChain:
    """Call the activity `length` times, each time with what it gave before."""

    @workflow.run
    async def run(self, length: int, text: str) -> str:
        """Give the last text."""
        for _ in range(length):
            text = await _noop(text)
        return text


@workflow.defn
class BaselineFanOut:
    """Call the activity `width` times at once."""

    @workflow.run
    async def run(self, width: int, text: str) -> str:
        """Give the last text."""
        texts = await asyncio.gather(*(_noop(text) for _ in range(width)))
        return texts[-1]


WORKFLOWS: list[type] = [BaselineChain, BaselineFanOut]
