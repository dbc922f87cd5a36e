"""What a round leaves out so that it fits its model's window; and the past of a conversation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from agents.desk import CHAT, PLAIN, SINGLE, SMALL, Desk, about, config, desk, first, following, result, tool
from store.logs import meta

from perdure_activities.models.failover import LocatedFault
from perdure_graph.agents.effects import AskRound, RoundAnswer
from perdure_graph.models.effects import Remember
from perdure_graph.models.messages import AssistantMessage, Message, ToolCall, user

WORDS = "alpha beta gamma delta "
# A row of the fake provider's faults.
TOO_LONG = 9
SEARCH = {"name": "search", "arguments": {"query": "x"}}


async def rounds(d: Desk, effect: AskRound, *results: str) -> tuple[AskRound, RoundAnswer]:
    """Play rounds of one call each, with these results; gives the last."""
    await d.says(*({"tool_calls": [SEARCH | {"id": f"call_{n}"}]} for n in range(len(results))), "Done.")
    said = await d.ask(effect)
    for number, text in enumerate(results):
        more: tuple[Message, ...] = (result(f"call_{number}", text),)
        effect = following(effect, said, *more)
        said = await d.ask(effect)
    return effect, said


async def test_long_results_are_cut_the_oldest_first(tmp_path: Path) -> None:
    async with desk(tmp_path, tool("search")) as d:
        agent = config(SMALL, "search")
        long = WORDS * 480
        _, said = await rounds(d, first(agent, await d.open(agent)), long, "short")
        assert (said.text, said.shortened, said.full) == ("Done.", 1, False)
        messages = (await d.sent())[-1]["messages"]
        results = [message["content"] for message in messages if message["role"] == "tool"]
        assert "left out" in results[0]
        assert results[1] == "short"
        # What is kept is whole.
        thread = await d.support.threads.read("r/agent", 3)
        assert thread[2]["content"][0]["text"] == long


async def test_what_cannot_be_made_to_fit_is_said(tmp_path: Path) -> None:
    async with desk(tmp_path, tool("search")) as d:
        agent = config(SMALL, "search")
        effect = first(agent, await d.open(agent, query=WORDS * 500))
        _, said = await rounds(d, effect)
        assert (said.full, said.shortened) == (True, 0)


async def test_a_model_whose_window_nobody_knows_says_itself_what_is_too_long(tmp_path: Path) -> None:
    async with desk(tmp_path, tool("search")) as d:
        await past(d, ("first?", "one"))
        agent = config(SINGLE, "search")
        effect = first(agent, await d.open(agent), remember=Remember(conversation_id="c", before="r"))
        calls = [{"tool_calls": [SEARCH | {"id": f"call_{n}"}]} for n in range(3)]
        # Too long with the past; without it; with results cut to 2,000 characters: each time there is less.
        await d.says(calls[0], TOO_LONG, TOO_LONG, calls[1], TOO_LONG, TOO_LONG, TOO_LONG, calls[2])
        long = WORDS * 480
        said = await d.ask(effect)
        asked = following(effect, said, result("call_0", long))
        said = await d.ask(asked)
        assert (said.dropped, said.shortened, said.full) == (2, 1, False)
        said = await d.ask(following(asked, said, result("call_1", "short")))
        assert (said.dropped, said.shortened, said.full) == (2, 1, True)
        sizes = [len(json.dumps(body["messages"])) for body in await d.sent()]
        assert sizes[1] > sizes[2] > 10_000 > sizes[3] > 2_000
        assert sizes[4] > sizes[5] > 10_000 > sizes[6] > sizes[7]
        # What is kept is whole.
        assert (await d.support.threads.read("r/agent", 3))[2]["content"][0]["text"] == long


async def test_what_is_too_long_all_the_same_fails_the_round(tmp_path: Path) -> None:
    async with desk(tmp_path, tool("search")) as d:
        agent = config(SINGLE, "search")
        await d.says(TOO_LONG)
        with pytest.raises(LocatedFault, match="larger window"):
            await d.ask(first(agent, await d.open(agent)))
        assert len(await d.sent()) == 1


async def test_the_answer_gets_what_the_prompt_leaves(tmp_path: Path) -> None:
    async with desk(tmp_path, tool("search")) as d:
        limited = SMALL.model_copy(update={"completion_params": {"max_tokens": 1500}})
        agent = config(limited, "search")
        await d.says("Done.", "Done.")
        await d.ask(first(agent, await d.open(agent)))
        opened = await d.open(agent, query=WORDS * 200, thread="other")
        await d.ask(first(agent, opened, thread="other").model_copy(update={"meta": None}))
        short, long = [body["max_completion_tokens"] for body in await d.sent()]
        assert short == 1500
        assert 16 <= long < 1300


async def past(d: Desk, *turns: tuple[str, str]) -> None:
    """Record turns of the conversation `c`."""
    for number, (query, answer) in enumerate(turns):
        asked = {"query": query, "sysvars": {"conversation_id": "c"}}
        begun = {"type": "run_started", "seq": 1, "at": number, "graph": "g", "tenant": "acme", "asked": asked}
        outputs = {"answer": answer}
        ended: dict[str, Any] = {"type": "run_finished", "seq": 2, "at": number, "status": "succeeded"}
        assert await d.recorder.record(meta(f"past{number}", "", [begun, ended | {"outputs": outputs}])) == "yes"


@pytest.mark.parametrize("model", [CHAT, PLAIN], ids=["calls", "react"])
async def test_past_turns_go_along(tmp_path: Path, model: Any) -> None:
    async with desk(tmp_path, tool("search")) as d:
        await past(d, ("first?", "one"), ("second?", "two"), ("third?", "three"))
        agent = config(model, "search", instruction="Be brief.")
        remember = Remember(conversation_id="c", before="r", most_messages=4)
        effect = first(agent, await d.open(agent), remember=remember)
        await d.says("Done.")
        said = await d.ask(effect)
        messages = [(message["role"], message["content"]) for message in (await d.sent())[0]["messages"]]
        assert [role for role, _ in messages] == ["system", "user", "assistant", "user", "assistant", "user"]
        assert messages[1] == ("user", "second?")
        assert "two" in messages[2][1]
        assert messages[5] == ("user", "Where is it?")
        assert said.dropped == 0


async def test_a_turn_whose_calls_do_not_fit_is_told_without_them(tmp_path: Path) -> None:
    async with desk(tmp_path, tool("search")) as d:
        await past(d, ("first?", "one"), ("second?", "two"))
        call = ToolCall(id="call_0", name="search", arguments='{"query": "x"}')
        for number, text in enumerate((WORDS * 600, "short")):
            said = (user("asked"), AssistantMessage(content=(call,)), result("call_0", text))
            messages = {place: message.model_dump(mode="json") for place, message in enumerate(said)}
            await d.support.threads.write(f"past{number}/agent/1", f"past{number}", messages)
        agent = config(SMALL, "search")
        opened = await d.open(agent, thread="r/agent/1")
        remember = Remember(conversation_id="c", before="r")
        effect = first(agent, opened, thread="r/agent/1", remember=remember)
        await d.says("Done.", "Done.")
        alone = effect.model_copy(update={"meta": about("r1").model_copy(update={"scope": ""})})
        assert (await d.ask(alone)).dropped == 2
        # An agent that is a part of its run is told what the user saw.
        assert (await d.ask(effect.model_copy(update={"meta": about("r2")}))).dropped == 0
        roles = [[message["role"][0] for message in body["messages"]] for body in await d.sent()]
        assert roles == [["u", "a", "u", "a", "t", "a", "u"], ["u", "a", "u", "a", "u"]]


async def test_the_oldest_turns_are_dropped_whole(tmp_path: Path) -> None:
    async with desk(tmp_path, tool("search")) as d:
        await past(d, *((f"{number}? {WORDS * 40}", f"{number}. {WORDS * 40}") for number in range(6)))
        agent = config(SMALL, "search")
        effect = first(agent, await d.open(agent), remember=Remember(conversation_id="c", before="r"))
        await d.says("Done.")
        said = await d.ask(effect)
        told = [message["content"][:2] for message in (await d.sent())[0]["messages"]]
        kept = 6 - said.dropped // 2
        assert 0 < kept < 6
        assert told == [mark for number in range(6 - kept, 6) for mark in (f"{number}?", f"{number}.")] + ["Wh"]
        assert "alpha" in json.dumps(await d.sent())
