"""Limits and health of deployments, as all workers share them."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store.ledger_calls import call, over

from perdure_graph.models.health import Health, is_open
from perdure_store.ledger import Ledger
from perdure_store.ledger_records import Admitted, Rates, Refused
from perdure_store.rates import Bucket, calls_at_once
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


async def ask(ledger: Ledger, id: str, rates: Rates, *, batch: bool = False, tokens: int = 0) -> Admitted | Refused:
    return await ledger.admit(call(id, effect_key="", rates=rates, batch=batch, tokens=tokens, claims=()))


async def test_requests_refill_all_the_time(ledger: Ledger, clock: Clock) -> None:
    rates = Rates(requests=60)
    told = await asyncio.gather(*(ask(ledger, f"a{n}", rates) for n in range(100)))
    assert Counter(type(one) for one in told) == {Admitted: 60, Refused: 40}
    assert await ask(ledger, "b", rates) == Refused("rate", "requests per minute of d", 1.0)
    clock.now += 999
    assert isinstance(await ask(ledger, "b", rates), Refused)
    clock.now += 1
    assert await ask(ledger, "b", rates) == Admitted()
    assert isinstance(await ask(ledger, "c", rates), Refused)
    # A worker whose clock is behind gives nothing away.
    clock.now -= 30_000
    assert isinstance(await ask(ledger, "c", rates), Refused)
    clock.now += 3_630_000
    told = await asyncio.gather(*(ask(ledger, f"d{n}", rates) for n in range(70)))
    assert Counter(type(one) for one in told) == {Admitted: 60, Refused: 10}


async def test_tokens_that_were_not_used_are_given_back(ledger: Ledger, clock: Clock) -> None:
    rates = Rates(requests=1000, tokens=6000)
    assert await ask(ledger, "a", rates, tokens=5000) == Admitted()
    assert await ask(ledger, "b", rates, tokens=2000) == Refused("rate", "tokens per minute of d", 10.0)
    await ledger.settle(over("a", tokens=4000))
    assert await ask(ledger, "b", rates, tokens=2000) == Admitted()
    await ledger.release("b")
    assert await ask(ledger, "b", rates, tokens=2000) == Admitted()
    # One that used more than it said leaves less to the others.
    await ledger.settle(over("b", tokens=5000))
    assert await ask(ledger, "c", rates, tokens=1000) == Refused("rate", "tokens per minute of d", 40.0)
    # What is more than a minute's tokens must wait for a full bucket, not for ever.
    clock.now += 10**6
    assert await ask(ledger, "c", rates, tokens=50_000) == Admitted()


async def test_calls_at_once_hold_across_workers(url: str, recorder: Recorder) -> None:
    other = Recorder(url, limit_s=20.0)
    ledgers = (Ledger(recorder), Ledger(other))
    rates = Rates(at_once=7)
    told = await asyncio.gather(*(ask(ledgers[n % 2], f"{n}", rates) for n in range(40)))
    inside = [n for n, one in enumerate(told) if isinstance(one, Admitted)]
    assert len(inside) == 7
    assert {one for one in told if isinstance(one, Refused)} == {Refused("rate", "calls at once of d", 1.0)}
    assert (await ledgers[0].health(["d"]))["d"].at_once == 7
    await ledgers[1].settle(over(f"{inside[0]}"))
    assert await ask(ledgers[0], "next", rates) == Admitted()
    assert isinstance(await ask(ledgers[0], "last", rates), Refused)
    await other.close()


async def test_a_refused_rate_holds_nothing_of_budgets(ledger: Ledger) -> None:
    assert await ledger.admit(call("a", effect_key="", rates=Rates(requests=0))) == Refused(
        "rate", "requests per minute of d", 60.0
    )
    assert (await ledger.spent(["run:r"]))["run:r"].reserved_money == 0


async def test_a_batch_leaves_a_fifth_to_others(ledger: Ledger) -> None:
    for name, rates in (("calls", Rates(at_once=10)), ("requests", Rates(requests=10)), ("tokens", Rates(tokens=10))):
        told = [await ask(ledger, f"{name}{n}", rates, batch=True, tokens=1) for n in range(10)]
        assert Counter(type(one) for one in told) == {Admitted: 8, Refused: 2}, name
        told = [await ask(ledger, f"{name}!{n}", rates, tokens=1) for n in range(3)]
        assert Counter(type(one) for one in told) == {Admitted: 2, Refused: 1}, name
        for n in range(10):
            for mark in ("", "!"):
                await ledger.settle(over(f"{name}{mark}{n}", usage=None, tokens=0))


def test_a_batch_is_not_kept_out_for_ever() -> None:
    assert [calls_at_once(limit, batch=True) for limit in (0, 1, 2, 4, 5, 10)] == [0, 1, 1, 3, 4, 8]


@given(st.integers(1, 10**6), st.integers(0, 10**7), st.floats(-(10**7), 10**6), st.booleans())
def test_what_waits_as_long_as_it_is_told_is_let_in(most: int, need: int, level: float, batch: bool) -> None:
    bucket = Bucket(min(level, most), most, 0)
    wait_s = bucket.wait_s(need, batch=batch)
    assert bucket.at(round(wait_s * 1000) + 1, most).wait_s(need, batch=batch) == pytest.approx(0, abs=1e-6)


async def test_what_the_provider_says_is_left_lowers_the_bucket(ledger: Ledger, clock: Clock) -> None:
    rates = Rates(requests=60, tokens=6000)
    assert await ask(ledger, "a", rates, tokens=10) == Admitted()
    await ledger.correct("d", 1, 100, 3.0)
    assert await ask(ledger, "b", rates, tokens=200) == Refused("rate", "tokens per minute of d", 1.0)
    assert await ask(ledger, "b", rates, tokens=10) == Admitted()
    assert await ask(ledger, "c", rates, tokens=10) == Refused("rate", "requests per minute of d", 1.0)
    # It may know less than we do, but we never let in more than is set here.
    await ledger.correct("d", 10_000, 10_000_000, 1.0)
    assert isinstance(await ask(ledger, "c", rates, tokens=10), Refused)
    # Also where no limit is set here: nothing left means nothing until then.
    await ledger.correct("free", 0, None, 20.0)
    freely = call("f", deployment="free", effect_key="", claims=())
    assert await ledger.admit(freely) == Refused("rate", "requests per minute of free", 20.0)
    clock.now += 20_000
    assert await ledger.admit(freely) == Admitted()


async def test_health_is_shared_and_a_half_open_deployment_has_one_who_tries(ledger: Ledger, clock: Clock) -> None:
    assert await ledger.health(["d", "e"]) == {"d": Health("d"), "e": Health("e")}
    assert await ledger.probe("d", 5) is True
    noted = await ledger.note("d", "connection")
    assert noted.open_until == clock.now + 10_000
    known = (await ledger.health(["d"]))["d"]
    assert (is_open(known, clock.now), known.kind, known.calls, known.failures) == (True, "connection", 1, 1)
    assert await ledger.probe("d", 5) is False
    clock.now += 10_000
    assert Counter(await asyncio.gather(*(ledger.probe("d", 5) for _ in range(30)))) == {True: 1, False: 29}
    assert (await ledger.health(["d"]))["d"].probing is True
    # The one who tried does not come back.
    clock.now += 5_000
    assert (await ledger.health(["d"]))["d"].probing is False
    assert Counter(await asyncio.gather(*(ledger.probe("d", 5) for _ in range(30)))) == {True: 1, False: 29}
    await ledger.note("d", "timeout")
    assert (await ledger.health(["d"]))["d"].open_until == clock.now + 20_000
    clock.now += 20_000
    assert await ledger.probe("d", 5) is True
    assert (await ledger.note("d", None)).open_until == 0
    assert await asyncio.gather(*(ledger.probe("d", 5) for _ in range(3))) == [True] * 3


async def test_notes_of_many_workers_are_all_counted(url: str, recorder: Recorder) -> None:
    other = Recorder(url, limit_s=20.0)
    ledgers = (Ledger(recorder), Ledger(other))
    noted = await asyncio.gather(*(ledgers[n % 2].note("d", None) for n in range(60)))
    assert sorted(known.calls for known in noted) == list(range(1, 61))
    await other.close()


async def test_a_new_credential_makes_a_deployment_well(ledger: Ledger) -> None:
    await ledger.note("d", "auth")
    await ledger.forgive(["d", "unknown"])
    assert (await ledger.health(["d"]))["d"] == Health("d")
