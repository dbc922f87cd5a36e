"""The tool node: what it asks for, what it puts out, and a run of one through the public door."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.context import FakeContext, file
from fakes.driver import Driver
from fakes.graphs import document, end, node, start
from perdure import Client
from perdure_graph.agents.config import AgentConfig, AgentModel, ToolUse
from perdure_graph.agents.effects import AgentAnswer, RunAgent, RunTool, ToolResult
from perdure_graph.agents.tools import FileOut, JsonOut, LinkOut, TextOut, ToolPart, VariableOut
from perdure_graph.children import FlowAnswer, RunFlow
from perdure_graph.effects import Effect, Reply
from perdure_graph.errors import NodeError
from perdure_graph.graph import Graph
from perdure_graph.nodes.base import Done, Perform
from perdure_graph.nodes.tool import NODE, ToolData, resume
from perdure_graph.nodes.tool import start as begin
from perdure_graph.request import RunRequest
from perdure_graph.values import ValueType
from perdure_worker.embedded import EmbeddedStack

POOL: dict[str, dict[str, Any]] = {
    "s": {"city": "Köln", "n": 3, "list": [1], "file": file("a.png", "image"), "null": None},
    "env": {"KEY": "s3cret"},
    "sys": {"user_id": "u1"},
}
TYPES = {"env": {"KEY": ValueType.SECRET}}


def data(**fields: Any) -> ToolData:
    return ToolData.model_validate({"type": "tool", "provider_id": "time", "tool_name": "current_time", **fields})


def ctx(memo: Any = None) -> FakeContext:
    return FakeContext(POOL, types=TYPES, memo=memo)


def asked(**fields: Any) -> tuple[RunTool, Perform]:
    outcome = begin(data(**fields), ctx())
    assert isinstance(outcome, Perform)
    assert isinstance(outcome.effect, RunTool)
    return outcome.effect, outcome


@pytest.mark.parametrize(
    ("drawn", "value"),
    [
        ({"type": "mixed", "value": "in {{#s.city#}} {{#s.n#}}"}, "in Köln 3"),
        ({"type": "constant", "value": "{{#s.city#}}"}, "Köln"),
        ({"type": "constant", "value": 5}, 5),
        ({"type": "constant", "value": True}, True),
        ({"type": "constant", "value": {"a": [1]}}, {"a": [1]}),
        ({"type": "variable", "value": ["s", "list"]}, [1]),
        ({"type": "variable", "value": ["s", "file"]}, POOL["s"]["file"]),
        ("bare {{#s.n#}}", "bare 3"),
    ],
)
def test_parameters_are_filled_in(drawn: Any, value: Any) -> None:
    assert asked(tool_parameters={"p": drawn})[0].arguments == {"p": value}


@pytest.mark.parametrize(
    "drawn",
    [
        None,
        {"type": "mixed", "value": None},
        {"type": "variable", "value": ["s", "null"]},
        {"type": "variable", "value": ["s", "gone"]},
    ],
)
def test_null_and_missing_variables_are_left_to_the_tool(drawn: Any) -> None:
    assert asked(tool_parameters={"p": drawn})[0].arguments == {}


def test_configurations_are_settings() -> None:
    effect, _ = asked(
        tool_configurations={
            "format": {"type": "mixed", "value": "%Y {{#s.n#}}"},
            "timezone": {"type": "constant", "value": "UTC"},
            "plain": 3,
            "off": None,
        },
        credential_id="c-1",
    )
    assert effect.use == ToolUse(
        provider_type="builtin",
        provider_id="time",
        tool_name="current_time",
        parameters={"format": "%Y 3", "timezone": "UTC", "plain": 3},
        credential="c-1",
    )
    assert (effect.thread, effect.user) == ("", "u1")


def test_people_do_not_see_secrets() -> None:
    parameters = {
        "a": "Bearer {{#env.KEY#}} {{#s.n#}}",
        "b": {"type": "variable", "value": ["env", "KEY"]},
        "c": "{{#s.city#}}",
    }
    effect, outcome = asked(tool_parameters=parameters)
    assert effect.arguments["a"] == "Bearer s3cret 3"
    assert outcome.inputs == {"a": "Bearer ******** 3", "b": "********", "c": "Köln"}
    assert "s3cret" not in str(outcome.memo)


def test_what_cannot_be_a_parameter_or_a_tool() -> None:
    for fields, kind in (
        ({"tool_parameters": {"p": {"type": "variable", "value": "s.city"}}}, "ToolParameterError"),
        ({"provider_type": "app"}, "ToolNodeError"),
    ):
        with pytest.raises(NodeError) as caught:
            begin(data(**fields), ctx())
        assert caught.value.error_type == kind


def done(reply: Any, memo: Any = None) -> Done:
    outcome = resume(data(), ctx(memo or {"shown": {"a": 1}}), reply)
    assert isinstance(outcome, Done)
    return outcome


def test_parts_become_outputs() -> None:
    a_file = file("a.txt")
    parts: tuple[ToolPart, ...] = (
        TextOut(text="one "),
        JsonOut(value={"a": 1}),
        JsonOut(value=[1], shown=False),
        LinkOut(url="https://x"),
        FileOut(file=a_file),
        TextOut(text="two"),
        VariableOut(name="v", value=[1]),
    )
    outcome = done(ToolResult(parts=parts, text="for a model", files=(a_file,)))
    assert outcome.outputs == {
        "text": "one Link: https://x\ntwo",
        "json": [{"a": 1}, {"data": [1]}],
        "files": [a_file],
        "v": [1],
    }
    assert outcome.inputs == {"a": 1}
    assert done(ToolResult(parts=(TextOut(text="t"),))).outputs["json"] == [{"data": []}]


@pytest.mark.parametrize(
    ("kind", "error_type"),
    [
        ("bad_arguments", "ToolParameterError"),
        ("unknown_tool", "ToolNodeError"),
        ("invoke", "ToolInvokeError"),
        ("timeout", "ToolInvokeError"),
        ("credentials", "ToolInvokeError"),
    ],
)
def test_faults_fail_the_node(kind: Any, error_type: str) -> None:
    with pytest.raises(NodeError, match="Failed to run tool 'current_time': no") as caught:
        resume(data(), ctx(), ToolResult(error_kind=kind, error="no", text="longer"))
    assert caught.value.error_type == error_type


def test_a_variable_must_not_take_a_name_of_ours() -> None:
    with pytest.raises(NodeError, match="reserved"):
        done(ToolResult(parts=(VariableOut(name="text", value=1),)))


def graph_with(tool: dict[str, Any], *, name: str = "text") -> Graph:
    nodes = [start(city="text-input"), node("t", "tool", **tool), end(out=["t", name])]
    return Graph.from_document(document(nodes, [("start", "t"), ("t", "end")]))


def run(graph: Graph, replies: list[Reply], **inputs: Any) -> tuple[Any, list[Effect]]:
    asked_for: list[Effect] = []

    def perform(effect: Effect) -> Reply:
        asked_for.append(effect)
        return replies[len(asked_for) - 1]

    driver = Driver(graph, RunRequest(graph=graph.document, inputs=inputs), performer=perform, round_trip=True)
    driver.run()
    while driver.tick():
        pass
    return driver.state, asked_for


WORKFLOW = {
    "provider_type": "workflow",
    "provider_id": "w",
    "tool_name": "w",
    "tool_parameters": {"q": "{{#start.city#}}"},
}


def test_a_graph_as_a_tool_is_a_run_of_its_own() -> None:
    inner = document([start(q="text-input"), end(a=["start", "q"])], [("start", "end")])
    child = ToolUse(provider_type="workflow", provider_id="w", tool_name="w", flow=inner)
    state, effects = run(graph_with(WORKFLOW), [ToolResult(child=child)], city="Köln")
    assert (state.status, len(effects)) == ("succeeded", 1)
    assert state.root.scope["t"]["json"] == [{"a": "Köln"}]
    assert state.root.scope["t"]["text"] == '{"a": "Köln"}'


def test_what_a_child_is_asked() -> None:
    memo = {"shown": {}, "given": {"query": "what?", "q": 1}}
    agent = AgentConfig(model=AgentModel(provider="openai", name="x"))
    chat = document([start(), node("answer", "answer", answer="hi")], [("start", "answer")], mode="advanced-chat")
    flow = document([start(), end()], [("start", "end")])
    for more, wanted in (
        ({"agent": agent}, RunAgent(config=agent, query="what?", inputs={"q": 1})),
        ({"flow": chat}, RunFlow(graph=chat, query="what?", inputs={"q": 1})),
        ({"flow": flow}, RunFlow(graph=flow, inputs={"query": "what?", "q": 1})),
    ):
        child = ToolUse(provider_type="workflow", provider_id="w", tool_name="w", **more)  # type: ignore
        outcome = resume(data(), ctx(memo), ToolResult(child=child))
        assert isinstance(outcome, Perform)
        assert (outcome.effect, outcome.memo) == (wanted, memo)
    assert done(AgentAnswer(text="that"), memo).outputs["text"] == "that"
    assert done(FlowAnswer(outputs={"a": 1}), memo).outputs["json"] == [{"a": 1}]


def test_the_graph_s_own_retries_are_honoured() -> None:
    drawn = {
        "provider_id": "p",
        "tool_name": "t",
        "retry_config": {"retry_enabled": True, "max_retries": 2, "retry_interval": 10},
    }
    replies = [ToolResult(error_kind="invoke", error="no"), ToolResult(parts=(TextOut(text="yes"),))]
    state, effects = run(graph_with(drawn), list(replies))
    assert (state.status, len(effects)) == ("partial-succeeded", 2)
    assert state.root.scope["t"]["text"] == "yes"


def test_it_is_a_node_like_others() -> None:
    assert NODE.start is not None
    assert NODE.needs == ""


FLOW = """
app: {mode: workflow, name: weekday}
kind: app
version: 0.3.1
workflow:
  graph:
    nodes:
      - {id: s, data: {type: start, title: s, variables: [{variable: year, label: y, type: number, required: true}]}}
      - id: t
        data:
          type: tool
          title: Weekday
          provider_id: langgenius/time/time
          provider_type: builtin
          tool_name: weekday
          tool_configurations: {}
          tool_parameters:
            year: {type: variable, value: [s, year]}
            month: {type: constant, value: "2"}
            day: {type: mixed, value: "29"}
      - {id: e, data: {type: end, title: e, outputs: [{variable: out, value_selector: [t, text]}]}}
    edges: [{source: s, target: t}, {source: t, target: e}]
"""


async def test_a_run_with_a_tool(stack: EmbeddedStack) -> None:
    ours = Client(stack.client, stack.task_queue, store=stack.store_url)
    graph = Graph.load(FLOW)
    result = await (await ours.start(graph, {"year": 2024})).result()
    assert result.outputs == {"out": "February 29, 2024 is a Thursday."}
    failed = await (await ours.start(graph, {"year": 2023})).result()
    assert failed.status == "failed"
    assert failed.error is not None
    assert failed.error.type == "ToolParameterError"
