"""Outages beside Temporal: PostgreSQL (the run store) is stopped or hangs, the blob folder is unmounted."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fakes.postgres import Postgres

from .histories import Moment
from .play import Done, Outcome, Undisturbed, begin, conclude, struck_at
from .stand import Seat, Stand

STORE_KIND = "PostgreSQL, 5 s away"
BLOBS_KIND = "blob folder, 3 s away"
STORE_AWAY_S = 5.0
BLOBS_AWAY_S = 3.0

Outage = Callable[[], AbstractAsyncContextManager[None]]


async def _struck(stand: Stand, seat: Seat, kind: str, outage: Outage, moment: Moment, calm: Undisturbed) -> Outcome:
    run = await begin(stand, seat, kind.partition(",")[0].replace(" ", "-"))
    outcome = Outcome(kind, run.case, str(moment))
    if not await struck_at(run, moment):
        outcome.struck = False
        await conclude(run, outcome, calm)
        return outcome
    async with outage():
        pass
    await conclude(run, outcome, calm)
    # Some events of the history come in any case: only the end tells what the outage cost.
    outcome.recovery = None if outcome.delay is None else max(0.0, outcome.delay)
    return outcome


async def postgres_away(
    stand: Stand, seat: Seat, calm: Undisturbed, server: Postgres, count: int, chance: random.Random, done: Done
) -> None:
    """Stop PostgreSQL at random moments, every other time only freeze it."""

    @asynccontextmanager
    async def stopped() -> AsyncGenerator[None]:
        await asyncio.to_thread(server.stop)
        await asyncio.sleep(STORE_AWAY_S)
        await asyncio.to_thread(server.start)
        yield

    @asynccontextmanager
    async def frozen() -> AsyncGenerator[None]:
        with server.hanging():
            await asyncio.sleep(STORE_AWAY_S)
        yield

    for index in range(count):
        outage = frozen if index % 2 else stopped
        done(await _struck(stand, seat, STORE_KIND, outage, calm.moment(chance), calm))


async def blobs_away(
    stand: Stand, seat: Seat, calm: Undisturbed, count: int, chance: random.Random, done: Done
) -> None:
    """Rename the blob folder away at random moments."""

    @asynccontextmanager
    async def renamed() -> AsyncGenerator[None]:
        elsewhere = stand.blobs.with_name("elsewhere")
        stand.blobs.rename(elsewhere)
        await asyncio.sleep(BLOBS_AWAY_S)
        elsewhere.rename(stand.blobs)
        yield

    for _ in range(count):
        done(await _struck(stand, seat, BLOBS_KIND, renamed, calm.moment(chance), calm))
