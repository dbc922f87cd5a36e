"""What the loader makes of good documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from perdure_graph.dsl import load, parse
from perdure_graph.errors import InvalidGraph
from perdure_graph.graph import Document, Edge, Graph
from perdure_graph.values import ValueType
from perdure_graph.yaml_reader import read

CONFORMANCE = Path(__file__).parents[2].parent / "shared" / "conformance"

Data = dict[str, Any]


def node(node_id: str, kind: str, /, **data: Any) -> Data:
    parent = data.pop("parentId", None)
    spec = {"id": node_id, "type": "custom", "data": {"type": kind, "title": node_id, **data}}
    return spec if parent is None else {**spec, "parentId": parent}


def edge(source: str, target: str, **more: Any) -> Data:
    return {"source": source, "target": target, **more}


def document(nodes: list[Data] | None = None, edges: list[Data] | None = None, **workflow: Any) -> Data:
    if nodes is None:
        nodes = [node("start", "start", variables=[]), node("end", "end", outputs=[])]
        edges = [edge("start", "end")]
    return {
        "kind": "app",
        "version": "0.6.0",
        "app": {"name": "demo", "mode": "workflow"},
        "workflow": {"graph": {"nodes": nodes, "edges": edges or []}, **workflow},
    }


def text(data: Data) -> str:
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def variable(name: str, value_type: str, value: Any) -> Data:
    return {"id": "v", "name": name, "value_type": value_type, "value": value, "description": ""}


def _flows() -> list[Path]:
    return sorted(CONFORMANCE.glob("**/*.yml"))


def _expects(flow: Path) -> tuple[bool, bool]:
    """Whether the cases of a flow want it refused, and whether as a faulty graph."""
    cases = json.loads(flow.with_suffix(".cases.json").read_text("utf-8"))["cases"]
    skip = any(case.get("oracle") == "skip" for case in cases)
    return skip, any(case["expect"].get("status") == "load-error" for case in cases)


@pytest.mark.skipif(not CONFORMANCE.exists(), reason="the conformance data is not beside this clone")
@pytest.mark.parametrize("flow", _flows(), ids=lambda flow: flow.stem)
def test_conformance_documents_load_or_are_refused(flow: Path) -> None:
    unsuitable, faulty = _expects(flow)
    if unsuitable or faulty:
        with pytest.raises(InvalidGraph) as caught:
            load(flow)
        assert all(finding.level == "refused" for finding in caught.value.findings)
        assert "ghost" in str(caught.value) if faulty else "kind" in str(caught.value) or "app" in str(caught.value)
        return
    graph = load(flow)
    again = Graph.from_document(Document.model_validate_json(graph.document.model_dump_json()))
    assert again.hash == graph.hash
    assert all(finding.level in ("warning", "differs") for finding in graph.findings)


def test_document_keeps_what_the_run_needs() -> None:
    data = document(
        [node("start", "start", variables=[], somethingNew={"a": [1]}), node("end", "end", outputs=[])],
        [edge("start", "end", id="e", targetHandle="target", type="custom")],
        features={"opening_statement": "hi"},
        rag_pipeline_variables=[{"variable": "x"}],
    )
    found = parse(text(data))
    assert (found.version, found.mode, found.name) == ("0.6.0", "workflow", "demo")
    assert found.nodes[0].data["somethingNew"] == {"a": [1]}
    assert found.edges == (Edge(source="start", target="end", handle="source"),)
    assert found.features == {"opening_statement": "hi", "rag_pipeline_variables": [{"variable": "x"}]}


def test_text_bytes_file_and_json_give_the_same_graph(tmp_path: Path) -> None:
    data = document()
    file = tmp_path / "flow.yml"
    file.write_text(text(data), "utf-8")
    sources = [text(data), text(data).encode(), "\ufeff" + text(data), file, json.dumps(data, indent="\t")]
    assert len({load(source).hash for source in sources}) == 1


def test_scalars_are_those_of_yaml_1_1_but_dates_and_signs_stay_text() -> None:
    found = read("day: 2024-01-02\nop: =\nflag: yes\noctal: 010\ntext: '1'\nnothing: ~\nsigned: -1.5\ny: 1")
    assert found.data == {
        "day": "2024-01-02",
        "op": "=",
        "flag": True,
        "octal": 8,
        "text": "1",
        "nothing": None,
        "signed": -1.5,
        "y": 1,
    }


@pytest.mark.parametrize(
    ("version", "want", "newer"),
    [(None, "0.1.0", 0), ("0.1.5", "0.1.5", 0), ("0.6.2", "0.6.2", 0), ("0.7.0", "0.7.0", 1), ("1.0", "1.0", 1)],
)
def test_versions(version: str | None, want: str, newer: int) -> None:
    graph = load(text({**document(), "version": version}))
    assert graph.document.version == want
    assert [finding.line for finding in graph.findings if "newer Dify" in finding.message] == [2] * newer


def test_missing_kind_is_accepted_with_app_and_workflow() -> None:
    data = document()
    del data["kind"], data["version"]
    assert load(text(data)).document.version == "0.1.0"


def test_pipeline_has_its_own_mode_and_name() -> None:
    data = {**document(), "kind": "rag_pipeline", "rag_pipeline": {"name": "ingest"}}
    del data["app"]
    found = parse(text(data))
    assert (found.mode, found.name) == ("rag-pipeline", "ingest")


def test_bare_graph_is_a_workflow() -> None:
    graph = document()["workflow"]["graph"]
    found = load(text({**graph, "environment_variables": [variable("k", "string", "v")]})).document
    assert (found.mode, found.version, found.name) == ("workflow", "0.1.0", "")
    assert found.environment[0].value == "v"


def test_notes_go_with_their_edges() -> None:
    nodes = document()["workflow"]["graph"]["nodes"]
    nodes.append({"id": "n1", "type": "custom-note", "data": {"type": "", "text": "x"}})
    nodes.append({"id": "n2", "type": "custom", "data": {"type": "", "text": "x", "theme": "blue"}})
    graph = load(text(document(nodes, [edge("start", "end"), edge("n1", "end"), edge("start", "n2")])))
    assert list(graph.nodes) == ["start", "end"]
    assert len(graph.document.edges) == 1
    assert graph.findings == ()


@pytest.mark.parametrize("handle", [None, 1, ["source"]])
def test_edge_with_a_handle_that_is_no_text_is_left_out(handle: Any) -> None:
    nodes = document()["workflow"]["graph"]["nodes"]
    graph = load(text(document(nodes, [edge("start", "end", sourceHandle=handle), edge("start", "end")])))
    assert len(graph.document.edges) == 1
    assert [(f.level, f.field) for f in graph.findings] == [("warning", "workflow.graph.edges.0.sourceHandle")]
    assert graph.findings[0].line is not None


def test_edge_without_an_end_is_left_out_with_a_warning() -> None:
    nodes = document()["workflow"]["graph"]["nodes"]
    graph = load(text(document(nodes, [edge("start", "end"), {"source": "start"}, {"target": None}])))
    assert len(graph.document.edges) == 1
    assert [finding.field for finding in graph.findings] == ["workflow.graph.edges.1", "workflow.graph.edges.2"]


@pytest.mark.parametrize(
    ("value_type", "value", "kind"),
    [
        ("string", "x", ValueType.STRING),
        ("secret", "", ValueType.SECRET),
        ("number", 3, ValueType.INTEGER),
        ("number", 2.5, ValueType.FLOAT),
        ("integer", 3, ValueType.INTEGER),
        ("boolean", False, ValueType.BOOLEAN),
        ("object", {"a": 1}, ValueType.OBJECT),
        ("array[string]", [], ValueType.ARRAY_STRING),
        ("array[number]", [1, 2.5], ValueType.ARRAY_NUMBER),
        ("array[object]", [{"a": 1}], ValueType.ARRAY_OBJECT),
        ("array[boolean]", [True], ValueType.ARRAY_BOOLEAN),
    ],
)
def test_variables_are_typed(value_type: str, value: Any, kind: ValueType) -> None:
    found = parse(text(document(environment_variables=[variable("v", value_type, value)]))).environment[0]
    assert (found.name, found.value_type, found.value) == ("v", kind, value)


def test_later_variable_of_one_name_counts() -> None:
    twice = [variable("v", "string", "a"), variable("v", "number", 1)]
    graph = load(text(document(conversation_variables=twice)))
    assert [v.value for v in graph.document.conversation] == [1]
    assert [(f.level, f.field) for f in graph.findings] == [
        ("warning", "workflow.conversation_variables.1.name"),
    ]


@pytest.mark.parametrize("outer", ["iteration", "loop"])
def test_innermost_container_is_the_parent(outer: str) -> None:
    inner = "loop" if outer == "iteration" else "iteration"
    nodes = [
        node("start", "start", variables=[]),
        node("out", outer, start_node_id="os", iterator_selector=["start", "sys.files"], loop_count=1),
        node("os", f"{outer}-start", parentId="out"),
        node(
            "in",
            inner,
            start_node_id="is",
            iterator_selector=["start", "sys.files"],
            loop_count=1,
            **{f"{outer}_id": "out"},
        ),
        node("is", f"{inner}-start", parentId="in"),
        node("k", "template-transform", template="", variables=[], iteration_id="", loop_id=""),
    ]
    nodes[-1]["data"] |= {f"{outer}_id": "out", f"{inner}_id": "in"}
    parents = {spec.id: spec.parent for spec in parse(text(document(nodes))).nodes}
    assert parents == {"start": None, "out": None, "os": "out", "in": "out", "is": "in", "k": "in"}


def test_container_that_does_not_exist_is_a_warning() -> None:
    nodes = [node("start", "start", variables=[]), node("end", "end", outputs=[], loop_id="gone")]
    graph = load(text(document(nodes, [edge("start", "end")])))
    assert graph.nodes["end"].parent is None
    assert [(f.node, f.field, f.level) for f in graph.findings] == [("end", "data.loop_id", "warning")]


def _legacy(version: str | None) -> Data:
    nodes = [
        node("start", "start", variables=[]),
        node("it", "iteration", start_node_id="k", iterator_selector=["start", "sys.files"]),
        node("k", "template-transform", template="", variables=[], iteration_id="it"),
    ]
    return {**document(nodes, [edge("start", "it")]), "version": version}


@pytest.mark.parametrize("version", [None, "0.1.0", "0.1.5"])
def test_old_iteration_may_start_at_an_inner_node(version: str | None) -> None:
    assert load(text(_legacy(version))).findings == ()


def test_new_iteration_may_not() -> None:
    findings = load(text(_legacy("0.6.0"))).findings
    assert [(f.level, f.node, f.field) for f in findings] == [("warning", "it", "data.start_node_id")]


def test_aliases_and_merges_are_written_out() -> None:
    found = read("x: &x {a: 1, b: [2]}\ny:\n  <<: *x\n  a: 3\nz: [*x]")
    assert found.data == {"x": {"a": 1, "b": [2]}, "y": {"a": 3, "b": [2]}, "z": [{"a": 1, "b": [2]}]}


def test_lines_are_found_down_to_what_exists() -> None:
    reading = read("a:\n  b:\n  - c: 1\n    d: 2\n  - e\n")
    paths: list[tuple[list[str | int], int | None]] = [
        ([], None),
        (["a", "b", 0, "d"], 4),
        (["a", "b", 1], 5),
        (["a", "b", 9], 2),
        (["a", "x", "y"], 1),
        (["x"], None),
    ]
    for path, line in paths:
        assert reading.line_of(path) == line, path


def test_long_chain_loads() -> None:
    ids = [f"t{index}" for index in range(2_000)]
    nodes = [node("start", "start", variables=[])]
    nodes += [node(name, "template-transform", template="x", variables=[]) for name in ids]
    edges = [edge(source, target) for source, target in zip(["start", *ids], ids, strict=False)]
    assert len(load(json.dumps(document(nodes, edges))).nodes) == 2_001
