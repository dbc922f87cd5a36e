"""Limits of an agent: rounds, failures, repetition, going in circles; ids."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from perdure_graph.agents.ids import call_id, named, round_id, thought_id, tool_key
from perdure_graph.agents.limits import (
    AskHuman,
    Close,
    Decision,
    GoOn,
    Limits,
    Nudge,
    Progress,
    Refuse,
    Stop,
    answered,
    circling,
    end_round,
    judge,
    record,
    signature,
)
from perdure_graph.models.messages import ToolCall


def play(
    limits: Limits, *rounds: list[tuple[str, str, bool]], progress: Progress | None = None
) -> tuple[Progress, list[Decision], list[str]]:
    """Play rounds of (call, result, failed): progress, decisions up to the end, and the calls that ran."""
    progress, decisions, ran = progress or Progress(), [], []
    for calls in rounds:
        for call, result, failed in calls:
            progress, judgement = judge(progress, limits, "t", call)
            if not isinstance(judgement, Refuse):
                ran.append(call)
                progress = record(progress, call, result, failed=failed)
        progress, decision = end_round(progress, limits)
        decisions.append(decision)
        if isinstance(decision, Close | Stop):
            break
    return progress, decisions, ran


def one(call: str, result: str = "r", *, failed: bool = False) -> list[tuple[str, str, bool]]:
    return [(call, result, failed)]


@pytest.mark.parametrize("bad", [{"rounds": 0}, {"rounds": 100}, {"repeats": 1}, {"cycles": 1}, {"failures": -1}])
def test_bounds(bad: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        Limits(**bad)


def test_defaults() -> None:
    assert (Limits().rounds, Limits().failures, Limits().failures_in_row, Limits().repeats) == (5, 5, 3, 3)


@given(st.integers(1, 99))
def test_so_many_rounds_and_then_one_without_tools(rounds: int) -> None:
    _, decisions, ran = play(Limits(rounds=rounds), *(one(str(index)) for index in range(120)))
    assert len(ran) == len(decisions) == rounds
    assert isinstance(decisions[-1], Close) and decisions[-1].reason == "max_iterations"
    assert all(isinstance(decision, GoOn) for decision in decisions[:-1])


def test_failures_in_a_row_and_in_all() -> None:
    failing = [one(str(index), failed=True) for index in range(9)]
    _, decisions, _ = play(Limits(rounds=50), *failing)
    assert len(decisions) == 3
    assert isinstance(decisions[-1], Close) and decisions[-1].reason == "tool_failures"
    between = [one(str(index), failed=index % 2 == 0) for index in range(30)]
    assert len(play(Limits(rounds=50), *between)[1]) == 9
    assert len(play(Limits(rounds=20, failures=0, failures_in_row=0), *failing)[1]) == 9


def test_the_third_identical_call_is_refused_and_the_fourth_closes() -> None:
    _, decisions, ran = play(Limits(rounds=50), *(one("same", str(index)) for index in range(9)))
    assert ran == ["same", "same"]
    assert len(decisions) == 4
    assert isinstance(decisions[-1], Close) and decisions[-1].reason == "repetition"


def test_calls_of_one_round_count_one_by_one() -> None:
    calls = [("same", "r", False)] * 4 + [("other", "r", False)]
    _, decisions, ran = play(Limits(rounds=50), calls)
    assert ran == ["same", "same", "other"]
    assert isinstance(decisions[-1], Close)


def test_repetition_switched_off() -> None:
    assert len(play(Limits(rounds=50, repeats=0), *(one("same") for _ in range(40)))[2]) == 40


CIRCLE = [one("a"), one("b")] * 12


def test_a_circle_gets_a_nudge_and_then_an_end() -> None:
    _, decisions, ran = play(Limits(rounds=50), *CIRCLE)
    assert [type(decision) for decision in decisions if not isinstance(decision, GoOn)] == [Nudge, Stop]
    assert len(ran) == 12


def test_a_circle_asks_a_human_who_may_let_it_go_on() -> None:
    limits = Limits(rounds=50, on_oscillation="ask")
    progress, decisions, _ = play(limits, *CIRCLE[:6])
    assert isinstance(decisions[-1], AskHuman)
    _, again, _ = play(limits, *CIRCLE[:5], progress=answered(progress))
    assert all(isinstance(decision, GoOn) for decision in again)


def test_a_circle_stops_at_once_or_never() -> None:
    _, decisions, _ = play(Limits(rounds=50, on_oscillation="stop"), *CIRCLE)
    assert isinstance(decisions[-1], Stop) and len(decisions) == 6
    assert len(play(Limits(rounds=50, cycles=0), *CIRCLE)[1]) == len(CIRCLE)


def test_waiting_for_something_is_no_circle() -> None:
    waiting = [round_ for index in range(12) for round_ in (one("wait"), one("check", f"{index} %"))]
    assert all(isinstance(decision, GoOn) for decision in play(Limits(rounds=50), *waiting)[1])


@given(st.lists(st.sampled_from("abcd"), min_size=2, max_size=4), st.integers(2, 4), st.lists(st.sampled_from("xyz")))
def test_circles_are_found_behind_anything(cycle: list[str], cycles: int, before: list[str]) -> None:
    found = circling((*before, *cycle * cycles), cycles)
    assert found <= len(cycle) if len(set(cycle)) > 1 else not found
    assert bool(found) == (len(set(cycle)) > 1)


@given(st.lists(st.sampled_from("ab"), max_size=30))
def test_progress_stays_small_and_travels(calls: list[str]) -> None:
    limits = Limits(rounds=99)
    progress, _, _ = play(limits, *(one(call) for call in calls))
    assert len(progress.recent) <= 12
    assert Progress.model_validate_json(progress.model_dump_json()) == progress


def test_signatures_know_no_order_of_keys() -> None:
    assert signature("t", {"a": 1, "b": [2]}) == signature("t", {"b": [2], "a": 1})
    assert (
        len({signature("t", {"a": 1}), signature("u", {"a": 1}), signature("t", {"a": "1"}), signature("t", [])}) == 4
    )


def call(given_id: str) -> ToolCall:
    return ToolCall(id=given_id, name="t", arguments="{}")


def test_ids_are_the_same_again_and_differ_by_place() -> None:
    made = [f(agent, n) for f in (round_id, thought_id) for agent in ("r", "r1") for n in (1, 11)]
    made += [call_id("r", 1, 11), call_id("r", 11, 1), tool_key("r", 1, "1"), call_id("r1", 1, 1)]
    assert len(set(made)) == len(made)
    assert call_id("r", 1, 0) == call_id("r", 1, 0)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,40}", each) for each in made)


@given(st.lists(st.sampled_from(["", "a", "b", call_id("run", 1, 0), call_id("run", 1, 1)]), max_size=8))
def test_each_call_gets_an_id_of_its_own(ids: list[str]) -> None:
    unique = [each.id for each in named([call(each) for each in ids], "run", 1)]
    assert len(set(unique)) == len(ids) and all(unique)
    assert unique == [each.id for each in named([call(each) for each in ids], "run", 1)]
    for index, own in enumerate(ids):
        if own and own not in ids[:index]:
            assert unique[index] == own
