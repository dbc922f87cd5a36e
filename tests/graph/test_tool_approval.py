"""A tool node whose call a person must approve, on the pure core."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

import pytest

from fakes.context import FakeContext
from fakes.driver import Driver
from fakes.graphs import document, end, iteration, node, start
from perdure_graph.agents.config import ToolUse
from perdure_graph.agents.effects import RunTool, ToolResult
from perdure_graph.agents.tools import TextOut
from perdure_graph.child_runs import OpenForm, open_forms
from perdure_graph.commands import Approve, Begin, Deny, Pause, Resume, Retry, Submit
from perdure_graph.document import Variable
from perdure_graph.effects import Effect, Reply
from perdure_graph.errors import NodeError
from perdure_graph.events import FormRequired, NodeFinished
from perdure_graph.graph import Document, Graph
from perdure_graph.nodes.base import Came, FormReply
from perdure_graph.nodes.tool import NODE
from perdure_graph.request import RunOptions, RunRequest
from perdure_graph.values import ValueType

SECRET = "s3cret"
PAY = {"provider_type": "custom", "provider_id": "shop", "tool_name": "pay"}


def pays(**more: Any) -> dict[str, Any]:
    return PAY | {"tool_parameters": {"to": "{{#start.to#}}", "key": "Bearer {{#env.KEY#}}"}} | more


def flow(**tool: Any) -> Document:
    nodes = [start(to="text-input"), node("t", "tool", **pays(**tool)), end(out=["t", "text"]), end("no")]
    edges = [("start", "t"), ("t", "source", "end"), ("t", "fail-branch", "no")]
    secret = Variable(name="KEY", value_type=ValueType.SECRET, value=SECRET)
    return document(nodes, edges, environment=(secret,))


class Bank:
    """Performs calls; asks first wherever it may. Those of `fails`, counted from 1, fail."""

    def __init__(self, *fails: int) -> None:
        self.asked: list[RunTool] = []
        self.made: list[RunTool] = []
        self.fails = fails

    def __call__(self, effect: Effect) -> Reply:
        assert isinstance(effect, RunTool)
        (self.asked if effect.ask else self.made).append(effect)
        if effect.ask:
            return ToolResult(asks="Pay a bill")
        if len(self.made) in self.fails:
            return ToolResult(error_kind="invoke", error="the bank is closed")
        return ToolResult(parts=(TextOut(text="paid"),))


def begun(graph: Document, bank: Bank, inputs: Mapping[str, Any] | None = None, **options: Any) -> Driver:
    request = RunRequest(graph=graph, inputs=inputs or {"to": "Ada"}, options=RunOptions(**options))
    run = Driver(Graph.from_document(graph), request, performer=bank, round_trip=True)
    run.send(Begin())
    finish(run)
    return run


def finish(run: Driver) -> None:
    while run.tick():
        pass


def after(run: Driver, *commands: Any) -> Driver:
    for command in commands:
        run.send(command)
    finish(run)
    return run


def form(run: Driver) -> OpenForm:
    (found,) = open_forms(run.graph, run.state)
    return found


def finished(run: Driver) -> NodeFinished:
    (found,) = [e for e in run.state.events if isinstance(e, NodeFinished) and e.node_id == "t"]
    return found


def test_it_waits_and_the_call_is_made_once_somebody_approves() -> None:
    bank = Bank()
    run = begun(flow(), bank)
    assert (run.state.status, len(bank.asked), bank.made) == ("paused", 1, [])
    asked = form(run)
    assert (asked.key, asked.title) == ("t#approval", "t")
    assert "Node **t** wants to use **Pay a bill** with:" in asked.form.content
    assert json.loads(str(asked.form.inputs[0].default)) == {"to": "Ada", "key": "Bearer ********"}
    after(run, Approve(call="t#approval", comment="fine"))
    (made,) = bank.made
    assert (run.state.status, run.state.outputs) == ("succeeded", {"out": "paid"})
    assert made.arguments == {"to": "Ada", "key": f"Bearer {SECRET}"}
    assert made.use == bank.asked[0].use
    assert finished(run).inputs == {"to": "Ada", "key": "Bearer ********"}


def test_no_secret_is_in_the_form_or_kept_while_it_waits() -> None:
    configured = {"mode": {"type": "mixed", "value": "{{#env.KEY#}}"}, "shop": "main"}
    bank = Bank()
    run = begun(flow(tool_configurations=configured), bank)
    assert "Its settings:" in form(run).form.content
    assert '"mode": "********"' in form(run).form.content and '"shop": "main"' in form(run).form.content
    assert SECRET not in run.state.root.nodes["t"].model_dump_json()
    assert SECRET not in "".join(e.model_dump_json() for e in run.state.events if isinstance(e, FormRequired))
    after(run, Approve(call="t"))
    assert bank.made[0].use.parameters == {"mode": SECRET, "shop": "main"}


def test_a_person_may_change_the_arguments() -> None:
    bank = Bank()
    run = begun(flow(), bank)
    after(run, Approve(call="t", arguments={"to": "Bob", "key": "Bearer ********"}))
    assert bank.made[0].arguments == {"to": "Bob", "key": f"Bearer {SECRET}"}
    assert finished(run).inputs == {"to": "Bob", "key": "Bearer ********"}
    after(other := begun(flow(), bank), Approve(call="t", arguments={"key": "mine"}))
    assert (bank.made[1].arguments, other.state.status) == ({"key": "mine"}, "succeeded")


@pytest.mark.parametrize("written", ["{", "[1]", '{"key": "Basic ********"}', '{"else": "********"}'])
def test_arguments_that_cannot_be_are_asked_for_again(written: str) -> None:
    bank = Bank()
    run = begun(flow(), bank)
    after(run, Submit(form="t#approval", action="approve", values={"arguments": written}))
    again = form(run)
    assert (again.key, bank.made) == ("t#approval.2", [])
    assert again.form.content.startswith("The arguments were not taken: ")
    after(run, Approve(call=again.key))
    assert (run.state.status, bank.made[0].arguments["to"]) == ("succeeded", "Ada")


def test_a_denied_call_fails_the_node_for_good() -> None:
    retries = {"retry_enabled": True, "max_retries": 3, "retry_interval": 0}
    bank = Bank()
    run = after(begun(flow(retry_config=retries), bank), Deny(call="t", reason="too much"))
    assert (run.state.status, len(bank.asked), bank.made) == ("failed", 1, [])
    assert run.state.error is not None
    assert run.state.error.type == "ToolDenied"
    assert run.state.error.message.endswith(
        "A person denied this call of 'Pay a bill', so it was not run. The reason given: too much"
    )


@pytest.mark.parametrize(
    ("strategy", "outputs"),
    [
        ({"error_strategy": "fail-branch"}, {}),
        (
            {"error_strategy": "default-value", "default_value": [{"key": "text", "type": "string", "value": "later"}]},
            {"out": "later"},
        ),
    ],
)
def test_a_denied_call_takes_the_error_strategy(strategy: dict[str, Any], outputs: dict[str, Any]) -> None:
    run = after(begun(flow(**strategy), Bank()), Deny(call="t"))
    assert (run.state.status, run.state.outputs) == ("partial-succeeded", outputs)
    assert run.state.root.scope is not None
    assert run.state.root.scope["t"]["error_type"] == "ToolDenied"


def test_a_call_that_fails_is_asked_for_again_under_the_same_idempotency_key() -> None:
    retries = {"retry_enabled": True, "max_retries": 1, "retry_interval": 0}
    bank = Bank(1)
    run = after(begun(flow(retry_config=retries), bank), Approve(call="t#approval"))
    assert (run.state.status, len(bank.asked), len(bank.made)) == ("paused", 2, 1)
    assert form(run).key == "t#1.2#approval", "an answer to the first form is none to the second"
    after(run, Approve(call=form(run).key))
    assert run.state.status == "partial-succeeded"
    first, second = (cast("Any", made.meta) for made in bank.made)
    assert first.idempotency_key == second.idempotency_key
    assert first.key != second.key
    assert first.idempotency_key not in {cast("Any", asked.meta).idempotency_key for asked in bank.asked}


def test_an_operator_who_retries_a_held_node_is_asked_again() -> None:
    bank = Bank()
    run = after(begun(flow(), bank, on_failure="wait"), Deny(call="t"), Retry(node="t"))
    assert (form(run).key, bank.made) == ("t#2#approval", [])
    assert after(run, Approve(call="t")).state.status == "partial-succeeded"
    assert len(bank.made) == 1


def test_the_deadline_of_the_node_ends_the_wait() -> None:
    bank = Bank()
    run = begun(flow(perdure={"deadline_s": 5}), bank)
    assert (run.state.status, bank.made, open_forms(run.graph, run.state)) == ("failed", [], [])


def test_what_is_approved_while_the_run_is_paused_waits_for_its_end() -> None:
    bank = Bank()
    run = after(begun(flow(), bank), Pause(), Approve(call="t"))
    assert (run.state.status, bank.made) == ("paused", [])
    assert after(run, Resume()).state.status == "succeeded"
    assert (len(bank.asked), len(bank.made)) == (1, 1)


def test_each_item_of_an_iteration_asks_for_itself() -> None:
    inner = [node("t", "tool", "it", **PAY, tool_parameters={"to": {"type": "variable", "value": ["it", "item"]}})]
    graph = iteration(
        ["start", "items", "all"], inner, [("its", "t")], ["t", "text"], is_parallel=True, parallel_nums=2
    )
    bank = Bank()
    run = begun(graph, bank, {"items": {"all": ["a", "b"]}})
    keys = [one.key for one in open_forms(run.graph, run.state)]
    assert keys == ["it[0].t#approval", "it[1].t#approval"]
    after(run, Approve(call=keys[1]))
    assert [made.arguments for made in bank.made] == [{"to": "b"}]
    after(run, Approve(call=keys[0]))
    assert (run.state.status, run.state.outputs) == ("succeeded", {"out": ["paid", "paid"]})


@pytest.mark.parametrize(("node_id", "name"), [("start", "to"), ("env", "KEY")])
def test_what_a_person_saw_is_what_is_done(node_id: str, name: str) -> None:
    """Variables that change meanwhile change nothing, but for a secret: nobody saw that."""
    bank = Bank()
    run = begun(flow(), bank)
    assert run.state.root.scope is not None
    run.state.root.scope[node_id][name] = "other"
    after(run, Approve(call="t"))
    key = "Bearer other" if name == "KEY" else f"Bearer {SECRET}"
    assert bank.made[0].arguments == {"to": "Ada", "key": key}


def test_what_stands_beside_a_secret_and_changes_is_asked_about_again() -> None:
    bank = Bank()
    run = begun(flow(tool_parameters={"key": "{{#env.KEY#}} for {{#start.to#}}"}), bank)
    assert run.state.root.scope is not None
    run.state.root.scope["start"]["to"] = "Eve"
    after(run, Approve(call="t"))
    assert (bank.made, form(run).key) == ([], "t#approval.2")
    assert "for Eve" in form(run).form.content
    after(run, Approve(call=form(run).key))
    assert bank.made[0].arguments == {"key": f"{SECRET} for Eve"}


def test_a_graph_that_is_a_tool_gets_what_was_approved() -> None:
    child = document([start(q="text-input"), end(a=["start", "q"])], [("start", "end")])
    use = ToolUse(provider_type="workflow", provider_id="w", tool_name="w", flow=child)
    drawn = {"provider_type": "workflow", "provider_id": "w", "tool_name": "w"}
    graph = flow(**drawn, tool_parameters={"q": "{{#start.to#}}"})

    def perform(effect: Effect) -> Reply:
        assert isinstance(effect, RunTool)
        return ToolResult(asks="w") if effect.ask else ToolResult(child=use)

    run = Driver(Graph.from_document(graph), RunRequest(graph=graph, inputs={"to": "Ada"}), performer=perform)
    after(run, Begin())
    after(run, Approve(call="t", arguments={"q": "Bob"}))
    assert run.state.outputs == {"out": '{"a": "Bob"}'}


def test_a_form_that_runs_out_is_a_denial() -> None:
    memo = {"question": {"label": "Pay a bill"}}
    assert NODE.resume is not None
    with pytest.raises(NodeError, match="Nobody approved it in time") as caught:
        NODE.resume(
            NODE.data.model_validate({"type": "tool"} | PAY),
            FakeContext(memo=memo),
            Came("approval", FormReply(action=None)),
        )
    assert caught.value.error_type == "ToolDenied"


def test_a_reply_that_says_that_nothing_was_done_is_not_kept() -> None:
    use = ToolUse(provider_type="workflow", tool_name="w")
    assert not ToolResult(asks="x").worth_keeping()
    assert not ToolResult(child=use).worth_keeping()
    assert ToolResult(text="x").worth_keeping()
