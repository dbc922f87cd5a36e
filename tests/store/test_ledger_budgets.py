"""Budgets: never over under any concurrency, nothing leaked by whatever dies, everything accounted once."""

from __future__ import annotations

import asyncio
import random
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store import ledger_calls
from store.ledger_calls import MONEY, TENANT, call, over, usage

from perdure_store import migrate
from perdure_store.database import parse
from perdure_store.ledger import Ledger
from perdure_store.ledger_records import Admitted, Claim, Refused, Spent
from perdure_store.recorder import Recorder


class Clock:
    """Milliseconds that pass when a test says so."""

    now = 1_000_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(recorder: Recorder, clock: Clock) -> Ledger:
    return Ledger(recorder, clock=clock)


async def tenant(ledger: Ledger) -> Spent:
    return (await ledger.spent([TENANT]))[TENANT]


async def count(ledger: Ledger) -> dict[str, int]:
    return {total.outcome: total.calls for total in (await ledger.usage()).totals}


async def test_two_hundred_calls_at_once_against_money_for_fifty(url: str, recorder: Recorder) -> None:
    others = [Recorder(url, limit_s=20.0) for _ in range(3)]
    ledger = Ledger(recorder)
    ledgers = [ledger, *(Ledger(other) for other in others)]
    told = await asyncio.gather(*(ledgers[n % 4].admit(call(f"{n}/1", effect_key="")) for n in range(200)))
    admitted = [n for n, one in enumerate(told) if isinstance(one, Admitted)]
    assert len(admitted) == 50
    assert {one for one in told if isinstance(one, Refused)} == {Refused("budget", TENANT)}
    assert await tenant(ledger) == Spent(0, 0, 50 * MONEY, 5000)
    # What was refused by one budget holds nothing of the others either.
    assert (await ledger.spent(["run:r"]))["run:r"] == Spent(0, 0, 50 * MONEY, 5000)
    await asyncio.gather(*(ledgers[n % 4].settle(over(f"{n}/1", money=MONEY // 2)) for n in admitted))
    assert await tenant(ledger) == Spent(25 * MONEY, 5000, 0, 0)
    for other in others:
        await other.close()


@asynccontextmanager
async def worker(url: str, name: str, calls: int, lasts_s: float) -> AsyncIterator[Process]:
    argv = [sys.executable, str(Path(ledger_calls.__file__)), url, name, str(calls), str(lasts_s)]
    process = await asyncio.create_subprocess_exec(*argv, stdout=PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def told(process: Process) -> list[str]:
    """Give what a worker printed before it was done."""
    assert process.stdout is not None
    lines: list[str] = []
    async with asyncio.timeout(60):
        while (line := (await process.stdout.readline()).decode().strip()) not in ("done", ""):
            lines.append(line)
    return lines


async def test_workers_that_are_killed_leak_nothing(url: str, recorder: Recorder) -> None:
    ledger = Ledger(recorder, clock=Clock())
    async with worker(url, "a", 100, 600) as one, worker(url, "b", 100, 600) as two:
        lines = await told(one) + await told(two)
    assert (lines.count("admitted"), lines.count("refused")) == (50, 150)
    assert (await tenant(ledger)).reserved_money == 50 * MONEY
    # Days later, by whoever comes first.
    late = Ledger(recorder, clock=lambda: 10**15)
    assert await late.admit(call("late/1", money=1)) == Refused("budget", TENANT)
    assert await tenant(ledger) == Spent(50 * MONEY, 5000, 0, 0)
    assert await count(ledger) == {"wasted": 50}
    assert await late.sweep() == 0


async def test_a_worker_killed_while_it_admits_leaves_whole_reservations(url: str, recorder: Recorder) -> None:
    rng = random.Random(7)
    ledger = Ledger(recorder)
    for round_ in range(3):
        async with worker(url, f"w{round_}", 40, 600) as process:
            assert process.stdout is not None
            for _ in range(rng.randrange(1, 15)):
                await asyncio.wait_for(process.stdout.readline(), 60)
            process.kill()
            await process.wait()
        spent = await tenant(ledger)
        assert spent.reserved_money <= 50 * MONEY
        assert spent == (await ledger.spent(["run:r"]))["run:r"]
    late = Ledger(recorder, clock=lambda: 10**15)
    while await late.sweep():
        pass
    spent = await tenant(ledger)
    assert (spent.reserved_money, spent.reserved_tokens) == (0, 0)
    assert spent.money == sum((await count(ledger)).values()) * MONEY


async def test_a_later_attempt_settles_the_one_that_was_lost(ledger: Ledger) -> None:
    first, second = call("e/1"), call("e/2")
    assert second.if_lost is not None
    second = replace(second, if_lost=replace(second.if_lost, attempt=2))
    await ledger.admit(first)
    await ledger.admit(second)
    assert await tenant(ledger) == Spent(MONEY, 100, MONEY, 100)
    # The worker was only slow: what it says now takes the place of what was feared, once.
    for _ in range(2):
        await ledger.settle(over("e/1", money=3 * MONEY, tokens=50))
        assert await tenant(ledger) == Spent(3 * MONEY, 50, MONEY, 100)
    # And a call that it still makes does not take the later attempt for lost.
    await ledger.admit(call("e/1b", effect_key="e"))
    assert await tenant(ledger) == Spent(3 * MONEY, 50, 2 * MONEY, 200)
    await ledger.settle(over("e/2"))
    await ledger.release("e/1b")
    assert await tenant(ledger) == Spent(4 * MONEY, 150, 0, 0)
    assert await count(ledger) == {"answer": 2}


async def test_settling_and_admitting_twice_is_as_once(ledger: Ledger) -> None:
    for _ in range(3):
        assert await ledger.admit(call("x/1", limit=MONEY)) == Admitted()
    assert await tenant(ledger) == Spent(0, 0, MONEY, 100)
    await asyncio.gather(*(ledger.settle(over("x/1")) for _ in range(5)))
    assert await tenant(ledger) == Spent(MONEY, 100, 0, 0)
    await ledger.release("x/1")
    assert await tenant(ledger) == Spent(MONEY, 100, 0, 0)
    assert await ledger.admit(call("y/1", limit=MONEY)) == Refused("budget", TENANT)


async def test_a_call_that_comes_back_after_its_time_is_still_accounted(ledger: Ledger, clock: Clock) -> None:
    await ledger.admit(call("x/1", lasts_s=1))
    clock.now += 1001
    # The same call again is alive: nobody else may take it for lost then.
    assert await ledger.admit(call("x/1", lasts_s=1)) == Admitted()
    assert (await tenant(ledger)).reserved_money == MONEY
    clock.now += 1001
    assert await ledger.sweep() == 1
    await ledger.settle(over("x/1", money=5 * MONEY, tokens=7))
    assert await tenant(ledger) == Spent(5 * MONEY, 7, 0, 0)
    assert await count(ledger) == {"answer": 1}


async def test_a_call_that_began_without_the_ledger_is_accounted_where_it_says(ledger: Ledger) -> None:
    for _ in range(2):
        await ledger.settle(over("never/1", scopes=("run:r", TENANT), answer_key="k", answer={"text": "x"}))
    assert await ledger.spent(["run:r", TENANT, "other"]) == {
        "run:r": Spent(MONEY, 100),
        TENANT: Spent(MONEY, 100),
        "other": Spent(),
    }
    assert await ledger.answer("k") == {"text": "x"}


async def test_what_was_never_sent_is_free(ledger: Ledger) -> None:
    await ledger.admit(call("x/1"))
    await ledger.settle(over("x/1", money=0, tokens=0, usage=None))
    await ledger.admit(call("y/1"))
    await ledger.release("y/1")
    assert await tenant(ledger) == Spent()
    assert (await ledger.usage()).rows == ()


async def test_limits_hold_to_the_last_nano_and_token(ledger: Ledger) -> None:
    claims = (Claim("a", money=10, tokens=100), Claim("b"), Claim("a", money=30))
    assert await ledger.admit(call("x/1", claims=claims, money=11, tokens=1)) == Refused("budget", "a")
    assert await ledger.admit(call("x/1", claims=claims, money=1, tokens=101)) == Refused("budget", "a")
    assert await ledger.spent(["a", "b"]) == {"a": Spent(), "b": Spent()}
    assert await ledger.admit(call("x/1", claims=claims, money=10, tokens=100)) == Admitted()
    assert await ledger.spent(["a", "b"]) == {"a": Spent(0, 0, 10, 100), "b": Spent(0, 0, 10, 100)}
    # What costs nothing needs no money, but tokens.
    assert await ledger.admit(call("y/1", claims=claims, money=0, tokens=0)) == Admitted()
    assert await ledger.admit(call("z/1", claims=claims, money=0, tokens=1)) == Refused("budget", "a")


async def test_an_answer_is_kept_with_its_settlement_and_the_first_stays(ledger: Ledger) -> None:
    assert await ledger.answer("k") is None
    await ledger.admit(call("x/1"))
    await ledger.settle(over("x/1", answer_key="k", answer={"text": "a\0\ud800"}))
    await ledger.settle(over("x/2", usage=usage("x/2"), answer_key="k", answer={"text": "b"}))
    assert await ledger.answer("k") == {"text": "a\0\ud800"}


async def test_names_may_be_anything(ledger: Ledger) -> None:
    """Names of tenants and users are their own: no length of them, and no character, makes a call fail or free."""
    scopes = ["user:" + "ä" * 20_000, "user:" + "ä" * 20_000 + "b", "user:\0\ud800"]
    claims = tuple(Claim(scope, money=MONEY) for scope in scopes)
    row = usage("x\0" + "y" * 9000, tenant="t" * 20_000, user="\ud800")
    asked = call("x\0/1" + "y" * 9000, claims=claims, if_lost=row)
    assert await ledger.admit(asked) == Admitted()
    assert await ledger.spent(scopes) == dict.fromkeys(scopes, Spent(0, 0, MONEY, 100))
    assert isinstance(await ledger.admit(call("z/1", claims=claims[:1])), Refused)
    await ledger.settle(over(asked.id, usage=row, answer_key="k\0" * 9000, answer={"text": "x"}))
    assert await ledger.spent(scopes) == dict.fromkeys(scopes, Spent(MONEY, 100))
    assert await ledger.answer("k\0" * 9000) == {"text": "x"}
    assert len((await ledger.usage(tenant="t" * 20_000)).rows) == 1


moves = st.lists(
    st.tuples(st.sampled_from(["admit", "settle", "release", "expire", "retry"]), st.integers(0, 3), st.integers(0, 4)),
    max_size=30,
)


@settings(max_examples=25, deadline=None)
@given(moves)
def test_books_balance_whatever_happens(
    tmp_path_factory: pytest.TempPathFactory, happened: list[tuple[str, int, int]]
) -> None:
    """Spent is the sum of the rows, nothing stays held, and what is admitted never passes the limit."""

    async def play() -> None:
        url = f"sqlite:///{tmp_path_factory.mktemp('books')}/runs.db"
        await migrate.make(parse(url))
        recorder, clock = Recorder(url, limit_s=10.0), Clock()
        ledger = Ledger(recorder, clock=clock)
        try:
            for move, effect, number in happened:
                name = f"{effect}/{number}"
                match move:
                    case "admit" | "retry":
                        key = f"{effect}" if move == "retry" else ""
                        asked = call(name, limit=4 * MONEY, effect_key=key, lasts_s=10)
                        before = (await tenant(ledger)).reserved_money
                        await ledger.admit(asked)
                        held = await tenant(ledger)
                        assert held.reserved_money <= before or held.money + held.reserved_money <= 4 * MONEY
                    case "settle":
                        await ledger.settle(over(name, scopes=(TENANT,)))
                    case "release":
                        await ledger.release(name)
                    case _:
                        clock.now += 11_000
                        await ledger.sweep()
                spent = await tenant(ledger)
                assert spent.money == MONEY * len((await ledger.usage()).rows)
                assert spent.reserved_money >= 0
            clock.now += 11_000
            await ledger.sweep()
            assert (await tenant(ledger)).reserved_money == 0
        finally:
            await recorder.close()

    asyncio.run(play())
