"""Blows to an agent and the one below it: pauses at every round and in every call, with a restart of everything."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from temporalio.service import RPCError

from perdure_fake import FakeProvider
from perdure_graph.errors import PerdureError

from . import agent_flow
from .agent_books import Requests, Round, account, story
from .commands import restarted, rested
from .histories import Asked
from .piece import OF_PAUSES, Piece
from .play import Done, Outcome, Run, Undisturbed, accepted, begin, came_first, struck_at
from .stand import Seat, Stand, standing
from .target import Target

LABEL = "agent: "
BETWEEN_KIND = f"{LABEL}pause between rounds, restart of everything, resume"
WITHIN_KIND = f"{LABEL}pause in a call, restart of everything at once, resume"
_AGAIN_S = 0.4
_SOON_S = 0.02
_AT_ONCE = 8
# Nine rounds write a lot at once, and a thread that the store did not take in time is in no table.
STORE_LIMIT_S = 4.0


@dataclass(frozen=True)
class Ground:
    """A stand on which agents are played, and the requests to their models."""

    stand: Stand
    requests: Requests


@asynccontextmanager
async def agents_standing(target: Target, *, file: bool = False) -> AsyncGenerator[Ground]:
    """Set up a stand whose models a fake provider serves, for the length of the block."""
    with tempfile.TemporaryDirectory(prefix="perdure-crash-") as folder:
        async with FakeProvider.start_process(agent_flow.script(target.url)) as provider:
            requests = Requests(provider)
            settings: dict[str, Any] = {
                "demo_model": provider.openai_url,
                "tools": agent_flow.write_tools(Path(folder) / "tools.yaml"),
                "store_limit_s": STORE_LIMIT_S,
            }
            async with standing(target, file=file, piece=piece(requests), **settings) as stand:
                yield Ground(stand, requests)


def piece(requests: Requests) -> Piece:
    """Describe the agent."""

    async def accounted(run: Run) -> Any:
        return await account(requests, run)

    return Piece(
        agent_flow.start,
        agent_flow.effects,
        "succeeded",
        tuple(agent_flow.SCOPES.values()),
        label=LABEL,
        beside=_approving,
        # How often a thought is told depends on which of its calls end together: how it ended is in the story.
        passing=OF_PAUSES | {"agent_thought"},
        outputs=lambda outputs: {name: value for name, value in outputs.items() if name != "usage"},
        story=story,
        account=accounted,
    )


async def _approving(run: Run) -> None:
    """Approve every call that waits, in the run and below it, until the run ends."""
    while True:
        with suppress(PerdureError, RPCError):
            for call in await run.handle.approvals():
                await run.handle.approve(call.key, id=f"{run.case}-{call.key}")
        await asyncio.sleep(_AGAIN_S)


@dataclass(frozen=True)
class Within:
    """The moment at which a round is asked for, or its first call is made: the answer is on its way."""

    agent: str
    number: int
    call: bool = False

    @property
    def key(self) -> str:
        """That of the effect."""
        # The first call of the round that asks the helper is the one beside it.
        return f"agent#r{self.number}.c0" if self.call else f"agent#r{self.number}"

    @property
    def asked(self) -> Asked:
        """The event that says so."""
        return Asked(agent_flow.SCOPES[self.agent], self.key)

    @property
    def round(self) -> Round:
        """Agent, and number of the round."""
        return self.agent, self.number

    def __str__(self) -> str:
        return f"{self.agent}:{self.key}"


def points() -> list[Within]:
    """Every round, and the calls of every round.

    A run that is paused while a round is asked for rests before its calls; in the calls, before the next round.
    """
    asked = [Within(*pair) for pair in agent_flow.rounds()]
    return asked + [Within(*pair, call=True) for pair in agent_flow.rounds() if agent_flow.of_round(*pair)]


async def pause_between(stand: Stand, seat: Seat, calm: Undisturbed, some: Iterable[Within], done: Done) -> None:
    """Pause runs at rounds, some at a time; when they rest, kill server and worker; resume them on new ones."""
    left = list(some)
    for first in range(0, len(left), _AT_ONCE):
        together = (_paused(stand, seat, point) for point in left[first : first + _AT_ONCE])
        taken = await asyncio.gather(*together)
        await _finish(stand, seat, calm, taken, done, at_rest=True)


async def _paused(stand: Stand, seat: Seat, point: Within) -> tuple[Run, Outcome]:
    run = await begin(stand, seat, "between")
    outcome = Outcome(BETWEEN_KIND, run.case, str(point))
    outcome.struck = await struck_at(run, point.asked) and await accepted(lambda: run.handle.pause("a drill"))
    if outcome.struck:
        await rested(run)
    return run, outcome


async def pause_within(ground: Ground, seat: Seat, calm: Undisturbed, some: Iterable[Within], done: Done) -> None:
    """Pause runs in calls, one at a time, and kill server and worker before they rest; resume them on new ones."""
    stand = ground.stand
    for point in some:
        held = None if point.call else point.round
        await ground.requests.provider.script(agent_flow.script(stand.target.url, held))
        run = await begin(stand, seat, "within")
        outcome = Outcome(WITHIN_KIND, run.case, str(point))
        outcome.struck = await came_first(run, _under_way(ground, run.case, point))
        outcome.struck = outcome.struck and await accepted(lambda run=run: run.handle.pause("a drill"))
        await _finish(stand, seat, calm, [(run, outcome)], done, at_rest=False)


async def _under_way(ground: Ground, case: str, point: Within) -> bool:
    """Wait until a call has come to where it goes; its answer is held back."""
    if not point.call:
        return await ground.requests.came(case, point.round)
    what, target = agent_flow.of_round(*point.round)[0], ground.stand.target
    target.held.add((case, what))
    while all(asked.what != what for asked in target.of(case)):
        await asyncio.sleep(_SOON_S)
    return True


async def _finish(
    stand: Stand,
    seat: Seat,
    calm: Undisturbed,
    taken: Iterable[tuple[Run, Outcome]],
    done: Done,
    *,
    at_rest: bool,
) -> None:
    """Restart everything under the runs that were paused; one that was not, though it should, lost its pause."""
    taken = list(taken)
    for _, outcome in taken:
        if not outcome.struck:
            outcome.lost.append("it ended before its pause")
            done(outcome)
    paused = [(run, outcome) for run, outcome in taken if outcome.struck]
    for outcome in await restarted(stand, seat, paused, calm, at_rest=at_rest):
        done(outcome)
