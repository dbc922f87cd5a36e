"""SIGKILL for the Temporal server, on its file: clients and workers stay and find it again on its port."""

from __future__ import annotations

import random
import time

from .histories import Moment, first_after
from .play import Done, Outcome, Undisturbed, begin, conclude, struck_at
from .stand import Seat, Stand

KIND = "server, on its file"


async def kill_server_at(stand: Stand, seat: Seat, moment: Moment, calm: Undisturbed) -> Outcome:
    """Start a run, kill the server as soon as an event is there, start it again, and look at the end."""
    run = await begin(stand, seat, "server")
    outcome = Outcome(KIND, run.case, str(moment))
    if not await struck_at(run, moment):
        outcome.struck = False
        await conclude(run, outcome, calm)
        return outcome
    killed = time.time()
    await stand.kill_server()
    await stand.restart_server()
    back = time.time()
    found = await conclude(run, outcome, calm)
    went_on = first_after([event for events in found.values() for event in events], back)
    outcome.recovery = None if went_on is None else went_on - killed
    return outcome


async def kill_servers(
    stand: Stand, seat: Seat, calm: Undisturbed, count: int, chance: random.Random, done: Done
) -> None:
    """Kill the server at random moments, one run after the other."""
    for _ in range(count):
        done(await kill_server_at(stand, seat, calm.moment(chance), calm))
