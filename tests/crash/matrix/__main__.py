"""`make crash`: kill everything that a run needs, one thing at a time, and count what is lost.

PYTHONPATH=tests python -m crash.matrix [--only worker,server,postgres,blobs,pause,stop,agent,agent-pause] [--every N]
    [--parallel N]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fakes.postgres import binaries, postgres

from .agents import agents_standing, pause_between, pause_within, points
from .commands import pause_all, stop_all
from .outages import blobs_away, postgres_away
from .play import Done, Outcome, settled, undisturbed
from .report import complaint, detail, line, stops, table
from .servers import kill_servers
from .stand import standing
from .target import Target, counting
from .workers import blows, kill_workers


@dataclass(frozen=True)
class Plan:
    """How much to kill: every which moment where all have their turn, and how many random ones of each other kind."""

    every: int = 1
    parallel: int = 6
    servers: int = 10
    stores: int = 5
    blobs: int = 5
    pauses: int = 20
    stops: int = 10
    seed: int = 1


async def worker(target: Target, plan: Plan, _chance: random.Random, done: Done) -> None:
    async with standing(target) as stand:
        seats = [await stand.seat() for _ in range(plan.parallel)]
        calm = await undisturbed(stand, seats[0])
        await kill_workers(stand, seats, calm, blows(stand, calm)[plan.every // 2 :: plan.every], done)


async def server(target: Target, plan: Plan, chance: random.Random, done: Done) -> None:
    async with standing(target, file=True) as stand:
        await kill_servers(stand, *await settled(stand), plan.servers, chance, done)


async def store(target: Target, plan: Plan, chance: random.Random, done: Done) -> None:
    with postgres() as running:
        async with standing(target, store=await running.new_database()) as stand:
            await postgres_away(stand, *await settled(stand), running, plan.stores, chance, done)


async def blobs(target: Target, plan: Plan, chance: random.Random, done: Done) -> None:
    async with standing(target) as stand:
        await blobs_away(stand, *await settled(stand), plan.blobs, chance, done)


async def pause(target: Target, plan: Plan, chance: random.Random, done: Done) -> None:
    async with standing(target, file=True) as stand:
        await pause_all(stand, *await settled(stand), plan.pauses, chance, done)


async def agent(target: Target, plan: Plan, _chance: random.Random, done: Done) -> None:
    async with agents_standing(target) as ground:
        stand = ground.stand
        seats = [await stand.seat() for _ in range(plan.parallel)]
        calm = await undisturbed(stand, seats[0])
        await kill_workers(stand, seats, calm, blows(stand, calm)[plan.every // 2 :: plan.every], done)


async def agent_pause(target: Target, plan: Plan, _chance: random.Random, done: Done) -> None:
    async with agents_standing(target, file=True) as ground:
        seat, calm = await settled(ground.stand)
        some = points()[plan.every // 2 :: plan.every]
        await pause_between(ground.stand, seat, calm, some, done)
        await pause_within(ground, seat, calm, some, done)


async def stop(target: Target, plan: Plan, chance: random.Random, done: Done) -> None:
    async with standing(target) as stand:
        await stop_all(stand, *await settled(stand), plan.stops, chance, done)


Say = Callable[[str], None]
Kind = Callable[[Target, Plan, random.Random, Done], Awaitable[None]]
KINDS: dict[str, Kind] = {
    "worker": worker,
    "server": server,
    "postgres": store,
    "blobs": blobs,
    "pause": pause,
    "stop": stop,
    "agent": agent,
    "agent-pause": agent_pause,
}


async def run(plan: Plan, kinds: list[str], say: Say) -> list[Outcome]:
    """Run the kinds one after the other; each has the same moments whichever others run."""
    outcomes: list[Outcome] = []

    def done(outcome: Outcome) -> None:
        outcomes.append(outcome)
        sys.stderr.write(f"{detail(outcome)}\n")
        if not outcome.fine:
            say(f"  {complaint(outcome)}")

    async with counting() as target:
        for kind in kinds:
            if kind == "postgres" and binaries() is None:
                say("postgres: left out, PostgreSQL is not installed here")
                continue
            began, before = time.monotonic(), len(outcomes)
            await _safely(kind, target, plan, done)
            say(f"{kind}: {len(outcomes) - before} runs in {time.monotonic() - began:.0f} s")
    return outcomes


async def _safely(kind: str, target: Target, plan: Plan, done: Done) -> None:
    try:
        await KINDS[kind](target, plan, random.Random(f"{plan.seed} {kind}"), done)
    except Exception as error:
        # A stand that breaks down is a failure of its kind; the others still tell something.
        sys.stderr.write(traceback.format_exc())
        done(Outcome(kind, "-", "-", struck=False, lost=[f"{type(error).__name__}: {error}"]))


def _parse(argv: list[str] | None) -> tuple[Plan, list[str]]:
    plan = Plan()
    parser = argparse.ArgumentParser(prog="python -m crash.matrix", description=__doc__)
    parser.add_argument("--every", type=int, default=plan.every, help="only each Nth moment, where all have their turn")
    parser.add_argument("--parallel", type=int, default=plan.parallel, help="runs whose workers are killed, at a time")
    parser.add_argument("--only", default=",".join(KINDS), help=f"some of {','.join(KINDS)}")
    parser.add_argument("--seed", type=int, default=plan.seed, help="of the random moments")
    given = parser.parse_args(argv)
    kinds = given.only.split(",")
    if unknown := set(kinds) - KINDS.keys():
        parser.error(f"--only: there is no {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    return Plan(every=given.every, parallel=given.parallel, seed=given.seed), kinds


@contextmanager
def _log_aside() -> Iterator[Say]:
    """Send what killed and starved workers say to a file, where every case is listed too; gives a way to speak up."""
    log, name = tempfile.mkstemp(prefix="perdure-crash-", suffix=".log")
    speaker = os.dup(2)

    def say(text: str) -> None:
        os.write(speaker, f"{text}\n".encode())

    say(f"every case, and what the workers say: {name}")
    os.dup2(log, 2)
    try:
        yield say
    finally:
        sys.stderr.flush()
        os.dup2(speaker, 2)


def main(argv: list[str] | None = None) -> int:
    """Kill, print the table and the line; 1 when anything was lost or done twice."""
    plan, kinds = _parse(argv)
    with _log_aside() as say:
        outcomes = asyncio.run(run(plan, kinds, say))
    print(table(outcomes))
    if said := stops(outcomes):
        print(said)
    print(line(outcomes), flush=True)
    return 0 if outcomes and all(outcome.fine for outcome in outcomes) else 1


if __name__ == "__main__":
    # Left at once: at interpreter exit the SDK's runtime aborts now and then, which would change the code.
    code = main()
    sys.stderr.flush()
    os._exit(code)
