"""SIGKILL for the worker at every history event of a run and of its windows, each in a run of its own."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from .histories import Moment, first_after
from .play import Outcome, Undisturbed, begin, conclude, struck_at, undisturbed
from .stand import Seat, Stand

KIND = "worker, at every event"


async def kill_at(stand: Stand, seat: Seat, moment: Moment, calm: Undisturbed) -> Outcome:
    """Start a run, kill its worker as soon as an event is there, start another one, and look at the end."""
    run = await begin(stand, seat, "worker")
    outcome = Outcome(KIND, run.case, str(moment))
    if not await struck_at(run, moment):
        # The history of this run is shorter than that of the undisturbed one.
        outcome.struck = False
        await conclude(run, outcome, calm)
        return outcome
    killed = time.time()
    await seat.kill()
    await seat.start()
    found = await conclude(run, outcome, calm)
    went_on = first_after([event for events in found.values() for event in events], killed, seat.identity)
    outcome.recovery = None if went_on is None else went_on - killed
    return outcome


async def kill_workers(stand: Stand, every: int, parallel: int) -> list[Outcome]:
    """Kill workers at all moments, several runs at a time."""
    seats = [await stand.seat() for _ in range(parallel)]
    calm = await undisturbed(stand, seats[0])
    left = deque(calm.moments()[every // 2 :: every])
    outcomes: list[Outcome] = []

    async def work(seat: Seat) -> None:
        while left:
            outcomes.append(await kill_at(stand, seat, left.popleft(), calm))

    await asyncio.gather(*(work(seat) for seat in seats))
    return outcomes
