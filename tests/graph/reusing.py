"""Forks in memory: what the tests of forks share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from fakes import graphs
from fakes.driver import Driver, perform
from fakes.graphs import dags, document, end, node, start
from perdure_graph.effects import Effect, Reply
from perdure_graph.events import NodeFinished, TextChunk
from perdure_graph.fork_plan import plan
from perdure_graph.graph import Graph, NodeSpec
from perdure_graph.outcomes import Outcomes, outcomes
from perdure_graph.request import Pin, RunRequest
from perdure_graph.state import RunState

FAILS = Pin(error="boom", error_type="BoomError")
# Templates without Jinja's own syntax are filled in by the core: a comment makes an effect of one.
JINJA = "{# #}"


def template(node_id: str, text: str, parent: str | None = None, /, **variables: list[str]) -> NodeSpec:
    return graphs.template(node_id, text + JINJA, parent, **variables)


def fork(
    source: RunState,
    graph: Graph,
    from_node: str | None = None,
    *,
    new: Graph | None = None,
    performer: Callable[[Effect], Reply] = perform,
    **more: Any,
) -> Driver:
    """A fork as the client makes it; the answer of the query crosses the wire."""
    told = Outcomes.model_validate_json(outcomes(graph, source).model_dump_json())
    target = new or graph
    request = RunRequest(
        graph=target.document,
        reuse=plan(told, graph, target, from_node),
        pins=told.pins,
        **(told.asked.model_dump() | more),
    )
    driver = Driver(target, RunRequest.model_validate_json(request.model_dump_json()), performer=performer)
    driver.run()
    return driver


def performed(driver: Driver) -> list[str]:
    return [call.key for call in driver.calls]


def texts(state: RunState) -> list[tuple[str, str]]:
    return [(event.node_id, event.text) for event in state.events if isinstance(event, TextChunk)]


def reused(state: RunState) -> list[str]:
    return [event.node_id for event in state.events if isinstance(event, NodeFinished) and event.reused]


@st.composite
def speaking(draw: st.DrawFn) -> tuple[Graph, RunRequest]:
    """A random graph whose tools may fail, with answers and ends hung into it."""
    drawn = draw(dags())
    drawn_graph = Graph.from_document(drawn)
    specs = [
        spec.model_copy(update={"data": spec.data | {"template": spec.data["template"] + JINJA}})
        if spec.data["type"] == "template-transform"
        else spec
        for spec in drawn.nodes
    ]
    edges: list[tuple[str, ...]] = [(edge.source, edge.handle, edge.target) for edge in drawn.edges]
    inner = [spec.id for spec in specs if spec.id != "start"]
    for number in range(draw(st.integers(1, 3))):
        before = draw(st.sampled_from(inner))
        # What branches that nothing joins see of each other depends on timing: read only what lies before.
        named = draw(st.sampled_from([spec for spec in inner if before in drawn_graph.reachable(spec)]))
        name = f"r{number}"
        if draw(st.booleans()):
            specs.append(node(name, "answer", answer=f"<{number}:{{{{#{named}.output#}}}}>"))
        else:
            specs.append(end(name, **{f"o{number}": [named, "output"]}))
        handle = draw(st.sampled_from(sorted({h for s, h, _ in edges if s == before} or {"source"})))
        edges.append((before, handle, name))
    graph = Graph.from_document(document(specs, edges))
    tools = [spec.id for spec in specs if spec.data["type"] == "tool"]
    failing = draw(st.sets(st.sampled_from(tools))) if tools else set[str]()
    pins = {tool: FAILS if tool in failing else Pin() for tool in tools}
    return graph, RunRequest(graph=graph.document, inputs={"n": draw(st.integers(0, 9))}, pins=pins)


def counting(kind: str) -> Graph:
    """A container that counts up a conversation variable in each pass, then a node that reads it."""
    add = {"variable_selector": ["conversation", "n"], "input_type": "constant", "operation": "+=", "value": 1}
    data: dict[str, Any] = {"start_node_id": "cs"}
    if kind == "iteration":
        data |= {"iterator_selector": ["start", "items", "l"], "output_selector": ["say", "answer"]}
        own = {"isInIteration": True, "iteration_id": "c"}
    else:
        data |= {"loop_count": 3}
        own = {"isInLoop": True, "loop_id": "c"}
    nodes = [
        start(items="json_object"),
        node("c", kind, **data),
        node("cs", f"{kind}-start", "c", **own),
        node("add", "assigner", "c", version="2", items=[add], **own),
        node("say", "answer", "c", answer="{{#conversation.n#}};", **own),
        template("t", "{{ x }}", x=["conversation", "n"]),
        template("m", "{{ x }}", x=["say", "answer"]),
        node("last", "answer", answer="total {{#t.output#}} {{#m.output#}}"),
    ]
    edges = [("start", "c"), ("cs", "add"), ("add", "say"), ("c", "t"), ("t", "m"), ("m", "last")]
    declared = ({"name": "n", "value_type": "number", "value": 0},)
    return Graph.from_document(document(nodes, edges, conversation=declared, mode="advanced-chat"))
