"""Heartbeats: they make a lost worker and a cancelled run known within seconds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from temporalio import activity

HEARTBEAT_S = 1.0


@asynccontextmanager
async def heartbeats() -> AsyncGenerator[None]:
    """Heartbeat every second while the block runs; outside of an activity do nothing."""
    if not activity.in_activity():
        yield
        return
    beat = asyncio.create_task(_beat())
    try:
        yield
    finally:
        beat.cancel()


async def _beat() -> None:
    # Most effects are done before the first is due, and each costs a call to the server.
    while True:
        await asyncio.sleep(HEARTBEAT_S)
        activity.heartbeat()
