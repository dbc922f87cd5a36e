"""One run of the flow: started, its form answered, watched to its end, and compared with the undisturbed run."""

from __future__ import annotations

import asyncio
import difflib
import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from temporalio.api.history.v1 import HistoryEvent
from temporalio.service import RPCError

from perdure import RunHandle
from perdure_graph.errors import CommandRefused, PerdureError
from perdure_graph.events import Event
from perdure_graph.request import RunResult

from .histories import Asked, Moment, asked_twice, histories, reached
from .recorded import complete, lasting, recorded
from .stand import Seat, Stand

LIMIT_S = 100.0
STORE_LIMIT_S = 20.0
_AGAIN_S = 0.2
_WORD_S = 2.0
_numbers = itertools.count(1)


@dataclass
class Outcome:
    """How a case went. Times in seconds; `struck` is False when the run ended before its moment came.

    redelivered: requests with a key that the target knew already, and so did not perform again.
    model_calls, asked_again: answers of models, and requests to them whose answer got lost.
    recovery: from the blow to the first progress after it. delay: how much later than undisturbed the run ended.
    """

    kind: str
    case: str
    moment: str
    struck: bool = True
    lost: list[str] = field(default_factory=list[str])
    doubled: list[str] = field(default_factory=list[str])
    redelivered: int = 0
    model_calls: int = 0
    asked_again: int = 0
    recovery: float | None = None
    delay: float | None = None

    @property
    def fine(self) -> bool:
        """Whether nothing was lost and nothing done twice."""
        return not (self.lost or self.doubled)


Done = Callable[[Outcome], None]
"""Hears of each case as soon as it is over."""


@dataclass(frozen=True)
class Undisturbed:
    """A run that nobody disturbed: what all others are measured by.

    sizes: history events by scope. recorded: events in the run store by scope, without those that come and go.
    story: see `Piece`.
    """

    result: RunResult
    events: Counter[tuple[str, ...]]
    seconds: float
    sizes: dict[str, int]
    recorded: dict[str, int]
    story: Any

    def moments(self) -> list[Moment]:
        """Every event of all histories."""
        return [Moment(scope, number) for scope, size in self.sizes.items() for number in range(1, size + 1)]

    def moment(self, chance: random.Random) -> Moment:
        """Any event but the last ones: they may have other numbers in another run."""
        return chance.choice([moment for moment in self.moments() if moment.number <= self.sizes[moment.scope] - 5])


class Run:
    """A run in motion, with a task that answers its form and collects its events."""

    def __init__(self, stand: Stand, handle: RunHandle, case: str) -> None:
        self.stand = stand
        self.handle = handle
        self.case = case
        self.began = time.time()
        self.ended: float | None = None
        self.seen: list[Event] = []
        self.task = asyncio.create_task(self._tend())

    async def result(self) -> RunResult:
        """Wait for the result, within the limit.

        Raises:
            TimeoutError: it did not end.
        """
        async with asyncio.timeout(LIMIT_S):
            return await asyncio.shield(self.task)

    def kinds(self) -> Counter[tuple[str, ...]]:
        """Count the events that were seen, without those that come and go."""
        return _kinds(self.seen, self.stand.piece.passing)

    async def _tend(self) -> RunResult:
        piece = self.stand.piece
        answering = {asyncio.ensure_future(piece.beside(self))}
        try:
            while True:
                try:
                    async for event in self.handle.events(after=len(self.seen)):
                        self.seen.append(event)
                        if event.type == "human_input_required" and event.node_id == piece.form:
                            answering.add(asyncio.create_task(self._answer(event.key)))
                    result = await self.handle.result()
                    self.ended = self.ended or time.time()
                    return result
                except (PerdureError, RPCError):
                    # Whatever is away is away for a while; the limit of the case is what ends this.
                    await asyncio.sleep(_AGAIN_S)
        finally:
            for task in answering:
                task.cancel()
            await asyncio.gather(*answering, return_exceptions=True)

    async def _answer(self, key: str) -> None:
        while True:
            try:
                await self.handle.submit(key, "yes", self.stand.piece.answer, id=f"answer-{self.case}")
                return
            except (PerdureError, RPCError):
                await asyncio.sleep(_AGAIN_S)


async def begin(stand: Stand, seat: Seat, kind: str) -> Run:
    """Start a run."""
    case = f"{kind}-{next(_numbers)}"
    run_id = f"{case}-{int(time.time() * 1000)}"
    handle = await stand.piece.start(seat.client, stand.target.url, case, run_id)
    return Run(stand, handle, case)


async def undisturbed(stand: Stand, seat: Seat) -> Undisturbed:
    """Run the piece in peace, twice: the first run warms the worker up."""
    await (await begin(stand, seat, "warm")).result()
    run = await begin(stand, seat, "calm")
    result = await run.result()
    assert run.ended is not None
    done = stand.target.done(run.case)
    piece = stand.piece
    assert done == piece.effects(), f"the undisturbed run did {done}"
    assert result.status == piece.status, f"the undisturbed run {result.status}: {result.error}"
    found = await histories(stand.temporal, run.handle.run_id, piece.scopes)
    sizes = {scope: len(events) for scope, events in found.items()}
    kept = await recorded(stand.store, run.handle.run_id)
    counts = {scope: lasting(rows, piece.passing) for scope, rows in kept.items()}
    assert counts.get("") == run.kinds().total(), f"of {len(run.seen)} events, {counts} are recorded"
    assert counts.keys() == set(piece.scopes), f"recorded are {counts}"
    return Undisturbed(result, run.kinds(), run.ended - run.began, sizes, counts, await piece.story(run))


