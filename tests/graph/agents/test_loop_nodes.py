"""The nodes around the loop: `agent-loop`, which is it, and `agent`, as Dify draws it."""

from __future__ import annotations

from typing import Any

import pytest
from graph.agents.looping import call, config, said, tool

from fakes.context import FakeContext, file
from perdure_graph.agents.effects import AgentAnswer, AgentOpened, AskRound, OpenAgent, Opening, RunAgent, ToolResult
from perdure_graph.agents.tools import Toolset
from perdure_graph.errors import NodeError
from perdure_graph.models.messages import user
from perdure_graph.models.usage import Usage
from perdure_graph.nodes import agent, agent_loop
from perdure_graph.nodes.base import Came, Done, Failed, Perform, Turn
from perdure_graph.values import ValueType

SYSTEM = {"query": "Wer?", "user_id": "u", "files": [file("a.png", "image")], "workflow_run_id": "run"}


def loop_context(**system: Any) -> FakeContext:
    return FakeContext({"sys": {**SYSTEM, **system}, "start": {"tone": "kind"}}, node_id="agent")


def test_the_loop_as_a_node() -> None:
    data = agent_loop.AgentLoopData(type="agent-loop", config=config(vision="low", memory={"enabled": True, "size": 3}))
    ctx = loop_context(conversation_id="earlier")
    turn = agent_loop.start(data, ctx)
    assert isinstance(turn, Turn)
    [(name, effect)] = turn.perform
    assert isinstance(effect, OpenAgent)
    assert (name, effect.thread, effect.user, effect.inputs) == ("open", "run/agent/1", "u", {"tone": "kind"})
    assert [part.type for part in effect.query.content] == ["file", "text"]
    opening = Opening(strategy="function_calling", query=user(""), toolset=Toolset(facts=(tool("look"),)))
    replies = {
        "open": AgentOpened(opening=opening, kept=True),
        "r1": said("", call("look")),
        "r1.c0": ToolResult(text="x"),
    }
    for came, reply in replies.items():
        ctx.memo = turn.memo
        turn = agent_loop.resume(data, ctx, Came(came, reply))
        assert isinstance(turn, Turn)
    [(_, asked)] = turn.perform
    assert isinstance(asked, AskRound) and asked.remember is not None
    assert (asked.remember.conversation_id, asked.remember.most_messages) == ("earlier", 6)
    ctx.memo = turn.memo
    with pytest.raises(NodeError, match="no quota"):
        agent_loop.resume(data, ctx, Came("r2", Failed("no quota", "quota")))
    again = agent_loop.start(data, ctx)
    assert isinstance(again, Turn) and again.perform == turn.perform
    ctx.memo = again.memo
    done = agent_loop.resume(data, ctx, Came("r2", said("Ich.")))
    assert isinstance(done, Done)
    assert (done.outputs["text"], done.outputs["end"], done.outputs["rounds"]) == ("Ich.", "answer", 2)
    assert Usage.model_validate(done.outputs["usage"]).tokens.total == 22
    assert set(done.outputs) == set(agent_loop.NODE.outputs(data)) and done.tell


TOOLS = [
    {
        "enabled": True,
        "type": "builtin",
        "provider_name": "langgenius/tavily/tavily",
        "tool_name": "tavily_search",
        "tool_label": "Search",
        "schemas": [{"name": "query"}],
        "extra": {"description": "Finds pages for {{#start.who#}}"},
        "settings": {"max_results": {"value": {"type": "constant", "value": 5}}, "depth": {"value": "basic"}},
        "parameters": {
            "query": {"auto": 1, "value": None},
            "lang": {"auto": 0, "value": {"type": "constant", "value": "de"}},
            "who": {"auto": 0, "value": {"type": "variable", "value": ["start", "who"]}},
        },
    },
    {"enabled": False, "provider_type": "api", "provider_id": "pets", "tool_name": "listPets", "credential_id": "c1"},
]
MODEL = {
    "provider": "langgenius/openai/openai",
    "model": "gpt-4o",
    "mode": "chat",
    "completion_params": {"temperature": 0},
}


def drawn(strategy: str = "function_calling", **parameters: Any) -> agent.AgentData:
    given = {
        "model": {"type": "constant", "value": MODEL},
        "tools": {"type": "constant", "value": TOOLS},
        "instruction": {"type": "mixed", "value": "Help {{#start.who#}}"},
        "query": {"type": "constant", "value": "{{#sys.query#}}"},
        "maximum_iterations": {"type": "constant", "value": 3},
        **parameters,
    }
    return agent.AgentData(
        type="agent",
        title="Helper",
        agent_strategy_provider_name="langgenius/agent/agent",
        agent_strategy_name=strategy,
        agent_parameters={name: agent.AgentParameter.model_validate(value) for name, value in given.items()},
    )


def context(**pool: Any) -> FakeContext:
    return FakeContext({"sys": SYSTEM, "start": {"who": 'Ann", {{#sys.user_id#}}'}, **pool}, node_id="a")


def run_of(data: agent.AgentData, ctx: FakeContext) -> RunAgent:
    outcome = agent.start(data, ctx)
    assert isinstance(outcome, Perform) and isinstance(outcome.effect, RunAgent)
    ctx.memo = outcome.memo
    return outcome.effect


