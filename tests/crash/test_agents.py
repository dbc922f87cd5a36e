"""The short version of what `make crash` does to an agent (docs/crash.md); its models are the fake provider's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
from crash.matrix import agent_flow
from crash.matrix.agents import Ground, Within, agents_standing, pause_between, pause_within
from crash.matrix.histories import Moment
from crash.matrix.play import Outcome, Undisturbed, settled
from crash.matrix.report import complaint
from crash.matrix.stand import Seat
from crash.matrix.target import counting
from crash.matrix.workers import Blow, UnderWay, kill_workers

pytestmark = [pytest.mark.crash, pytest.mark.xdist_group("crash-agents"), pytest.mark.timeout(300)]


@dataclass(frozen=True)
class Set:
    """Where agents are played, their first worker, and what a run looks like in peace."""

    ground: Ground
    seat: Seat
    calm: Undisturbed


@pytest.fixture(scope="module")
async def agents() -> AsyncIterator[Set]:
    async with AsyncExitStack() as cleanup:
        target = await cleanup.enter_async_context(counting())
        ground = await cleanup.enter_async_context(agents_standing(target, file=True))
        yield Set(ground, *await settled(ground.stand))


def fine(outcomes: list[Outcome], struck: int) -> None:
    """All went well, every blow really fell, and every round was paid."""
    assert [complaint(outcome) for outcome in outcomes if not outcome.fine] == []
    assert sum(outcome.struck for outcome in outcomes) == struck
    assert {outcome.model_calls for outcome in outcomes} == {len(agent_flow.rounds())}


async def test_a_killed_worker_costs_an_agent_nothing(agents: Set) -> None:
    stand, calm = agents.ground.stand, agents.calm
    boss, helper = (calm.sizes[scope] for scope in agent_flow.SCOPES.values())
    some: list[Blow] = [Moment("", boss // 8), UnderWay(3), Moment(agent_flow.SCOPES["helper"], helper // 2)]
    seats = [agents.seat, await stand.seat()]
    outcomes: list[Outcome] = []
    await kill_workers(stand, seats, calm, some, outcomes.append)
    fine(outcomes, len(some))
    assert sum(outcome.redelivered for outcome in outcomes) >= 1, "a call whose answer was lost came again, by its key"


async def test_an_agent_that_was_paused_between_rounds_goes_on_in_another_worker(agents: Set) -> None:
    outcomes: list[Outcome] = []
    points = [Within("boss", 1, call=True), Within("boss", 4), Within("helper", 1, call=True)]
    await pause_between(agents.ground.stand, agents.seat, agents.calm, points, outcomes.append)
    fine(outcomes, len(points))


async def test_an_agent_that_was_paused_in_a_call_goes_on_in_another_worker(agents: Set) -> None:
    outcomes: list[Outcome] = []
    points = [Within("helper", 2), Within("boss", 1, call=True)]
    await pause_within(agents.ground, agents.seat, agents.calm, points, outcomes.append)
    fine(outcomes, len(points))
    assert [outcome.asked_again for outcome in outcomes] == [1, 0], "the answer was lost, and the round asked for again"
    asking, calling = (outcome.redelivered for outcome in outcomes)
    assert (asking, calling >= 1) == (0, True), "the result was lost, and came again by its key"
