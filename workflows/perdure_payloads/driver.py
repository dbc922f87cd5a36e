"""What every blob driver can do, and how short outages of its store are waited out."""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections.abc import Callable
from typing import TypeVar

from temporalio.converter import StorageDriver

from .errors import BlobsUnavailable

T = TypeVar("T")

# Well under the heartbeat timeout of activities (5 s): nothing heartbeats while payloads are read or written. A
# workflow task or an activity that fails here is tried again by Temporal.
PATIENCE_S = 2.0
_FIRST_S = 0.05
_MOST_S = 0.5


class BlobDriver(StorageDriver):
    """A driver that can be asked whether it would take something, before there is something to lose."""

    @abstractmethod
    async def available(self, size: int) -> None:
        """Return if `size` more bytes can be stored now.

        Raises:
            BlobsUnavailable: they cannot.
        """


async def patiently(work: Callable[[], T]) -> T:
    """Do blocking work in a thread, again while the blob store is away, for a short while.

    Raises:
        BlobsUnavailable: it stayed away.
    """
    deadline = time.monotonic() + PATIENCE_S
    pause = _FIRST_S
    while True:
        try:
            return await asyncio.to_thread(work)
        except BlobsUnavailable:
            if time.monotonic() + pause > deadline:
                raise
        await asyncio.sleep(pause)
        pause = min(2 * pause, _MOST_S)
