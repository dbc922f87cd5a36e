"""The loop of an agent played against its activities: the store is there, is not, or comes and goes in between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from agents.desk import CHAT, CLAUDE, PLAIN, Desk, about, config, desk, tool
from pytest import MonkeyPatch

from perdure_activities.agents.opening import opened
from perdure_activities.agents.round import asked
from perdure_activities.tools.activity import Running
from perdure_graph.agents import loop
from perdure_graph.agents.config import AgentConfig, AgentLimits
from perdure_graph.agents.effects import AgentAnswer, AskRound, OpenAgent, RunTool
from perdure_graph.agents.loop_state import AgentState, Asked
from perdure_graph.effects import Effect, Reply
from perdure_store.ledger_records import LedgerAway
from perdure_store.threads import Writing

TWO = {"text": "I look.", "tool_calls": [{"name": "search", "arguments": {"query": query}} for query in ("a", "b")]}
BAD = {"tool_calls": [{"name": "nothing", "arguments": {}}, {"name": "search", "arguments": "{}"}]}
ACT = 'Thought: I look.\nAction: {"action": "search", "action_input": {"query": "a"}}'


PERFORMING = [""]


async def perform(d: Desk, name: str, effect: Effect) -> Reply:
    """Perform an effect twice, as after a worker that died: it must say the same, and pay nothing."""
    effect = effect.model_copy(update={"meta": about(name)})
    replies: list[Reply] = []
    PERFORMING.append(name)
    for attempt in (1, 2):
        match effect:
            case OpenAgent():
                replies.append(await opened(d.support, effect))
            case AskRound():
                replies.append(await asked(d.support, effect, attempt))
            case RunTool():
                replies.append(await Running(d.support, effect, attempt).perform())
            case _:
                raise AssertionError(effect)
        if d.support.threads.is_off:
            break
    assert replies[0] == replies[-1] or isinstance(effect, RunTool)
    return replies[-1]


async def play(d: Desk, agent: AgentConfig) -> tuple[AgentAnswer, AgentState]:
    """Play an agent to its end; its state goes through JSON each time."""
    move = loop.begin(agent, Asked(thread="r/agent", query="Where?", user="ann", tenant="acme"))
    due = [*move.perform]
    while due:
        name, effect = due.pop(0)
        state = AgentState.model_validate_json(move.state.model_dump_json())
        move = loop.came(agent, state, name, await perform(d, name, effect))
        due += move.perform
    assert move.answer is not None
    return move.answer, move.state


@pytest.mark.parametrize("model", [CHAT, CLAUDE], ids=["openai", "anthropic"])
@pytest.mark.parametrize("store", [None, "off"], ids=["store", "off"])
async def test_an_agent_comes_to_its_answer(tmp_path: Path, model: Any, store: str | None) -> None:
    async with desk(tmp_path, tool("search"), store=store) as d:
        await d.says(TWO, BAD, TWO, "It is here.")
        answer, state = await play(d, config(model, "search"))
        assert (answer.text, answer.end, answer.rounds) == ("It is here.", "answer", 4)
        assert len(await d.sent()) == 4
        if store is None:
            assert (state.kept, state.fresh) == (11, [])
            thread = await d.support.threads.read("r/agent", 11)
            assert [message["role"] for message in thread[:4]] == ["user", "assistant", "tool", "tool"]
            assert all("search: {'query':" in message["content"][0]["text"] for message in thread[2:4])
            assert all(message["is_error"] for message in thread[5:7])
        else:
            assert (state.kept, len(state.fresh)) == (0, 11)


async def test_a_react_agent_comes_to_its_answer(tmp_path: Path) -> None:
    async with desk(tmp_path, tool("search")) as d:
        await d.says(ACT, 'Action: {"action": "search", "action_input": {', "Final Answer: It is here.")
        answer, state = await play(d, config(PLAIN, "search"))
        assert (answer.text, answer.end, answer.rounds) == ("It is here.", "answer", 3)
        assert (state.kept, state.fresh) == (6, [])
        last = (await d.sent())[-1]["messages"]
        assert [message["role"] for message in last] == ["system", "user", "assistant", "user"]


async def test_a_closing_round_ends_it(tmp_path: Path) -> None:
    async with desk(tmp_path, tool("search")) as d:
        await d.says(TWO, TWO)
        answer, _ = await play(d, config(CHAT, "search", limits=AgentLimits(max_iteration=1)))
        assert (answer.text, answer.end, answer.rounds) == ("I look.", "max_iterations", 2)
        assert [body.get("tool_choice") for body in await d.sent()] == [None, "none"]


@pytest.mark.parametrize("lost", ["open", "r1", "r1.c0", "r1.c1", "r2", "r2.c1", "r3"])
async def test_a_store_that_misses_one_write_gets_it_later(tmp_path: Path, monkeypatch: MonkeyPatch, lost: str) -> None:
    """Whichever write is lost: what is sent and said is the same, and the next round brings the store up to date."""
    write = Writing.write

    def flaky(self: Writing, connection: Any) -> None:
        if PERFORMING[-1] == lost:
            raise LedgerAway("gone")
        write(self, connection)

    monkeypatch.setattr(Writing, "write", flaky)
    async with desk(tmp_path, tool("search")) as d:
        await d.says(TWO, TWO, "It is here.")
        answer, state = await play(d, config(CHAT, "search"))
        assert answer.text == "It is here."
        assert lost in PERFORMING
        assert (state.kept, len(state.fresh)) == ((7, 1) if lost == "r3" else (8, 0))
        thread = await d.support.threads.read("r/agent", state.kept)
        roles = ["user", "assistant", "tool", "tool", "assistant", "tool", "tool", "assistant"]
        assert [message["role"] for message in thread] == roles[: state.kept]
        sent = (await d.sent())[-1]["messages"]
        assert [message["role"] for message in sent] == roles[:-1]
        results = [message["content"] for message in sent if message["role"] == "tool"]
        assert results == [f"search: {{'query': '{query}'}} {{}} for ann" for query in "abab"]
