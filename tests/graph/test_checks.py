"""What the checks say of graphs that load: one row per node, remarks where a run would surprise."""

from __future__ import annotations

import json
from typing import Any

import pytest

from perdure_graph.check_references import named_variables
from perdure_graph.checks import check, check_runnable, live_nodes, report
from perdure_graph.dsl import load
from perdure_graph.errors import InvalidGraph
from perdure_graph.graph import Graph
from perdure_graph.report import Finding

Data = dict[str, Any]


def node(node_id: str, kind: str = "template-transform", /, **data: Any) -> Data:
    defaults: Data = {"template": "", "variables": []} if kind == "template-transform" else {}
    parent = data.pop("parentId", None)
    spec = {"id": node_id, "data": {"type": kind, "title": node_id.upper(), **defaults, **data}}
    return spec if parent is None else {**spec, "parentId": parent}


START = node("start", "start", variables=[{"variable": "text", "label": "t", "type": "text-input"}])


def graph(*nodes: Data, edges: str = "", **workflow: Any) -> Graph:
    """Build a graph; edges are written `a>b a:handle>c`."""
    drawn: list[Data] = []
    for arrow in edges.split():
        source, target = arrow.split(">")
        source, _, handle = source.partition(":")
        drawn.append({"source": source, "target": target, "sourceHandle": handle or "source"})
    body = {"graph": {"nodes": [START, *nodes], "edges": drawn}, **workflow}
    app = {"name": "demo", "mode": "workflow"}
    return load(json.dumps({"kind": "app", "version": "0.6.0", "app": app, "workflow": body}))


def warnings(found: Graph) -> list[Finding]:
    return [finding for finding in found.findings if finding.level == "warning"]


def one(found: Graph) -> Finding:
    assert len(warnings(found)) == 1, found.findings
    return warnings(found)[0]


IF = {"cases": [{"case_id": "yes", "logical_operator": "and", "conditions": []}]}


def test_plain_graph_has_no_remarks() -> None:
    found = graph(node("a"), node("b"), node("c"), edges="start>a start>b a>c b>c")
    assert found.findings == ()
    assert [(row.level, row.node) for row in report(found)] == [("same", n) for n in ("start", "a", "b", "c")]


def test_cycle_is_named_once_with_its_nodes() -> None:
    finding = one(graph(node("a"), node("b"), node("c"), node("d"), edges="start>a a>b b>c c>a c>d"))
    assert "'A', 'B', 'C'" in finding.message
    assert "'D'" not in finding.message
    assert finding.node == "a"


def test_two_cycles_are_two_remarks() -> None:
    found = graph(node("a"), node("b"), node("c"), edges="start>a a>a start>b b>c c>b")
    assert [f.message.split(": ")[1] for f in warnings(found)] == ["'A'.", "'B', 'C'."]


def test_edge_back_to_the_start_closes_no_cycle() -> None:
    finding = one(graph(node("a"), edges="start>a a>start"))
    assert "leads back to a start" in finding.message
    assert finding.field == "workflow.graph.edges.1.target"


def test_long_cycle_needs_no_recursion() -> None:
    ids = [f"n{index}" for index in range(3_000)]
    arrows = " ".join(f"{a}>{b}" for a, b in zip(ids, [*ids[1:], ids[0]], strict=True))
    finding = one(graph(*map(node, ids), edges=f"start>n0 {arrows}"))
    assert finding.message.endswith("'N19' and 2980 more.")


def test_node_that_nothing_reaches() -> None:
    found = graph(node("a"), node("lost"), node("after"), edges="start>a lost>after")
    assert [(f.node, "no edge leads here" in f.message) for f in warnings(found)] == [("lost", True), ("after", True)]
    assert live_nodes(found) == {"start", "a"}


def test_second_start_is_not_active() -> None:
    finding = one(graph(node("other", "trigger-schedule")))
    assert (finding.node, "the run starts at 'START'" in finding.message) == ("other", True)


def test_handle_that_a_node_lacks_is_never_taken() -> None:
    found = graph(node("if", "if-else", **IF), node("a"), edges="start>if if:yes>a if:false>a if:no>a")
    finding = one(found)
    assert finding.field == "workflow.graph.edges.3.sourceHandle"
    assert "never taken" in finding.message
    assert finding.next_step == "Its handles: 'yes', 'false'."


def test_success_branch_of_a_node_with_a_fail_branch() -> None:
    found = graph(
        node("a", error_strategy="fail-branch"),
        node("b"),
        edges="start>a a:success-branch>b a:fail-branch>b a>b",
    )
    assert "'success-branch'" in one(found).message


def test_fail_branch_of_a_node_without_one_is_always_taken() -> None:
    assert "is taken always" in one(graph(node("a"), node("b"), edges="start>a a:fail-branch>b")).message


def test_branch_with_default_values() -> None:
    found = graph(node("if", "if-else", **IF, error_strategy="default-value", default_value=[]), edges="start>if")
    assert one(found).field == "data.error_strategy"


LOOP = node("lp", "loop", start_node_id="ls", loop_count=2, loop_variables=[])
LOOP_START = node("ls", "loop-start", parentId="lp", loop_id="lp")


def test_inner_nodes_are_reached_through_their_container() -> None:
    found = graph(LOOP, LOOP_START, node("in", loop_id="lp"), edges="start>lp ls>in")
    assert found.findings == ()
    assert live_nodes(found) == set(found.nodes)


def test_inner_nodes_of_a_lost_container_are_not_repeated() -> None:
    assert one(graph(LOOP, LOOP_START, node("in", loop_id="lp"), edges="ls>in")).node == "lp"


