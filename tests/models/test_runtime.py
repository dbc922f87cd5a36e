"""The path of one call of a model: journal, failover, cooldown, what is accounted; with a real ledger."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from fakes.adapters import KEY, ask, bench, deployment, fails, says
from perdure_activities.models.failover import LocatedFault
from perdure_activities.models.protocol import Finished, RefusalDelta, TextDelta
from perdure_graph.models.effects import StreamTo

PRICES = {"*": {"input": 1, "output": 2}}


async def test_an_answer_is_kept_and_never_paid_for_again(tmp_path: Path) -> None:
    async with bench(tmp_path, {"a": [says("one"), says("two")]}, {"prices": PRICES}) as b:
        first = await b.runtime.invoke(ask(), 1)
        again = await b.runtime.invoke(ask(), 2)
        other = await b.runtime.invoke(ask(key="k#2"), 1)
        assert (first.text, again, other.text) == ("one", first, "two")
        assert (first.provider, first.model, first.deployment, first.epoch) == ("openai", "gpt-x", "a", 1)
        assert b.names() == ["a", "a"]
        rows = await b.rows()
        assert [(row.outcome, row.prompt_tokens, row.completion_tokens, row.price) for row in rows] == [
            ("answer", 10, 5, "0.0000200")
        ] * 2
        assert rows[0].request_id == "req-1"
        assert first.usage.price.total == first.usage.price.prompt + first.usage.price.completion


async def test_a_first_attempt_finds_what_was_paid_for_too(tmp_path: Path) -> None:
    """One that an operator asks for anew; also where nobody could be asked, or what is kept cannot be read."""
    async with bench(tmp_path, {"a": [says("one"), fails("auth"), says("two")]}, {"prices": PRICES}) as b:
        first = await b.runtime.invoke(ask(), 1)
        assert await b.runtime.invoke(ask(), 1) == first
        with pytest.raises(LocatedFault):
            await b.runtime.invoke(ask(key="other"), 1)
        # Its only model is gone from the configuration.
        missing = ask().model_copy(update={"provider": "nobody"})
        assert await b.runtime.invoke(missing, 1) == first
        with pytest.raises(LocatedFault, match="nobody"):
            await b.runtime.invoke(missing.model_copy(update={"meta": ask(key="new").meta}), 1)
        assert b.names() == ["a", "a"]
        await b.ledger._recorder.transact(
            lambda connection: connection.execute(text("update model_answers set answer = '{}' where key like '%/k'"))
        )
        await b.ledger.forgive(["a"])
        b.runtime.healths._read.clear()
        assert (await b.runtime.invoke(ask(), 1)).text == "two"


async def test_a_deployment_that_fails_hands_over_to_the_next(tmp_path: Path) -> None:
    for n, kind in enumerate(
        ("auth", "permission", "quota_exhausted", "rate_limited", "overloaded", "server_error", "timeout", "connection")
    ):
        async with bench(tmp_path / kind, {"a": [fails(kind)], "b": [says("fine")]}) as b:
            answer = await b.runtime.invoke(ask(key=f"k{n}"), 1)
            assert (answer.deployment, b.names()) == ("b", ["a", "b"])
            rows = await b.rows()
            assert [(row.deployment, row.outcome, row.fault) for row in rows] == [
                ("a", "wasted", kind),
                ("b", "answer", None),
            ]
            assert rows[0].prompt_tokens == 0


@pytest.mark.parametrize("kind", ["bad_request", "not_found", "protocol_error", "stream_broken", "context_overflow"])
async def test_a_fault_of_the_request_is_told_at_once(tmp_path: Path, kind: Any) -> None:
    async with bench(tmp_path, {"a": [fails(kind)], "b": [says("fine")]}) as b:
        with pytest.raises(LocatedFault) as caught:
            await b.runtime.invoke(ask(), 1)
        assert (caught.value.kind, b.names()) == (kind, ["a"])
        assert "'openai/gpt-x'" in caught.value.message
        assert "deployment 'a'" in caught.value.message
        assert KEY not in caught.value.message


async def test_a_deployment_that_cools_is_left_alone(tmp_path: Path) -> None:
    async with bench(tmp_path, {"a": [fails("rate_limited", retry_after_s=7.0), says("a")], "b": [says("b")]}) as b:
        for n in range(4):
            assert (await b.runtime.invoke(ask(key=f"k{n}"), 1)).text == "b"
        assert b.names() == ["a", "b", "b", "b", "b"]
        health = (await b.ledger.health(["a"]))["a"]
        assert health.kind == "rate_limited"


async def test_all_cooling_tells_when_the_first_opens(tmp_path: Path) -> None:
    limited = [fails("rate_limited", retry_after_s=30.0)]
    async with bench(tmp_path, {"a": limited, "b": [fails("rate_limited", retry_after_s=20.0)]}) as b:
        for n in range(2):
            with pytest.raises(LocatedFault) as caught:
                await b.runtime.invoke(ask(key=f"k{n}"), 1)
            assert caught.value.kind == "rate_limited"
            assert caught.value.retry_after_s == pytest.approx(20.0, abs=1.0)
        assert sorted(b.names()) == ["a", "b"]


async def test_a_lone_deployment_is_asked_again_after_the_time_it_named(tmp_path: Path) -> None:
    async with bench(tmp_path, {"a": [fails("rate_limited", retry_after_s=7.0), says("fine")]}) as b:
        with pytest.raises(LocatedFault) as caught:
            await b.runtime.invoke(ask(), 1)
        assert caught.value.retry_after_s == 7.0
        with pytest.raises(LocatedFault) as other:
            await b.runtime.invoke(ask(key="k2"), 1)
        assert other.value.kind == "rate_limited"
        assert b.names() == ["a"]
        assert (await b.runtime.invoke(ask(), 2)).text == "fine"


@pytest.mark.parametrize("kind", ["auth", "connection", "server_error"])
async def test_a_lone_deployment_is_never_given_up(tmp_path: Path, kind: Any) -> None:
    async with bench(tmp_path, {"a": [fails(kind), fails(kind), fails(kind), says("fine")]}) as b:
        for n in range(3):
            with pytest.raises(LocatedFault) as caught:
                await b.runtime.invoke(ask(key=f"k{n}"), 1)
            assert caught.value.kind == kind
        assert (await b.runtime.invoke(ask(key="k3"), 1)).text == "fine"


async def test_fallbacks_by_reason_three_deep(tmp_path: Path) -> None:
    deployments = [deployment(name, models=[f"m-{name}"]) for name in "abcde"]
    config: dict[str, Any] = {
        "deployments": deployments,
        "fallbacks": [{"from": "openai/m-a", "to": [f"openai/m-{name}" for name in "bcde"], "on": ["unavailable"]}],
    }
    down = [fails("server_error")]
    async with bench(tmp_path, {"a": down, "b": down, "c": down, "d": [says("d")], "e": [says("e")]}, config) as b:
        answer = await b.runtime.invoke(ask(model="m-a"), 1)
        assert (answer.text, answer.model, b.names()) == ("d", "m-d", ["a", "b", "c", "d"])
    async with bench(tmp_path / "2", {"a": down, "b": down, "c": down, "d": down, "e": [says("e")]}, config) as b:
        with pytest.raises(LocatedFault) as caught:
            await b.runtime.invoke(ask(model="m-a"), 1)
        assert (caught.value.kind, b.names()) == ("server_error", ["a", "b", "c", "d"])
    async with bench(tmp_path / "3", {"a": [fails("bad_request")], "b": [says("b")]}, config) as b:
        with pytest.raises(LocatedFault):
            await b.runtime.invoke(ask(model="m-a"), 1)
        assert b.names() == ["a"]


async def test_a_cooling_model_goes_to_its_fallback_at_once(tmp_path: Path) -> None:
    config: dict[str, Any] = {
        "deployments": [deployment("a", models=["m-a"]), deployment("b", models=["m-b"])],
        "fallbacks": [{"from": "openai/m-a", "to": ["openai/m-b"], "on": ["unavailable"]}],
    }
    async with bench(tmp_path, {"a": [fails("connection")], "b": [says("b")]}, config) as b:
        for n in range(3):
            assert (await b.runtime.invoke(ask(model="m-a", key=f"k{n}"), 1)).model == "m-b"
        assert b.names() == ["a", "b", "b", "b"]


async def test_a_larger_window_and_another_opinion(tmp_path: Path) -> None:
    refusal = [RefusalDelta("I will not."), Finished("refusal")]
    config: dict[str, Any] = {
        "deployments": [deployment("a", models=["m-a"]), deployment("b", models=["m-b"])],
        "fallbacks": [{"from": "openai/m-a", "to": ["openai/m-b"], "on": ["context_overflow", "content_refused"]}],
    }
    async with bench(tmp_path, {"a": [fails("context_overflow"), refusal], "b": [says("b")]}, config) as b:
        assert (await b.runtime.invoke(ask(model="m-a"), 1)).text == "b"
        assert (await b.runtime.invoke(ask(model="m-a", key="k2"), 1)).text == "b"
        assert [row.fault for row in await b.rows()] == ["context_overflow", None, "content_refused", None]
    async with bench(tmp_path / "2", {"a": [refusal]}) as b:
        answer = await b.runtime.invoke(ask(), 1)
        assert (answer.finish, answer.text, answer.refusal) == ("refusal", "I will not.", "I will not.")
        assert not answer.worth_keeping()


async def test_nobody_takes_over_once_text_was_given_out(tmp_path: Path) -> None:
    broken = [TextDelta("half of "), *fails("timeout", maybe_billed=True)]
    effect = ask(stream=StreamTo(node_id="k", selector=("k", "text")))
    async with bench(tmp_path, {"a": [broken], "b": [says("whole")]}) as b:
        with pytest.raises(LocatedFault) as caught:
            await b.runtime.invoke(effect, 1)
        assert (caught.value.kind, b.names()) == ("timeout", ["a"])
        (row,) = await b.rows()
        assert (row.outcome, row.fault, row.estimated) == ("wasted", "timeout", True)
        assert row.prompt_tokens > 0
        assert row.completion_tokens > 0
        assert (await b.runtime.invoke(effect, 2)).text == "whole"
        deltas = await b.ledger.deltas("run-1", "", "k")
        assert [(row.epoch, row.text) for row in deltas if row.text] == [(1, "half of"), (2, "whole")]
    async with bench(tmp_path / "2", {"a": [broken], "b": [says("whole")]}) as b:
        assert (await b.runtime.invoke(ask(), 1)).text == "whole"


async def test_a_parameter_that_a_server_does_not_take_is_left_out_and_remembered(tmp_path: Path) -> None:
    refused = fails("bad_request", parameter="temperature")
    asked: dict[str, Any] = {"provider": "generic", "parameters": {"temperature": 0.5, "top_p": 0.5}}
    config = {"deployments": [deployment("a", "generic")]}
    async with bench(tmp_path, {"a": [refused, says("fine"), says("fine"), refused]}, config) as b:
        assert (await b.runtime.invoke(ask(**asked), 1)).text == "fine"
        await b.runtime.invoke(ask(key="k2", **asked), 1)
        sent = [sorted(call.parameters) for _, call in b.adapter.asked]
        assert sent == [["temperature", "top_p"], ["top_p"], ["top_p"]]
        with pytest.raises(LocatedFault):
            await b.runtime.invoke(ask(key="k3", **asked), 1)
        assert len(b.names()) == 4
    async with bench(tmp_path / "2", {"a": [fails("bad_request", parameter="messages")]}, config) as b:
        with pytest.raises(LocatedFault):
            await b.runtime.invoke(ask(**asked), 1)
        assert len(b.names()) == 1


async def test_max_tokens_goes_by_its_other_name(tmp_path: Path) -> None:
    refused = fails("bad_request", parameter="max_tokens")
    async with bench(tmp_path, {"a": [refused, says("fine")]}) as b:
        await b.runtime.invoke(ask(parameters={"max_tokens": 7}), 1)
        calls = [call for _, call in b.adapter.asked]
        assert [(call.max_tokens, call.parameters) for call in calls] == [(7, {}), (None, {"max_completion_tokens": 7})]


async def test_a_conflict_is_sent_again_once(tmp_path: Path) -> None:
    conflict = fails("overloaded", status=409)
    async with bench(tmp_path, {"a": [conflict, says("fine")]}) as b:
        assert (await b.runtime.invoke(ask(), 1)).text == "fine"
    async with bench(tmp_path / "2", {"a": [conflict]}) as b:
        with pytest.raises(LocatedFault):
            await b.runtime.invoke(ask(), 1)
        assert len(b.names()) == 2


async def test_a_cancelled_call_is_closed_and_accounted(tmp_path: Path) -> None:
    async with bench(tmp_path, {"a": [[TextDelta("begun"), 30.0]]}) as b:
        task = asyncio.create_task(b.runtime.invoke(ask(), 1))
        while not b.adapter.on_the_way:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert b.adapter.closed == 1
        (row,) = await b.rows()
        assert (row.outcome, row.fault, row.estimated) == ("wasted", "cancelled", True)


async def test_the_total_limit_ends_a_slow_drip(tmp_path: Path) -> None:
    drip = [act for _ in range(50) for act in (TextDelta("x"), 0.1)]
    async with bench(tmp_path, {"a": [drip], "b": [says("fine")]}) as b:
        with pytest.raises(LocatedFault) as caught:
            await b.runtime.invoke(ask(total_s=0.5), 1)
        assert (caught.value.kind, b.names()) == ("timeout", ["a"])
        (row,) = await b.rows()
        assert (row.outcome, row.fault) == ("wasted", "timeout")


async def test_without_a_store_models_are_asked_all_the_same(tmp_path: Path) -> None:
    async with bench(tmp_path, {"a": [fails("server_error"), says("a")], "b": [says("b")]}, store="off") as b:
        assert (await b.runtime.invoke(ask(), 1)).text == "b"


async def test_no_deployment_says_what_to_add(tmp_path: Path) -> None:
    async with bench(tmp_path, {"a": [says("a")]}) as b:
        with pytest.raises(LocatedFault, match="no deployment serves") as caught:
            await b.runtime.invoke(ask(provider="anthropic", model="claude-opus-5-5"), 1)
        assert caught.value.kind == "not_found"
        with pytest.raises(LocatedFault, match="not declared"):
            await b.runtime.invoke(ask(provider="nobody", model="m"), 1)
