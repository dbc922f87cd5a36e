"""What calls may use: budgets, limits of deployments, and what happens when the store that keeps them is away."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from fakes.adapters import ask, bench, deployment, fails, says
from perdure_activities.models.cooldown import Healths
from perdure_activities.models.failover import LocatedFault
from perdure_activities.models.protocol import ModelFault
from perdure_graph.errors import PlatformError
from perdure_store.database import parse
from perdure_store.ledger_records import LedgerAway
from perdure_store.recorder import now_ms
from perdure_store.retention import DAY_MS, Removed, retain

# A call of 10 and 5 tokens costs 20; more is reserved for it.
PRICES = {"*": {"input": 1_000_000, "output": 2_000_000}}


def budget(**more: Any) -> dict[str, Any]:
    return {"name": "b", "per": "tenant", "money": "1000"} | more


async def test_a_budget_is_never_passed_and_what_is_not_used_comes_back(tmp_path: Path) -> None:
    said = [0.02, *says("ok", prompt=10, completion=5)]
    config = {"budgets": [budget(money="400")], "prices": PRICES}
    async with bench(tmp_path, {"a": [said]}, config) as b:

        async def one(n: int) -> bool:
            for attempt in range(1, 60):
                try:
                    await b.runtime.invoke(ask(key=f"k{n}", parameters={"max_tokens": 5}), attempt)
                except LocatedFault as fault:
                    assert fault.kind == "budget_exceeded"
                    assert "budget 'b' of tenant 'acme'" in fault.message
                    if (await b.ledger.spent(["b/tenant:acme"]))["b/tenant:acme"].reserved_money == 0:
                        return False
                    await asyncio.sleep(0.02)
                else:
                    return True
            return False

        done = Counter(await asyncio.gather(*(one(n) for n in range(40))))
        spent = (await b.ledger.spent(["b/tenant:acme"]))["b/tenant:acme"]
        assert spent.reserved_money == 0
        assert spent.money == len(b.names()) * 20 * 10**9 <= 400 * 10**9
        assert done[True] == len(b.names())
        assert 1 <= done[True] <= 20


async def test_a_budget_may_wait_for_an_operator(tmp_path: Path) -> None:
    for when, hold in (("fail", False), ("wait", True)):
        config = {"budgets": [budget(money=None, tokens=20, when_over=when, per="run")]}
        async with bench(tmp_path / when, {"a": [says("ok")]}, config) as b:
            with pytest.raises(LocatedFault) as caught:
                await b.runtime.invoke(ask(parameters={"max_tokens": 50}), 1)
            assert (caught.value.kind, caught.value.hold, b.names()) == ("budget_exceeded", hold, [])
            assert not caught.value.retryable


async def test_budgets_in_another_currency_are_told(tmp_path: Path) -> None:
    config = {"budgets": [budget(currency="EUR")], "prices": PRICES}
    async with bench(tmp_path, {"a": [says("ok")]}, config) as b:
        with pytest.raises(LocatedFault, match="in EUR, and 'openai/gpt-x' is priced in USD"):
            await b.runtime.invoke(ask(), 1)
        assert b.names() == []


async def test_a_budget_counts_only_whom_it_matches(tmp_path: Path) -> None:
    config = {"budgets": [budget(match="other*", money="0")], "prices": PRICES}
    async with bench(tmp_path, {"a": [says("ok")]}, config) as b:
        assert (await b.runtime.invoke(ask(), 1)).text == "ok"
        with pytest.raises(LocatedFault):
            await b.runtime.invoke(ask(key="k2", meta={"tenant": "others"}), 1)


async def test_the_store_forgets_budgets_of_runs_and_periods_that_are_over(tmp_path: Path) -> None:
    per = {"run": {"per": "run"}, "day": {"period": "day"}, "month": {"period": "month"}, "total": {}}
    budgets = [budget(name=name, **more) for name, more in per.items()]
    address = parse(f"sqlite:///{tmp_path}/runs.db")
    async with bench(tmp_path, {"a": [says("ok")]}, {"budgets": budgets, "prices": PRICES}) as b:
        await b.runtime.invoke(ask(parameters={"max_tokens": 5}), 1)
        assert await retain(address, days=1) == Removed()
        # In two months there is no such run: none was ever recorded.
        assert await retain(address, days=1, now=now_ms() + 62 * DAY_MS) == Removed(answers=1, spending=3)
        assert (await b.ledger.spent(["total/tenant:acme"]))["total/tenant:acme"].money == 20 * 10**9


async def test_a_call_whose_worker_died_is_settled_by_the_next_attempt(tmp_path: Path) -> None:
    config = {"budgets": [budget()], "prices": PRICES}
    effect = ask(parameters={"max_tokens": 5})
    async with bench(tmp_path, {"a": [[30.0]]}, config) as dying:
        task = asyncio.create_task(dying.runtime.invoke(effect, 1))
        while not dying.adapter.on_the_way:
            await asyncio.sleep(0.01)
        async with bench(tmp_path, {"a": [says("fine")]}, config) as b:
            assert (await b.runtime.invoke(effect, 2)).text == "fine"
            rows = await b.rows()
            assert [(row.attempt, row.outcome, row.estimated) for row in rows] == [
                (1, "wasted", True),
                (2, "answer", False),
            ]
            spent = (await b.ledger.spent(["b/tenant:acme"]))["b/tenant:acme"]
            assert spent.reserved_money == 0
            assert spent.money == sum(int(float(row.price)) for row in rows) * 10**9
        task.cancel()
        await asyncio.wait((task,))


async def test_a_deployment_at_its_limit_hands_over_then_waits(tmp_path: Path) -> None:
    config: dict[str, Any] = {
        "deployments": [
            deployment("a", limits={"requests_per_minute": 1}),
            deployment("b", limits={"requests_per_minute": 1}),
        ]
    }
    async with bench(tmp_path, {"a": [says("a")], "b": [says("b")]}, config) as b:
        got = {(await b.runtime.invoke(ask(key=f"k{n}"), 1)).text for n in range(2)}
        assert got == {"a", "b"}
        with pytest.raises(LocatedFault) as caught:
            await b.runtime.invoke(ask(key="k3"), 1)
        assert caught.value.kind == "rate_limited"
        assert caught.value.retry_after_s == pytest.approx(60.0, abs=10.0)
        assert len(b.names()) == 2


async def test_calls_at_once_wait_a_little_for_each_other(tmp_path: Path) -> None:
    config: dict[str, Any] = {"deployments": [deployment("a", limits={"at_once": 2})], "wait_s": 10.0}
    async with bench(tmp_path, {"a": [[0.1, *says("ok")]]}, config) as b:
        most = 0

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, b.adapter.on_the_way)
                await asyncio.sleep(0.005)

        watching = asyncio.create_task(watch())
        answers = await asyncio.gather(*(b.runtime.invoke(ask(key=f"k{n}"), 1) for n in range(4)))
        watching.cancel()
        assert [answer.text for answer in answers] == ["ok"] * 4
        assert most == 2


async def test_load_follows_the_weights(tmp_path: Path) -> None:
    config: dict[str, Any] = {"deployments": [deployment("a", weight=3), deployment("b", weight=1)]}
    async with bench(tmp_path, {"a": [says("a")], "b": [says("b")]}, config) as b:
        for n in range(40):
            await b.runtime.invoke(ask(key=f"k{n}"), 1)
        count = Counter(b.names())
        assert 26 <= count["a"] <= 34


async def test_only_one_call_tries_whether_a_deployment_is_well_again(tmp_path: Path) -> None:
    async with bench(tmp_path, {"a": [fails("rate_limited"), [0.3, *says("a")]], "b": [says("b")]}) as b:
        assert (await b.runtime.invoke(ask(), 1)).text == "b"
        if b.names() == ["b"]:
            await b.runtime.invoke(ask(key="k0"), 1)
        await _open_soon(b)
        await asyncio.sleep(0.05)
        answers = await asyncio.gather(*(b.runtime.invoke(ask(key=f"k{n}"), 1) for n in range(1, 21)))
        assert Counter(answer.text for answer in answers) == {"b": 19, "a": 1}


async def _open_soon(b: Any) -> None:
    """Let the cooldown of `a` be over."""
    from sqlalchemy import text

    await b.ledger._recorder.transact(
        lambda connection: connection.execute(text("update model_health set open_until = 1 where open_until > 0")),
        writes=True,
    )
    b.runtime.healths._read.clear()


class Away:
    """A ledger in a store that does not answer."""

    is_off = False

    def __getattr__(self, name: str) -> Any:
        async def away(*_args: Any, **_more: Any) -> Any:
            if name == "write_deltas":
                return False
            raise LedgerAway("The run store does not answer.")

        return away


async def test_a_store_that_is_away_stops_only_what_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure_activities.models.settle._AGAIN_S", (0.01,))
    async with bench(tmp_path, {"a": [fails("server_error"), says("a")], "b": [says("b")]}) as b:
        b.runtime.ledger = b.runtime.healths._ledger = Away()  # pyright: ignore
        assert (await b.runtime.invoke(ask(), 1)).text == "b"
        assert (await b.runtime.invoke(ask(key="k2"), 1)).text in ("a", "b")
    async with bench(tmp_path, {"a": [says("a")]}, {"budgets": [budget()], "prices": PRICES}) as b:
        b.runtime.ledger = b.runtime.healths._ledger = Away()  # pyright: ignore
        with pytest.raises(PlatformError, match=r"run store is away, and only it knows .* \('b'\)") as caught:
            await b.runtime.invoke(ask(), 1)
        assert caught.value.retryable
        assert b.names() == []


class Broken:
    """A ledger with a bug."""

    is_off = False

    async def _broken(self, *_args: Any) -> Any:
        raise TypeError("a bug")

    health = note = probe = _broken


async def test_a_ledger_that_fails_is_done_without_and_told_once() -> None:
    ledgers: list[tuple[Any, list[str]]] = [(Broken(), ["TypeError"]), (Away(), [])]
    for ledger, said in ledgers:
        healths = Healths(ledger)
        with capture_logs() as logs:
            assert (await healths.of(["a"]))["a"].failures == 0
            await healths.failed("a", ModelFault("server_error", "no"))
            assert (await healths.of(["a"]))["a"].failures == 1
            assert await healths.probe("a", 1.0)
        assert [(log["log_level"], log["error"]) for log in logs] == [("warning", name) for name in said]


async def test_answers_are_noted_together_and_failures_behind_them(tmp_path: Path) -> None:
    async with bench(tmp_path, {"a": [says("a")] * 9 + [fails("server_error")]}) as b:
        for n in range(9):
            await b.runtime.invoke(ask(key=f"k{n}"), 1)
        noted = (await b.ledger.health(["a"]))["a"].calls
        assert noted <= 9
        with pytest.raises(LocatedFault):
            await b.runtime.invoke(ask(key="fails"), 1)
        known = (await b.ledger.health(["a"]))["a"]
        assert (known.calls, known.failures, known.streak) == (10, 1, 1)
        # That it is well again is not kept waiting.
        b.adapter.scripts["a"].append(says("a"))
        await b.runtime.invoke(ask(key="well"), 1)
        await b.runtime.healths.close()
        known = (await b.ledger.health(["a"]))["a"]
        assert (known.calls, known.failures, known.streak) == (11, 1, 0)


async def test_budgets_need_a_store(tmp_path: Path) -> None:
    async with bench(tmp_path, {"a": [says("a")]}, {"budgets": [budget()]}, store="off") as b:
        with pytest.raises(LocatedFault, match="PERDURE_STORE=off"):
            await b.runtime.invoke(ask(), 1)


async def test_two_hundred_calls_at_once(tmp_path: Path) -> None:
    async with bench(tmp_path, {"a": [[0.05, *says("a")]], "b": [[0.05, *says("b")]]}) as b:
        answers = await asyncio.gather(*(b.runtime.invoke(ask(key=f"k{n}"), 1) for n in range(200)))
        assert len(answers) == 200
        rows = await b.rows()
        assert Counter(row.outcome for row in rows) == {"answer": 200}
        assert min(Counter(b.names()).values()) > 60


async def test_a_call_cancelled_before_it_was_sent_holds_and_costs_nothing(tmp_path: Path) -> None:
    config = {"budgets": [budget()], "prices": PRICES}
    async with bench(tmp_path, {"a": [says("ok")]}, config) as b:
        admit, inside = b.ledger.admit, asyncio.Event()

        async def slow(asked: Any) -> Any:
            told = await admit(asked)
            inside.set()
            await asyncio.sleep(30)
            return told

        b.ledger.admit = slow  # pyright: ignore
        task = asyncio.create_task(b.runtime.invoke(ask(), 1))
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        spent = (await b.ledger.spent(["b/tenant:acme"]))["b/tenant:acme"]
        assert (spent.money, spent.reserved_money, b.names(), await b.rows()) == (0, 0, [], [])