@pytest.mark.parametrize("edges", ["start>lp ls>in start>in", "start>lp ls>in in>out"])
def test_edge_across_the_border_of_a_container(edges: str) -> None:
    finding = one(graph(LOOP, LOOP_START, node("in", loop_id="lp"), node("out"), edges=f"{edges} lp>out"))
    assert "crosses the border" in finding.message


def test_parent_that_is_no_container() -> None:
    found = graph(node("a"), node("b", parentId="a"), edges="start>a")
    assert any("no container" in finding.message for finding in warnings(found))


@pytest.mark.parametrize(
    ("selector", "words"),
    [
        (["gone", "text"], "names node 'gone', which does not exist"),
        (["start", "nope"], "node 'start' (START) has no output 'nope'"),
        (["a", "text"], "has no output 'text'"),
        (["sys", "nope"], "no system variable 'nope'"),
        (["env", "nope"], "no environment variable 'nope'"),
        (["conversation", "nope"], "no conversation variable 'nope'"),
    ],
)
def test_selector_of_nothing(selector: list[str], words: str) -> None:
    outputs = [{"variable": "r", "value_selector": selector}]
    finding = one(graph(node("a"), node("end", "end", outputs=outputs), edges="start>a a>end"))
    assert words in finding.message
    assert (finding.node, finding.field) == ("end", "data.outputs.0.value_selector")


def test_selectors_of_something() -> None:
    names = ["start.text", "start.sys.files", "a.output", "a.error_message", "sys.user_id", "env.k", "conversation.c"]
    selectors = [name.split(".", 1) for name in names]
    outputs = [{"variable": str(i), "value_selector": s} for i, s in enumerate([*selectors, ["a", "output", "x"]])]
    found = graph(
        node("a", error_strategy="fail-branch"),
        node("end", "end", outputs=outputs),
        edges="start>a a>end",
        environment_variables=[{"name": "k", "value_type": "string", "value": ""}],
        conversation_variables=[{"name": "c", "value_type": "string", "value": ""}],
    )
    assert found.findings == ()


def test_reference_in_a_text_of_nothing() -> None:
    found = graph(
        node("say", "answer", answer="{{#start.text#}} {{#gone.x#}} {{#gone.x#}} {{#a-b.c#}}"), edges="start>say"
    )
    finding = one(found)
    assert "'gone'" in finding.message
    assert "stays as its own name" in finding.message


def test_code_and_templates_hold_no_references() -> None:
    found = graph(node("a", template="{{#gone.x#}}", desc="{{#gone.y#}}"), edges="start>a")
    assert found.findings == ()


def test_variables_are_found_wherever_data_names_them() -> None:
    data: Data = {
        "value_selector": ["a", "1"],
        "nested": [{"variable_selector": ["a", "2"]}],
        "variables": [["a", "3"], {"variable": "x", "value_selector": ["a", "4"]}],
        "variable": ["a", "5"],
        "query": ["a", "6"],
        "tool_parameters": {
            "p": {"type": "variable", "value": ["a", "7"]},
            "q": {"type": "mixed", "value": "{{#a.b#}}"},
        },
        "items": [{"input_type": "variable", "value": ["a", "8"]}, {"input_type": "constant", "value": ["a", "no"]}],
        "vision": {"enabled": False, "configs": {"variable_selector": ["a", "no"]}},
        "context": {"enabled": True, "variable_selector": []},
        "code": "{{#a.no#}}",
    }
    found = list(named_variables(data))
    assert [selector[1] for _, selector, _ in found] == ["1", "2", "3", "4", "5", "6", "7", "b", "8"]
    assert found[2][0] == "data.variables.0"


AGENT: Data = {"agent_strategy_provider_name": "p", "agent_strategy_name": "s"}


def test_node_that_cannot_run_loads_but_does_not_run_unpinned() -> None:
    agents = [node(name, "agent", **AGENT) for name in ("l1", "l2", "l3")]
    found = graph(*agents, edges="start>l1 l1>l2")
    with pytest.raises(InvalidGraph) as caught:
        check_runnable(found, ())
    assert [(f.node, f.level, f.field) for f in caught.value.findings] == [
        ("l1", "refused", "data.type"),
        ("l2", "refused", "data.type"),
    ]
    assert "'type:agent'" in caught.value.findings[0].next_step
    with pytest.raises(InvalidGraph):
        check_runnable(found, {"l1"})
    check_runnable(found, {"l1", "l2"})
    check_runnable(found, {"type:agent"})


def test_report_has_a_row_for_each_node_in_order() -> None:
    found = graph(node("l1", "agent", **AGENT), node("a"), node("lost"), edges="start>l1 l1>a")
    rows = [(row.node, row.level) for row in report(found) if row.level in ("same", "refused")]
    assert rows == [("start", "same"), ("l1", "refused"), ("a", "same"), ("lost", "same")]
    pinned = [row for row in report(found, {"l1"}) if row.node == "l1"]
    assert [row.level for row in pinned] in (["same"], ["differs"])
    assert [row.message for row in report(found) if row.level == "warning"] == [warnings(found)[0].message]


def test_report_of_a_graph_without_findings_checks_it_again() -> None:
    found = graph(node("a"), node("lost"), edges="start>a")
    bare = Graph.from_document(found.document)
    assert bare.findings == ()
    assert [f.message for f in check(bare)] == [f.message for f in found.findings]
    assert [(r.node, r.message) for r in report(bare)] == [(r.node, r.message) for r in report(found)]


def test_document_remarks_come_first() -> None:
    text = json.dumps(
        {"kind": "app", "version": "0.9.0", "app": {"mode": "workflow"}, "workflow": {"graph": {"nodes": [START]}}}
    )
    assert [(row.level, row.node) for row in report(load(text))] == [("warning", ""), ("same", "start")]
