"""Getting an agent ready: its strategy, its tools and their names, its instruction, what it knows of the user."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from agents.desk import CHAT, CLAUDE, COMPLETES, PLAIN, Desk, config, desk, first, tool, uses
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from perdure_activities.agents.activity import open_agent
from perdure_activities.agents.context import AGENTS, current
from perdure_activities.agents.opening import filled
from perdure_activities.models.failover import LocatedFault
from perdure_activities.tools.protocol import ToolFault, ToolParameter
from perdure_graph.agents.config import AgentConfig, AgentModel, LongTermMemory, Strategy
from perdure_graph.agents.effects import OpenAgent
from perdure_graph.errors import PlatformError
from perdure_graph.models.messages import user
from perdure_store.memories import Owner


@pytest.mark.parametrize(
    ("model", "wanted", "chosen", "why"),
    [
        (CHAT, None, "function_calling", ""),
        (CHAT, "react", "react", ""),
        (CLAUDE, "function_calling", "function_calling", ""),
        (PLAIN, None, "react", ""),
        (PLAIN, "function_calling", "react", "'plain/words' calls no tools"),
        (COMPLETES, "function_calling", "react", "completes text"),
    ],
)
async def test_the_strategy_is_one_that_the_model_can(
    tmp_path: Path, model: AgentModel, wanted: Strategy | None, chosen: Strategy, why: str
) -> None:
    async with desk(tmp_path) as d:
        opening = (await d.open(config(model, strategy=wanted))).opening
        assert (opening.strategy, why in opening.fallback, bool(opening.fallback)) == (chosen, True, bool(why))


async def test_a_model_that_nobody_knows_is_said_at_once(tmp_path: Path) -> None:
    async with desk(tmp_path) as d:
        with pytest.raises(LocatedFault, match="'nobody' is not declared") as caught:
            await d.open(config(AgentModel(provider="nobody", name="m")))
        assert caught.value.kind == "not_found"


async def test_names_are_such_as_providers_take(tmp_path: Path) -> None:
    tools = [tool(name, label=name) for name in ("a.b", "a b", "搜索", "fine", "x" * 80)]
    async with desk(tmp_path, *tools, store="off") as d:
        names = [one.declaration.name for one in tools]
        toolset = (await d.open(config(CHAT, *names, "fine"))).opening.toolset
        given = [facts.name for facts in toolset.facts]
        assert [spec.name for spec in toolset.specs] == given
        assert len(set(given)) == 6
        assert all(len(name) <= 64 and name.isascii() for name in given)
        assert given[3] == "fine"
        assert [facts.label for facts in toolset.facts] == [*names, "fine"]
        assert [facts.use.tool_name for facts in toolset.facts] == [*names, "fine"]


async def test_a_tool_that_does_not_load_is_skipped(tmp_path: Path) -> None:
    async with desk(tmp_path, tool("search")) as d:
        d.tools.found |= {"away": ToolFault("invoke", "the server is away"), "bug": ValueError("sk-secret")}
        agent = config(CHAT, "away", "search", "nowhere", "bug").model_copy(
            update={"tools": (*uses("away", "search", "nowhere", "bug"), *uses("off", enabled=False))}
        )
        opening = (await d.open(agent)).opening
        assert [facts.name for facts in opening.toolset.facts] == ["search"]
        assert opening.toolset.skipped == (
            ("away", "the server is away"),
            ("nowhere", "there is no tool 'nowhere'"),
            ("bug", "it did not load (ValueError)"),
        )


async def test_only_allowed_tools_are_given(tmp_path: Path) -> None:
    async with desk(tmp_path, tool("search"), tool("book")) as d:
        for number, (allowed, names) in enumerate(
            [
                ((), ["search", "book", "remember", "recall", "forget"]),
                ("book", ["book"]),
                ('["recall", "search", "other"]', ["search", "recall"]),
                (["nothing"], []),
            ]
        ):
            given = {"allowed_tools": allowed, "long_term": {"enabled": True}}
            agent = AgentConfig.model_validate(config(CHAT, "search", "book").model_dump() | given)
            toolset = (await d.open(agent, thread=f"t{number}")).opening.toolset
            assert ([facts.name for facts in toolset.facts], toolset.skipped) == (names, ())
    with pytest.raises(ValueError, match="is no JSON"):
        AgentConfig.model_validate(config().model_dump() | {"allowed_tools": "[search"})


async def test_tools_that_are_agents_end_at_a_depth(tmp_path: Path) -> None:
    async with desk(tmp_path, tool("child", runner="agent"), tool("search")) as d:
        agent = config(CHAT, "child", "search", max_depth=2)
        above = (await d.open(agent, depth=1, thread="a")).opening.toolset
        below = (await d.open(agent, depth=2, thread="b")).opening.toolset
        assert [facts.name for facts in above.facts] == ["child", "search"]
        assert [facts.name for facts in below.facts] == ["search"]
        assert "2 deep" in below.skipped[0][1]


async def test_what_a_tool_use_says_wins(tmp_path: Path) -> None:
    limit = ToolParameter(name="limit", type="integer")
    made = tool("search", ToolParameter(name="query", required=True), limit, description="Of the tool.")
    async with desk(tmp_path, made, store="off") as d:
        given: dict[str, Any] = {"description": "Of the use.", "parameters": {"limit": 3}, "approval": "required"}
        toolset = (await d.open(config().model_copy(update={"tools": uses("search", **given)}))).opening.toolset
        (spec,), (facts,) = toolset.specs, toolset.facts
        assert (spec.description, list(spec.parameters["properties"])) == ("Of the use.", ["query"])
        assert (facts.approval, facts.use.parameters) == ("required", {"limit": 3})


def test_an_instruction_is_filled_once() -> None:
    inputs = {"city": "{{user}}", "user": "Ann", "n": 3, "yes": True, "nothing": None}
    assert filled("{{city}} {{ user }} {{n}} {{unknown}} {{yes}}{{nothing}} {x} {{}}", inputs) == (
        "{{user}} Ann 3 {{unknown}} True {x} {{}}"
    )


async def test_an_earlier_attempt_is_gone_by(tmp_path: Path) -> None:
    async with desk(tmp_path, tool("search"), tool("more")) as d:
        agent = config(CHAT, "search", "more", instruction="One.")
        before = await d.open(agent)
        d.tools.found["more"] = ToolFault("invoke", "away now")
        after = await d.open(agent)
        assert before == after
        assert after.kept
        stored = await d.support.threads.read("r/agent", 1, -1)
        assert [spec["name"] for spec in stored[0]["toolset"]["specs"]] == ["search", "more"]
        assert stored[1]["role"] == "user"


async def test_what_is_known_of_the_user_goes_along(tmp_path: Path) -> None:
    async with desk(tmp_path) as d:
        for text in ("Ann lives in Paris.", "Ann has a cat.", "Ann likes tea."):
            await d.support.memories.add(Owner("acme", "ann", "helper"), text)
        await d.support.memories.add(Owner("acme", "bob", "helper"), "Bob's cat is secret.")
        agent = config(name="helper", long_term=LongTermMemory(enabled=True, top_k=1))
        opened = await d.open(agent, query="Feed the cat")
        assert opened.opening.facts == ("Ann has a cat.",)
        assert [facts.name for facts in opened.opening.toolset.facts] == ["remember", "recall", "forget"]
        assert all(facts.use.parameters == {"agent": "helper"} for facts in opened.opening.toolset.facts)
        specs = (await d.support.threads.read("r/agent", 0, -1))[0]["toolset"]["specs"]
        assert [list(spec["parameters"]["properties"]) for spec in specs] == [["fact"], ["query"], ["id"]]
        await d.says("Fed.")
        await d.ask(first(agent, opened))
        system = (await d.sent())[0]["messages"][0]["content"]
        assert "Ann has a cat." in system
        assert "Bob" not in system
        assert (await d.open(agent, user="", thread="other")).opening.facts == ()
        quiet = config(name="helper")
        assert (await d.open(quiet, thread="quiet")).opening.facts == ()


async def test_a_memory_that_is_away_keeps_no_agent_from_beginning(tmp_path: Path) -> None:
    async with desk(tmp_path) as d:
        await d.away()
        opened = await d.open(config(long_term=LongTermMemory(enabled=True)))
        assert (opened.kept, opened.opening.facts) == (False, ())


async def perform(d: Desk, effect: OpenAgent) -> Any:
    token = AGENTS.set(d.support)
    try:
        return await ActivityEnvironment().run(open_agent, effect)
    finally:
        AGENTS.reset(token)


async def test_the_activity_says_what_to_do(tmp_path: Path) -> None:
    async with desk(tmp_path) as d:
        effect = OpenAgent(thread="t", config=config(), query=user("q"))
        assert not (await perform(d, effect)).kept
        wrong = effect.model_copy(update={"config": config(AgentModel(provider="nobody", name="m"))})
        with pytest.raises(ApplicationError) as caught:
            await perform(d, wrong)
        assert caught.value.non_retryable
        assert caught.value.details[0]["kind"] == "not_found"
        with pytest.raises(ApplicationError, match="nothing to run agents"):
            await ActivityEnvironment().run(open_agent, effect)
        with pytest.raises(PlatformError):
            current()
