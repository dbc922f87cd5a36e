"""SIGKILL for the worker at every history event of a run and what is below it, and in every effect, run by run."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .histories import Moment, first_after
from .play import Done, Outcome, Undisturbed, begin, came_first, conclude, struck_at
from .stand import Seat, Stand

EVENT_KIND = "worker, at every event"
EFFECT_KIND = "worker, in the middle of every effect"


@dataclass(frozen=True)
class UnderWay:
    """The moment at which the target has performed a request, its number in the run, and nobody knows of it."""

    number: int

    def __str__(self) -> str:
        return f"request {self.number}"


Blow = Moment | UnderWay


def blows(stand: Stand, calm: Undisturbed) -> list[Blow]:
    """Every event of all histories, and every outside effect."""
    return [*calm.moments(), *map(UnderWay, range(1, stand.piece.effects().total() + 1))]


async def kill_at(stand: Stand, seat: Seat, blow: Blow, calm: Undisturbed) -> Outcome:
    """Start a run, kill its worker as soon as its moment is there, start another one, and look at the end."""
    run, label = await begin(stand, seat, "worker"), stand.piece.label
    match blow:
        case Moment():
            outcome = Outcome(label + EVENT_KIND, run.case, str(blow))
            outcome.struck = await struck_at(run, blow)
        case UnderWay(number=number):
            outcome = Outcome(label + EFFECT_KIND, run.case, str(blow))
            outcome.struck = await came_first(run, stand.target.arrived(run.case, number))
    if not outcome.struck:
        # This run does less than the undisturbed one did.
        await conclude(run, outcome, calm)
        return outcome
    killed = time.time()
    await seat.kill()
    await seat.start()
    found = await conclude(run, outcome, calm)
    went_on = first_after([event for events in found.values() for event in events], killed, seat.identity)
    outcome.recovery = None if went_on is None else went_on - killed
    return outcome


async def kill_workers(
    stand: Stand, seats: Sequence[Seat], calm: Undisturbed, some: Iterable[Blow], done: Done
) -> None:
    """Kill workers, as many runs at a time as there are seats."""
    left = deque(some)

    async def work(seat: Seat) -> None:
        while left:
            done(await kill_at(stand, seat, left.popleft(), calm))

    await asyncio.gather(*(work(seat) for seat in seats))
