"""The short version of `make crash` (docs/crash.md): a few blows of each kind to the same flow."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
from crash.matrix import flow
from crash.matrix.commands import pause_all, stop_all
from crash.matrix.outages import blobs_away, postgres_away
from crash.matrix.play import Outcome, Undisturbed, settled
from crash.matrix.report import complaint
from crash.matrix.servers import kill_servers
from crash.matrix.stand import Seat, Stand, standing
from crash.matrix.target import counting
from crash.matrix.workers import Blow, UnderWay, kill_workers

from fakes.postgres import Postgres, binaries, postgres

pytestmark = [pytest.mark.crash, pytest.mark.xdist_group("crash"), pytest.mark.timeout(300)]

WORKER_KILLS = 3
PAUSES = 3
STOPS = 3


@dataclass(frozen=True)
class Ground:
    """A stand, its first worker, what its runs look like in peace, and the run store where that is PostgreSQL."""

    stand: Stand
    seat: Seat
    calm: Undisturbed
    database: Postgres | None


@pytest.fixture(scope="module")
async def ground() -> AsyncIterator[Ground]:
    async with AsyncExitStack() as cleanup:
        database = cleanup.enter_context(postgres()) if binaries() else None
        store = await database.new_database() if database else None
        target = await cleanup.enter_async_context(counting())
        stand = await cleanup.enter_async_context(standing(target, file=True, store=store))
        yield Ground(stand, *await settled(stand), database)


@pytest.fixture
def chance() -> random.Random:
    return random.Random(7)


def fine(outcomes: list[Outcome], struck: int) -> None:
    """All went well, and enough blows really fell."""
    assert [complaint(outcome) for outcome in outcomes if not outcome.fine] == []
    assert sum(outcome.struck for outcome in outcomes) >= struck


async def test_a_killed_worker_costs_nothing(ground: Ground) -> None:
    moments = ground.calm.moments()
    step = len(moments) // WORKER_KILLS
    some: list[Blow] = [*moments[step // 2 :: step], UnderWay(2), UnderWay(flow.effects().total())]
    seats = [ground.seat, await ground.stand.seat()]
    outcomes: list[Outcome] = []
    await kill_workers(ground.stand, seats, ground.calm, some, outcomes.append)
    fine(outcomes, len(some))
    assert sum(outcome.redelivered for outcome in outcomes) >= 2, "a request whose answer was lost came again"


async def test_a_killed_server_costs_nothing_that_is_in_its_file(ground: Ground, chance: random.Random) -> None:
    outcomes: list[Outcome] = []
    await kill_servers(ground.stand, ground.seat, ground.calm, 1, chance, outcomes.append)
    fine(outcomes, 1)


async def test_a_run_outlasts_the_blob_folder(ground: Ground, chance: random.Random) -> None:
    outcomes: list[Outcome] = []
    await blobs_away(ground.stand, ground.seat, ground.calm, 1, chance, outcomes.append)
    fine(outcomes, 1)


async def test_paused_runs_go_on_after_a_restart_of_everything(ground: Ground, chance: random.Random) -> None:
    outcomes: list[Outcome] = []
    await pause_all(ground.stand, ground.seat, ground.calm, PAUSES, chance, outcomes.append)
    fine(outcomes, PAUSES)


async def test_nothing_starts_after_a_stop(ground: Ground, chance: random.Random) -> None:
    outcomes: list[Outcome] = []
    await stop_all(ground.stand, ground.seat, ground.calm, STOPS, chance, outcomes.append)
    # One may come too late, when its run has just ended.
    fine(outcomes, STOPS - 1)


async def test_a_run_outlasts_postgresql(ground: Ground, chance: random.Random) -> None:
    if ground.database is None:
        pytest.skip("PostgreSQL is not installed")
    outcomes: list[Outcome] = []
    await postgres_away(ground.stand, ground.seat, ground.calm, ground.database, 1, chance, outcomes.append)
    fine(outcomes, 1)
