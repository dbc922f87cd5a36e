"""Refuse replies that no history can hold, where the node can still be named."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from perdure_graph.oversize import TOO_LARGE, json_size, over_limit


class ReplyLimit(Interceptor):
    """Fails an activity whose reply is too large; sent anyway, it would fail the whole run without a name.

    most: bytes of a reply as JSON (`perdure_payloads.value_limit`).
    """

    def __init__(self, most: int) -> None:
        self._most = most

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """Wrap the activity."""
        return _Limited(next, self._most)


class _Limited(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, most: int) -> None:
        super().__init__(next)
        self._most = most

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        reply = await self.next.execute_activity(input)
        size = json_size(reply) if isinstance(reply, BaseModel) else 0
        if size > self._most:
            info = activity.info()
            raise ApplicationError(
                f"{info.activity_type!r} of {info.activity_id!r} gave {over_limit(reply, size, self._most)}. "
                "Return less, or a file; docs/payloads.md says how to raise the limit.",
                type=TOO_LARGE,
                non_retryable=True,
            )
        return reply