async def settled(stand: Stand) -> tuple[Seat, Undisturbed]:
    """Give a worker and what its runs look like in peace."""
    seat = await stand.seat()
    return seat, await undisturbed(stand, seat)


async def struck_at(run: Run, moment: Moment | Asked) -> bool:
    """Wait until an event is in a history; False when the run ended before."""
    return await came_first(run, reached(run.stand.temporal, run.handle.run_id, moment))


async def came_first(run: Run, moment: Coroutine[Any, Any, bool]) -> bool:
    """Wait until something is there; False when the run ended before, or when it says so itself."""
    coming = asyncio.create_task(moment)
    await asyncio.wait({coming, run.task}, return_when=asyncio.FIRST_COMPLETED)
    # Word of the last events may come a little after the end itself.
    await asyncio.wait({coming}, timeout=_WORD_S)
    if not coming.done():
        coming.cancel()
        return False
    return coming.result()


def _kinds(events: list[Event], passing: frozenset[str]) -> Counter[tuple[str, ...]]:
    return Counter(_kind(event) for event in events if event.type not in passing)


def _kind(event: Event) -> tuple[str, ...]:
    more: Any = event
    return (event.type, getattr(more, "frame", ""), getattr(more, "node_id", ""), getattr(more, "status", ""))


async def conclude(run: Run, outcome: Outcome, calm: Undisturbed) -> dict[str, list[HistoryEvent]]:
    """Wait for the end of a run and compare it with the undisturbed one; gives its histories."""
    try:
        result = await run.result()
    except TimeoutError:
        outcome.lost.append(f"no end after {LIMIT_S:.0f} s")
        run.task.cancel()
        return await _histories(run)
    except Exception as error:
        outcome.lost.append(f"no result: {type(error).__name__}: {error}")
        return await _histories(run)
    outcome.delay = (run.ended or time.time()) - run.began - calm.seconds
    if (result.status, result.steps) != (calm.result.status, calm.result.steps):
        outcome.lost.append(f"{result.status} after {result.steps} steps: {result.error}")
    piece = run.stand.piece
    if piece.outputs(result.outputs) != piece.outputs(calm.result.outputs):
        outcome.lost.append(f"other outputs: {result.outputs}")
    _count_effects(run, outcome)
    await _check_events(run, outcome, calm)
    await _check_models(run, outcome)
    if (story := await piece.story(run)) != calm.story:
        outcome.lost.append(f"another story: {_difference(calm.story, story)}")
    found = await _histories(run)
    outcome.doubled += [f"{name} was asked for twice" for name in asked_twice(found)]
    return found


async def _histories(run: Run) -> dict[str, list[HistoryEvent]]:
    return await histories(run.stand.temporal, run.handle.run_id, run.stand.piece.scopes)


def _difference(before: Any, now: Any) -> str:
    """Show two texts from where they begin to differ."""
    texts = [json.dumps(value, indent=1).splitlines() for value in (before, now)]
    return " ".join(line for line in difflib.unified_diff(*texts, n=1, lineterm=""))


async def _check_models(run: Run, outcome: Outcome) -> None:
    account = await run.stand.piece.account(run)
    outcome.lost += account.lost
    outcome.doubled += account.doubled
    outcome.model_calls, outcome.asked_again = account.calls, account.again


def _count_effects(run: Run, outcome: Outcome) -> None:
    done, effects = run.stand.target.done(run.case), run.stand.piece.effects()
    outcome.redelivered = sum(asked.repeated for asked in run.stand.target.of(run.case))
    outcome.lost += [f"effect {name} never happened" for name in effects - done]
    outcome.doubled += [f"effect {name} happened {done[name]} times" for name in done if done[name] > 1]
    outcome.doubled += [f"unknown effect {name}" for name in done.keys() - effects.keys()]


async def _check_events(run: Run, outcome: Outcome, calm: Undisturbed) -> None:
    try:
        kept = [event async for event in run.handle.events()]
    except PerdureError as error:
        outcome.lost.append(f"its events cannot be read: {error}")
        return
    numbers = [event.seq for event in kept]
    if numbers != list(range(1, len(kept) + 1)):
        outcome.lost.append(f"event numbers {numbers}")
    shown, there = ([" ".join((str(event.seq), *_kind(event))) for event in some] for some in (run.seen, kept))
    if shown != there:
        outcome.lost.append(f"not the events of the run were shown: {_difference(there, shown)}")
    kinds = _kinds(kept, run.stand.piece.passing)
    outcome.lost += [f"no event {' '.join(kind)}" for kind in calm.events - kinds]
    outcome.doubled += [f"one more event {' '.join(kind)}" for kind in kinds - calm.events]
    outcome.lost += await complete(
        run.stand.store, run.handle.run_id, calm.recorded, run.stand.piece.passing, STORE_LIMIT_S
    )


async def accepted(command: Any) -> bool:
    """Give a command until it is heard; False when the run has ended."""
    while True:
        try:
            await command()
            return True
        except CommandRefused:
            return False
        except (PerdureError, RPCError):
            await asyncio.sleep(_AGAIN_S)
