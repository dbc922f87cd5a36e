"""An agent loop as one writes it by hand on Temporal: what an agent of Perdure is measured against.

One activity asks the model, one runs the tool; the workflow holds the messages and sends all of them along each time.
The request goes through the same adapter, HTTP client and guard as Perdure's; there is no run store, so no events, no
thread, no ledger, no limits, and nobody sees what the agent does until it is done.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, TypedDict

from temporalio import workflow
from temporalio.common import RetryPolicy

QUERY = "Calculate."
INSTRUCTION = "You calculate."


class Options(TypedDict):
    """Keywords for `workflow.execute_activity`."""

    start_to_close_timeout: timedelta
    heartbeat_timeout: timedelta
    retry_policy: RetryPolicy
    cancellation_type: workflow.ActivityCancellationType


OPTIONS = Options(
    start_to_close_timeout=timedelta(seconds=60),
    heartbeat_timeout=timedelta(seconds=5),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(milliseconds=500), maximum_interval=timedelta(seconds=60), maximum_attempts=20
    ),
    cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
)


@workflow.defn
class BaselineAgent:
    """Ask, run what the model asks for, ask again, until it asks for nothing."""

    @workflow.run
    async def run(self) -> str:
        """Give the answer."""
        messages: list[dict[str, Any]] = [
            {"role": "system", "text": INSTRUCTION},
            {"role": "user", "content": [{"type": "text", "text": QUERY}]},
        ]
        while True:
            said: dict[str, Any] = await workflow.execute_activity("baseline_ask", messages, **OPTIONS)
            messages.append(said["message"])
            if not said["calls"]:
                return said["text"]
            for call in said["calls"]:
                result: str = await workflow.execute_activity("baseline_tool", call, **OPTIONS)
                content = [{"type": "text", "text": result}]
                messages.append({"role": "tool", "call_id": call["id"], "name": call["name"], "content": content})


WORKFLOWS: list[type] = [BaselineAgent]
