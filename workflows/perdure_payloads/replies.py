"""Hold a large reply until the blob store takes it, rather than lose the work that made it.

The SDK writes an activity's result when the activity is over and heartbeats no more; a store that is away for longer
than the heartbeat timeout would cost the attempt, and the effect would be performed again. So the wait is here.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_json
from temporalio import activity
from temporalio.converter import DataConverter
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from .driver import BlobDriver
from .errors import BlobsUnavailable

_PAUSE_S = 0.5
# Left of the attempt's time for writing the reply.
_MARGIN_S = 2.0


class HoldReplies(Interceptor):
    """Makes activities wait, heartbeating, while the blob store would not take their reply."""

    def __init__(self, converter: DataConverter) -> None:
        storage = converter.external_storage
        drivers = [driver for driver in storage.drivers if isinstance(driver, BlobDriver)] if storage else []
        self._driver = drivers[0] if drivers else None
        self._threshold = storage.payload_size_threshold if storage else 0

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """Wrap the activity."""
        return next if self._driver is None else _Held(next, self._driver, self._threshold)


class _Held(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, driver: BlobDriver, threshold: int) -> None:
        super().__init__(next)
        self._driver = driver
        self._threshold = threshold

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        reply = await self.next.execute_activity(input)
        size = len(to_json(reply)) if isinstance(reply, BaseModel) else 0
        if size >= self._threshold:
            await self._until_available(size)
        return reply

    async def _until_available(self, size: int) -> None:
        info = activity.info()
        allowed = info.start_to_close_timeout.total_seconds() if info.start_to_close_timeout else 60.0
        deadline = info.started_time.timestamp() + allowed - _MARGIN_S
        while True:
            try:
                await self._driver.available(size)
                return
            except BlobsUnavailable:
                if time.time() + _PAUSE_S > deadline or activity.is_worker_shutdown():
                    raise
            activity.heartbeat()
            await asyncio.sleep(_PAUSE_S)