def test_an_agent_node_runs_the_agent_that_is_drawn() -> None:
    effect = run_of(drawn(), context())
    made = effect.config
    assert (effect.query, made.name, made.strategy) == ("Wer?", "Helper", "function_calling")
    assert (made.model.provider, made.model.name) == ("langgenius/openai/openai", "gpt-4o")
    assert (made.model.completion_params, made.limits.max_iteration) == ({"temperature": 0}, 3)
    assert made.instruction == 'Help Ann", {{#sys.user_id#}}'
    first, second = made.tools
    assert (first.provider_type, first.provider_id, first.tool_name) == (
        "builtin",
        "langgenius/tavily/tavily",
        "tavily_search",
    )
    assert first.parameters == {"max_results": 5, "depth": "basic", "lang": "de", "who": 'Ann", {{#sys.user_id#}}'}
    assert first.description == 'Finds pages for Ann", {{#sys.user_id#}}'
    assert (second.enabled, second.provider_type, second.provider_id, second.credential) == (False, "api", "pets", "c1")


def test_what_an_agent_node_puts_out() -> None:
    ctx = context(found={"result": [{"content": "p", "metadata": {"_source": "knowledge", "position": 1}}]})
    data = drawn(context={"type": "variable", "value": ["found", "result"]})
    run_of(data, ctx)
    done = agent.resume(data, ctx, AgentAnswer(text="Ich.", end="max_iterations", rounds=4, calls=3))
    assert isinstance(done, Done)
    assert set(done.outputs) == {"text", "usage", "files", "json"}
    assert done.outputs["json"] == [{"end": "max_iterations", "rounds": 4, "calls": 3}]
    assert done.process_data["retriever_resources"][0]["content"] == "p"
    assert done.process_data["end"] == "max_iterations"


@pytest.mark.parametrize(("name", "strategy"), [("ReAct", "react"), ("function_calling", "function_calling")])
def test_strategies(name: str, strategy: str) -> None:
    assert run_of(drawn(name), context()).config.strategy == strategy


def test_an_unknown_strategy_is_named() -> None:
    data = drawn("tree_of_thoughts")
    assert "'tree_of_thoughts'" in agent.NODE.lacks(data)
    with pytest.raises(NodeError, match="tree_of_thoughts") as caught:
        agent.start(data, context())
    assert caught.value.error_type == "NodeNotAvailable"
    assert agent.NODE.lacks(drawn()) == ""


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"model": {"type": "constant", "value": {}}}, "model"),
        ({"tools": {"type": "constant", "value": "x"}}, "tools"),
        ({"tools": {"type": "constant", "value": [{"type": "magic", "tool_name": "t"}]}}, r"tools\[0\].type"),
        ({"tools": {"type": "constant", "value": [{"type": "mcp"}]}}, r"tools\[0\].tool_name"),
        ({"maximum_iterations": {"type": "constant", "value": "many"}}, "maximum_iterations"),
        ({"allowed_tools": {"type": "constant", "value": "[a"}}, "allowed_tools"),
        ({"query": {"type": "constant", "value": " "}}, "query"),
        ({"query": {"type": "variable", "value": "start.who"}}, "start.who"),
    ],
)
def test_parameters_that_do_not_fit_are_named(parameters: dict[str, Any], field: str) -> None:
    with pytest.raises(NodeError, match=field):
        agent.start(drawn(**parameters), context())


@pytest.mark.parametrize(("value", "rounds"), [("7", 7), (500, 99), (0, 1), (None, 5), (2.0, 2)])
def test_rounds_of_an_agent_node(value: Any, rounds: int) -> None:
    effect = run_of(drawn(maximum_iterations={"type": "constant", "value": value}), context())
    assert effect.config.limits.max_iteration == rounds


@pytest.mark.parametrize(("value", "names"), [('["a", "b"]', ("a", "b")), (["a"], ("a",)), ("a", ("a",)), ("", ())])
def test_allowed_tools_of_an_agent_node(value: Any, names: tuple[str, ...]) -> None:
    effect = run_of(drawn(allowed_tools={"type": "constant", "value": value}), context())
    assert effect.config.allowed_tools == names


def test_memory_and_vision_of_an_agent_node() -> None:
    update: dict[str, Any] = {
        "memory": {"window": {"enabled": True, "size": 4}},
        "vision": {"enabled": True, "configs": {"detail": "low"}},
    }
    data = agent.AgentData.model_validate({**drawn().model_dump(), **update})
    effect = run_of(data, FakeContext({"sys": {**SYSTEM, "conversation_id": "c"}, "start": {"who": ""}}))
    assert (effect.conversation_id, effect.config.memory.size, effect.config.vision) == ("c", 4, "low")
    assert [one["filename"] for one in effect.files] == ["a.png"]
    first = FakeContext({"sys": {**SYSTEM, "conversation_id": "run"}, "start": {"who": ""}})
    assert run_of(data, first).conversation_id == ""


def test_secrets_are_not_shown() -> None:
    types = {"env": {"key": ValueType.SECRET}}
    ctx = FakeContext({"sys": SYSTEM, "env": {"key": "s3cret"}, "start": {"who": ""}}, types=types)
    outcome = agent.start(drawn(instruction={"type": "mixed", "value": "Use {{#env.key#}}"}), ctx)
    assert isinstance(outcome, Perform)
    assert "s3cret" not in str(outcome.inputs) + str(outcome.memo)
