"""Complaints about agents that do not know when to stop, or do not say how they ended."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fakes.agent_place import (
    STRATEGIES,
    AgentPlace,
    agent_place,
    answers,
    calls,
    made,
    met,
    offers,
    rounds,
    told,
)
from perdure_graph.agents.config import Strategy
from perdure_graph.events import AgentLog
from perdure_worker.embedded import EmbeddedStack

pytestmark = [pytest.mark.xdist_group("agent-limits"), pytest.mark.timeout(180)]
OFF = {"max_tool_failures": 0, "max_tool_failures_in_row": 0}
CIRCLE = ("left", "right")


@pytest.fixture(scope="module")
async def own(stack: EmbeddedStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AgentPlace]:
    async with agent_place(stack, tmp_path_factory.mktemp("agents")) as place:
        yield place


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("stubborn", [False, True])
async def test_complaint_16_an_agent_that_repeats_a_call_ends_with_what_it_has_and_says_why(
    own: AgentPlace, strategy: Strategy, stubborn: bool
) -> None:
    """It went on until a recursion limit of the library blew up, and all that it had found was lost."""
    again = calls(strategy, "look", {"at": "the door"})
    replies = [again] if stubborn else [again, again, again, again, answers(strategy, "The door, as far as I saw.")]
    own.calls()
    handle = await own.start(["look"], replies, strategy=strategy, limits={"max_iteration": 20})
    result = await handle.result()
    assert (result.status, result.outputs["end"]) == ("succeeded", "repetition")
    left = "I need this." if strategy == "react" else "Seen: the door."
    assert (left if stubborn else "The door, as far as I saw.") in result.outputs["answer"]
    assert own.calls() == [{"tool": "look", "at": "the door"}] * 2
    events = await told(handle)
    assert met(events) == ["repetition"]
    thoughts = rounds(events)
    asked = [(call["status"], call["error_kind"]) for call in made(thoughts[:4])]
    assert asked == [("done", None)] * 2 + [("failed", "refused")] * 2
    assert "number 3 in a row" in thoughts[2].calls[0]["observation"]
    assert [offers(body) for body in await own.sent()][-1] is False
    assert len(await own.sent()) == 5


@pytest.mark.parametrize("limit", [2, 4])
async def test_complaint_16_how_often_a_call_may_be_repeated_can_be_said(own: AgentPlace, limit: int) -> None:
    handle = await own.start(
        ["look"],
        [calls("function_calling", "look", {"at": "it"})],
        limits={"max_iteration": 20, "repeats": limit},
    )
    own.calls()
    assert (await handle.result()).outputs["end"] == "repetition"
    assert len(own.calls()) == limit - 1


@pytest.mark.parametrize("way", ["nudge", "stop"])
async def test_complaint_16_an_agent_that_goes_in_circles_is_told_and_ends(own: AgentPlace, way: str) -> None:
    """No call is repeated in a row, so counting those would not find it."""
    replies = [calls("function_calling", "look", {"at": CIRCLE[n % 2]}, f"Step {n}.") for n in range(40)]
    own.calls()
    handle = await own.start(["look"], replies, limits={"max_iteration": 40, "on_oscillation": way})
    result = await handle.result()
    assert (result.status, result.outputs["end"]) == ("succeeded", "oscillation")
    assert result.outputs["answer"] == ("Step 11." if way == "nudge" else "Step 5.")
    assert len(own.calls()) == (12 if way == "nudge" else 6)
    assert met(await told(handle)) == ["oscillation"] * (2 if way == "nudge" else 1)
    notes = [body for body in await own.sent() if "came round again" in str(body["messages"][-1])]
    assert len(notes) == (way == "nudge")


async def test_complaint_16_somebody_may_be_asked_whether_an_agent_is_to_go_on(own: AgentPlace) -> None:
    replies = [calls("function_calling", "look", {"at": CIRCLE[n % 2]}) for n in range(6)]
    replies += [calls("function_calling", "look", {"at": f"way {n}"}) for n in range(2)]
    handle = await own.start(["look"], [*replies, "Found it."], limits={"max_iteration": 20, "on_oscillation": "ask"})
    async with asyncio.timeout(60):
        while not (forms := (await handle.status()).forms):
            await asyncio.sleep(0.05)
    [form] = forms
    assert {action.id for action in form.form.actions} == {"go_on", "finish", "stop"}
    await handle.submit(form.key, "go_on", {"note": "Look behind the house."})
    result = await handle.result()
    assert (result.outputs["end"], result.outputs["answer"]) == ("answer", "Found it.")
    assert any("Look behind the house." in str(body["messages"]) for body in await own.sent())


MARKUP = '<tool_call>\n{"name": "look", "arguments": {"at": "more"}}\n</tool_call>'


@pytest.mark.parametrize(
    ("closing", "answer"),
    [
        ("It is red.", "It is red."),
        (f"It is red.\n{MARKUP}", "It is red."),
        (MARKUP, None),
        ("<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>look", None),
        ('[TOOL_CALLS][{"name": "look", "arguments": {"at": "more"}}]', None),
        (calls("function_calling", "look", {"at": "more"}), None),
        (calls("function_calling", "look", {"at": "more"}, "It is red."), "It is red."),
    ],
)
async def test_complaint_17_at_the_limit_the_answer_is_text_and_no_markup(
    own: AgentPlace, closing: Any, answer: str | None
) -> None:
    """The answer was the tags of a call that nobody made."""
    asking = [calls("function_calling", "look", {"at": f"thing {n}"}) for n in range(2)]
    own.calls()
    handle = await own.start(["look"], [*asking, closing], limits={"max_iteration": 2})
    result = await handle.result()
    assert (result.status, result.outputs["end"]) == ("succeeded", "max_iterations")
    text = result.outputs["answer"]
    assert text == answer if answer is not None else text.startswith("I am sorry")
    assert [offers(body) for body in await own.sent()] == [True, True, False]
    assert [call["at"] for call in own.calls()] == ["thing 0", "thing 1"]
    events = await told(handle)
    assert met(events) == ["max_iterations"]
    assert rounds(events)[-1].answer == text
    for late in rounds(events)[-1].calls:
        assert (late["status"], late["error_kind"]) == ("failed", "not_run")


@pytest.mark.parametrize(
    ("closing", "answer"),
    [
        ("Thought: enough.\nFinal Answer: It is red.", "It is red."),
        ('Thought: It may be red.\nAction: look\nAction Input: {"at": "more"}', "It may be red."),
        ('Action: {"action": "look", "action_input": {"at": "more"}}', None),
        ('Thought: Hm.\nAction: {"action": "look", "action_in', "Hm."),
    ],
)
async def test_complaint_17_the_same_holds_for_an_agent_that_calls_tools_in_words(
    own: AgentPlace, closing: str, answer: str | None
) -> None:
    asking = [calls("react", "look", {"at": f"thing {n}"}) for n in range(2)]
    own.calls()
    handle = await own.start(["look"], [*asking, closing], strategy="react", limits={"max_iteration": 2})
    result = await handle.result()
    assert (result.status, result.outputs["end"]) == ("succeeded", "max_iterations")
    text = result.outputs["answer"]
    assert text == answer if answer is not None else text.startswith("I am sorry")
    assert "Action" not in text and "action_in" not in text
    assert len(own.calls()) == 2
    assert met(await told(handle)) == ["max_iterations"]
    first, *_, last = [str(body["messages"][0]) for body in await own.sent()]
    assert "Look at something" in first and "Look at something" not in last


@pytest.mark.parametrize("limit", [1, 3, 12])
async def test_complaint_18_the_limit_of_rounds_is_the_one_that_was_set(own: AgentPlace, limit: int) -> None:
    """Whatever was set, five rounds were all there were."""
    asking = [calls("function_calling", "look", {"at": str(n)}) for n in range(limit + 5)]
    own.calls()
    handle = await own.start(["look"], asking, limits={"max_iteration": limit})
    result = await handle.result()
    assert result.outputs["end"] == "max_iterations"
    assert [call["at"] for call in own.calls()] == [str(n) for n in range(limit)]
    assert len(await own.sent()) == limit + 1


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_complaint_18_a_call_that_fails_says_so_wherever_it_is_told(own: AgentPlace, strategy: Strategy) -> None:
    """The last call failed, and the agent was reported to have succeeded with its result."""
    replies = [calls(strategy, "fails", {"why": "rain"}), answers(strategy, "It did not work.")]
    own.calls()
    handle = await own.start(["fails"], replies, strategy=strategy, limits={"max_iteration": 1})
    result = await handle.result()
    assert (result.outputs["end"], result.outputs["answer"]) == ("max_iterations", "It did not work.")
    assert own.calls() == [{"tool": "fails", "why": "rain"}]
    events = await told(handle)
    [call] = made(rounds(events))
    assert (call["status"], call["error_kind"]) == ("failed", "invoke")
    assert "no luck: rain" in call["error"] and "no luck: rain" in call["observation"]
    ended = [event for event in events if isinstance(event, AgentLog) and event.label.startswith("CALL")]
    assert [event.status for event in ended] == ["start", "error"]
    assert "no luck: rain" in (ended[-1].error or "")
    assert "no luck: rain" in str((await own.sent())[-1]["messages"]), "the model knows"


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (calls("function_calling", "unheard_of", {}), "unknown_tool"),
        (calls("function_calling", "look", {"at": {"no": "text"}}), "bad_arguments"),
        (calls("function_calling", "look", {}), "bad_arguments"),
        ({"tool_calls": [{"name": "look", "arguments": '{"at": "x"'}]}, "bad_arguments"),
    ],
)
async def test_complaint_18_a_call_that_cannot_be_made_has_its_kind(own: AgentPlace, reply: Any, kind: str) -> None:
    own.calls()
    handle = await own.start(["look"], [reply, "No."])
    result = await handle.result()
    assert (result.outputs["answer"], result.outputs["end"]) == ("No.", "answer")
    [call] = made(rounds(await told(handle)))
    assert (call["status"], call["error_kind"]) == ("failed", kind)
    assert own.calls() == []


@pytest.mark.parametrize(
    ("limits", "count"),
    [
        ({"max_tool_failures": 1, "max_tool_failures_in_row": 0}, 1),
        ({"max_tool_failures": 4, "max_tool_failures_in_row": 0}, 4),
        ({"max_tool_failures": 0, "max_tool_failures_in_row": 2}, 2),
        ({}, 3),
    ],
)
async def test_complaint_18_the_limits_of_failures_are_those_that_were_set(
    own: AgentPlace, limits: dict[str, int], count: int
) -> None:
    asking = [calls("function_calling", "fails", {"why": str(n)}) for n in range(count)]
    own.calls()
    handle = await own.start(["fails"], [*asking, "I give up."], limits={"max_iteration": 20, **limits})
    result = await handle.result()
    assert (result.outputs["end"], result.outputs["answer"]) == ("tool_failures", "I give up.")
    assert len(own.calls()) == count
    assert met(await told(handle)) == ["tool_failures"]


async def test_complaint_18_failures_that_are_not_limited_end_nothing(own: AgentPlace) -> None:
    names = itertools.cycle(("fails", "look"))
    asking = [
        calls("function_calling", name, {"why" if name == "fails" else "at": str(n)})
        for n, name in zip(range(12), names, strict=False)
    ]
    own.calls()
    handle = await own.start(["fails", "look"], [*asking, "Done."], limits={"max_iteration": 20, **OFF})
    result = await handle.result()
    assert (result.outputs["end"], result.outputs["answer"]) == ("answer", "Done.")
    assert [call["tool"] for call in own.calls()] == ["fails", "look"] * 6
