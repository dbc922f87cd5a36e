"""Refuse replies that no history can hold, where the node can still be named."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

# One payload may hold 2 MiB on the server; the rest is room for the envelope.
MAX_REPLY_BYTES = 2 * 1024 * 1024 - 16 * 1024


class ReplyLimit(Interceptor):
    """Fails an activity whose reply is too large; sent anyway, it would fail the whole run without a name."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """Wrap the activity."""
        return _Limited(next)


class _Limited(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        reply = await self.next.execute_activity(input)
        size = len(reply.model_dump_json().encode()) if isinstance(reply, BaseModel) else 0
        if size > MAX_REPLY_BYTES:
            info = activity.info()
            raise ApplicationError(
                f"{info.activity_type!r} of {info.activity_id!r} gave {size:,} bytes; the limit is "
                f"{MAX_REPLY_BYTES:,}. Return less, or a file.",
                type="PayloadTooLarge",
                non_retryable=True,
            )
        return reply
