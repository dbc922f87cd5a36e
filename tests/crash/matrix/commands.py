"""Pause, restart everything, resume; and stop: at random moments of a run."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress

from temporalio.service import RPCError

from perdure_graph.errors import PerdureError

from .histories import Moment, effects, first_after, histories
from .play import Done, Outcome, Run, Undisturbed, accepted, begin, conclude, struck_at
from .stand import Seat, Stand

PAUSE_KIND = "pause, restart of everything, resume"
STOP_KIND = "stop"
QUIET_S = 1.5
_AT_ONCE = 10
_AGAIN_S = 0.1
_REST_LIMIT_S = 60.0


async def pause_all(stand: Stand, seat: Seat, calm: Undisturbed, count: int, chance: random.Random, done: Done) -> None:
    """Pause runs at random moments, some at a time; kill server and worker; resume them on new ones."""
    for first in range(0, count, _AT_ONCE):
        pausing = [_paused(stand, seat, calm, chance) for _ in range(min(count - first, _AT_ONCE))]
        paused = list(await asyncio.gather(*pausing))
        for outcome in await restarted(stand, seat, paused, calm):
            done(outcome)


async def _paused(stand: Stand, seat: Seat, calm: Undisturbed, chance: random.Random) -> tuple[Run, Outcome]:
    """Start runs until one takes its pause before it ends, and wait until it is at rest."""
    while True:
        run = await begin(stand, seat, "pause")
        moment = calm.moment(chance)
        outcome = Outcome(PAUSE_KIND, run.case, str(moment))
        if await struck_at(run, moment) and await accepted(lambda run=run: run.handle.pause("a drill")):
            await rested(run)
            return run, outcome
        await run.result()


async def rested(run: Run) -> None:
    """Wait until a run is at rest, or over.

    Raises:
        TimeoutError: it goes on.
    """
    async with asyncio.timeout(_REST_LIMIT_S):
        while True:
            with suppress(PerdureError, RPCError):
                if (await run.handle.status()).status == "paused" or run.task.done():
                    return
            await asyncio.sleep(_AGAIN_S)


async def restarted(
    stand: Stand, seat: Seat, paused: list[tuple[Run, Outcome]], calm: Undisturbed, *, at_rest: bool = True
) -> list[Outcome]:
    """Kill server and worker under runs that were paused, start new ones, resume the runs and look at their ends.

    at_rest: whether the runs are; else they come to rest on the new ones.
    """
    before = {run.case: len(stand.target.of(run.case)) for run, _ in paused}
    await asyncio.gather(stand.kill_server(), seat.kill())
    await stand.restart_server()
    await seat.start()
    if not at_rest:
        await asyncio.gather(*(rested(run) for run, _ in paused))
        before = {run.case: len(stand.target.of(run.case)) for run, _ in paused}
    await asyncio.sleep(QUIET_S)

    async def resumed(run: Run, outcome: Outcome) -> Outcome:
        if len(stand.target.of(run.case)) != before[run.case]:
            outcome.doubled.append("an effect happened during the pause")
        asked = time.time()
        if not await accepted(run.handle.resume):
            outcome.lost.append("the resume was refused")
        found = await conclude(run, outcome, calm)
        outcome.delay = None
        went_on = first_after([event for events in found.values() for event in events], asked, seat.identity)
        outcome.recovery = None if went_on is None else went_on - asked
        return outcome

    return list(await asyncio.gather(*(resumed(run, outcome) for run, outcome in paused)))


async def stop_all(stand: Stand, seat: Seat, calm: Undisturbed, count: int, chance: random.Random, done: Done) -> None:
    """Stop runs at random moments, one after the other."""
    for _ in range(count):
        done(await _stopped(stand, seat, calm.moment(chance)))


async def _stopped(stand: Stand, seat: Seat, moment: Moment) -> Outcome:
    run = await begin(stand, seat, "stop")
    outcome = Outcome(STOP_KIND, run.case, str(moment))
    asked = time.time()
    if not (await struck_at(run, moment) and await _stop(run, outcome)):
        outcome.struck = False
        await run.result()
        return outcome
    returned = time.time()
    result = await run.result()
    await asyncio.sleep(QUIET_S)
    found = await histories(stand.temporal, run.handle.run_id, stand.piece.scopes)
    late = [f"{scope or 'run'}:{key}" for scope, key, at in effects(found) if at > returned]
    stray = [f"{one.what} ({one.at - returned:.3f} s)" for one in stand.target.of(run.case) if one.at > returned]
    outcome.doubled += [f"effect {name} started after the stop" for name in (*late, *stray)]
    if result.status != "stopped":
        outcome.lost.append(f"{result.status} instead of stopped")
    outcome.recovery = returned - asked
    return outcome


async def _stop(run: Run, outcome: Outcome) -> bool:
    try:
        return await accepted(lambda: run.handle.stop("a drill"))
    except PerdureError as error:
        outcome.lost.append(f"the stop failed: {error}")
        return True
