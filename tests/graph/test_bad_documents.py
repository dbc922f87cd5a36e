"""Documents that must be refused: with a reason, a place and a line, and never in another way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from perdure_graph.checks import report
from perdure_graph.dsl import load, parse
from perdure_graph.errors import InvalidGraph
from perdure_graph.graph import Graph
from perdure_graph.nodes import registry
from perdure_graph.report import Finding

HEAD = "kind: app\nversion: 0.6.0\napp: {name: demo, mode: workflow}\n"
GRAPH = """workflow:
  graph:
    nodes:
    - id: start
      data: {type: start, title: Start, variables: []}
    - id: end
      data:
        type: end
        title: End
        outputs: []
    edges:
    - {source: start, target: end}
"""
GOOD = HEAD + GRAPH


def refusal(source: str | bytes | Path) -> tuple[Finding, ...]:
    with pytest.raises(InvalidGraph) as caught:
        load(source)
    assert caught.value.findings, "a refusal must say why"
    return caught.value.findings


def only(source: str | bytes | Path) -> Finding:
    findings = refusal(source)
    assert len(findings) == 1, findings
    return findings[0]


def test_the_document_the_others_are_made_from_loads() -> None:
    assert list(load(GOOD).nodes) == ["start", "end"]


BOMB = "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("source", "words", "line"),
    [
        ("a: [1\nb: 2\n", "not YAML", 2),
        ("a: b: c", "not YAML", 1),
        ("x: 1\nx: 2\n", "'x' occurs twice", 2),
        ('{"x": 1,\n "x": 2}', "'x' occurs twice", 2),
        ("a: 1\n1: 2\n", "a key must be text, not 1", 2),
        ("a: 1\n? [b]\n: 2\n", "a key must be text", 2),
        ("a: 1\nb: !!python/object/apply:os.system [id]\n", "tag", 2),
        ("a: !!binary aGk=\n", "tag", 1),
        ("a: !mine x\n", "tag", 1),
        ("a: 1\n--- \nb: 2\n", "more than one document", 2),
        ("a: 1\nb: .inf\n", "no JSON numbers", 2),
        ('{"a": 1e999}', "no JSON numbers", None),
        ("a: 1\nb: " + "9" * 5000, "too large", 2),
        ("a: !!int x", "no valid int", 1),
        ("a: 1\nb: *c\n", "no anchor", 2),
        ("a: &a [*a]\n", "no anchor", 1),
        (BOMB, "aliases", 6),
        ('a: &a "' + "x" * 100_000 + '"\nb: [' + ",".join(["*a"] * 200) + "]\n", "aliases", 2),
        ("a:\n  " + "[" * 200 + "]" * 200, "nested deeper", 2),
        ('{"a":' * 200 + "1" + "}" * 200, "nested deeper", 1),
        ("{a: &a " + "[" * 60 + "]" * 60 + ",\nb: " + "[" * 60 + "*a" + "]" * 60 + "}", "nested deeper", 2),
        ("a: 1\nb: \x07", "not allowed", 2),
        ('a: 1\nb: "\\ud800"', "Unicode", 2),
        ("a: 1\nb: \ud800", "surrogate", 2),
        (b"a: 1\nb: \xff", "not UTF-8", 2),
        ("a: 1\n".encode("utf-16"), "not UTF-8", 1),
        ("# " + "x" * 11 * 1024 * 1024, "larger than 10 MB", None),
        ("# " + "é" * 6 * 1024 * 1024, "larger than 10 MB", None),
        ("", "the document is missing", None),
        ("flow.yml", "pass a `Path`", None),
        ("[1, 2]", "a list", None),
    ],
    ids=lambda value: None if isinstance(value, int) else repr(value)[:30],
)
def test_text_that_is_no_plain_document(source: str | bytes, words: str, line: int | None) -> None:
    finding = only(source)
    assert words in str(finding)
    assert finding.line == line


def test_large_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "large.yml"
    file.write_bytes(b"# " + b"x" * 11 * 1024 * 1024)
    assert "larger than 10 MB" in only(file).message


def test_file_that_is_not_there(tmp_path: Path) -> None:
    assert "'gone.yml'" in only(tmp_path / "gone.yml").message
    assert only(tmp_path).next_step == "Check the path."


@pytest.mark.parametrize(
    ("source", "field", "words", "line"),
    [
        (GOOD.replace("kind: app", "kind: claude-workflow"), "kind", "'claude-workflow'", 1),
        (GOOD.replace("kind: app", "kind: [app]"), "kind", "unsupported kind", 1),
        (GOOD.replace("0.6.0", "0.6"), "version", "the number 0.6", 2),
        (GOOD.replace("0.6.0", "newest"), "version", "no version", 2),
        (GOOD.replace("app: {name: demo, mode: workflow}\n", ""), "app", "no app section", None),
        (GOOD.replace("app: {name: demo, mode: workflow}", "app: demo"), "app", "no app section", 3),
        (GOOD.replace("mode: workflow", "mode: agent-chat"), "app.mode", "agent-chat apps have no graph", 3),
        (GOOD.replace("mode: workflow", "mode: chat"), "app.mode", "chat apps have no graph", 3),
        (GOOD.replace("mode: workflow", "mode: other"), "app.mode", "unknown app mode 'other'", 3),
        (GOOD.replace(", mode: workflow", ""), "app.mode", "no mode", 3),
        (HEAD, "workflow", "no workflow section", None),
        (HEAD + "workflow: {}\n", "workflow.graph", "no graph", 4),
        (HEAD + "workflow:\n  graph: {edges: []}\n", "workflow.graph.nodes", "a list is needed", 5),
        (HEAD + "workflow:\n  graph: {nodes: [], edges: 3}\n", "workflow.graph.edges", "a list is needed", 5),
        (HEAD + "workflow:\n  graph: {nodes: []}\n", "", "no start node", 5),
        (GOOD + "  features: [1]\n", "workflow.features", "a mapping is needed", 16),
        ("nodes:\n- {id: a, title: A, type: start}\nedges: []\n", "app", "no app section", None),
    ],
)
def test_header(source: str, field: str, words: str, line: int | None) -> None:
    finding = only(source)
    assert (finding.field, finding.line) == (field, line)
    assert words in finding.message


@pytest.mark.parametrize(
    ("old", "new", "node", "field", "words", "line"),
    [
        ("id: end", "id: start", "start", "id", "two nodes", 9),
        ("id: end", "id: 12", "12", "id", "the number 12", 9),
        ("id: end\n      data", "data", "", "id", "no id", 9),
        ("id: end", "id: sys", "sys", "id", "reserved", 9),
        ("type: end", "type: ending", "end", "data.type", "unknown node type 'ending'", 11),
        ("type: end", "kind: end", "end", "data.type", "missing", 10),
        ("outputs: []", "outputs: 3", "end", "data.outputs", "got 3", 13),
        ("title: End", "default_value: [{key: a}]", "end", "data.default_value.0.type", "missing", 12),
        ("target: end", "target: ghost", "", "workflow.graph.edges.0.target", "'ghost'", 15),
        ("data: {type: start, title: Start, variables: []}", "data: 3", "start", "data", "mapping", 8),
    ],
)
def test_nodes_and_edges(old: str, new: str, node: str, field: str, words: str, line: int) -> None:
    found = [finding for finding in refusal(GOOD.replace(old, new)) if finding.field == field]
    assert [(finding.node, finding.line) for finding in found] == [(node, line)]
    assert words in found[0].message


def test_containers_that_lie_within_each_other() -> None:
    source = GOOD.replace("id: end\n", "id: end\n      parentId: start\n")
    findings = refusal(source.replace("id: start\n", "id: start\n      parentId: end\n"))
    assert [(finding.node, finding.field, finding.line) for finding in findings] == [
        ("start", "parentId", 8),
        ("end", "parentId", 11),
    ]
    assert "within itself" in findings[0].message


@pytest.mark.parametrize(
    ("scope", "variable", "field", "words"),
    [
        (
            "environment",
            "{name: v, value_type: number, value: '3'}",
            "value",
            "declared number but its value is the text '3'",
        ),
        ("environment", "{name: v, value_type: number, value: true}", "value", "true or false"),
        ("environment", "{name: v, value_type: string, value: 3}", "value", "the number 3"),
        ("environment", "{name: v, value_type: string, value: null}", "value", "missing value"),
        ("environment", "{name: v, value_type: string}", "value", "missing value"),
        ("environment", "{name: v, value_type: file, value: x}", "value_type", "cannot be of type 'file'"),
        ("environment", "{name: v, value: x}", "value_type", "no type"),
        ("environment", "{value_type: string, value: x}", "name", "missing"),
        ("environment", "3", "", "a mapping is needed"),
        ("conversation", "{name: v, value_type: secret, value: x}", "value_type", "'secret'"),
        ("conversation", "{name: v, value_type: 'array[number]', value: [1, x]}", "value", "item 1 is the text 'x'"),
        ("conversation", "{name: v, value_type: object, value: []}", "value", "a list"),
        ("conversation", "{name: v, value_type: string, value: " + "x" * 210_000 + "}", "value", "the limit is 204800"),
    ],
    ids=lambda value: value[:60],
)
def test_variables(scope: str, variable: str, field: str, words: str) -> None:
    finding = only(GOOD + f"  {scope}_variables:\n  - {variable}\n")
    assert finding.field == f"workflow.{scope}_variables.0" + (f".{field}" if field else "")
    assert finding.line == 17
    assert words in finding.message


def test_all_problems_are_listed_in_the_order_of_the_text() -> None:
    source = (
        GOOD.replace("0.6.0", "0.6")
        .replace("type: end", "type: nothing-like-it")
        .replace("target: end", "target: ghost")
        + "  environment_variables: [{name: v, value_type: string, value: 1}]\n"
    )
    findings = refusal(source)
    assert [finding.line for finding in findings] == [2, 11, 15, 16]
    assert [finding.node for finding in findings] == ["", "end", "", ""]


def test_refused_node_does_not_make_its_edges_wrong() -> None:
    source = GOOD.replace("type: end", "typo: end")
    assert only(source).field == "data.type"


def test_container_without_its_start_is_refused() -> None:
    container = "    - id: lp\n      data: {type: loop, title: L, loop_count: 1, start_node_id: gone}\n    edges:"
    finding = only(GOOD.replace("    edges:", container))
    assert (finding.node, finding.field, finding.line) == ("lp", "data.start_node_id", 15)
    assert "'gone'" in finding.message


def test_refusal_of_a_newer_document_says_so() -> None:
    with pytest.raises(InvalidGraph, match="made by a newer Dify"):
        load(GOOD.replace("0.6.0", "0.9.0").replace("type: end", "type: agent-nine"))


def loads_or_is_refused(source: Any) -> None:
    for reading in (load, parse):
        try:
            found = reading(source)
        except InvalidGraph as error:
            assert error.findings
            assert all(finding.level == "refused" for finding in error.findings)
        else:
            if isinstance(found, Graph):
                assert len(report(found)) >= len(found.nodes)


@settings(max_examples=150, deadline=None)
@given(st.text() | st.binary())
@example("a: &b\nc: *b")
@example("<<: 1")
@example("? ")
@example("!")
@example("&a")
@example("0x_: 1")
@example("%YAML 9.9\n---\n")
def test_any_text_is_a_graph_or_refused(source: str | bytes) -> None:
    loads_or_is_refused(source)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_damage_to_a_good_text_is_a_graph_or_refused(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(GOOD)))
    end = data.draw(st.integers(start, min(len(GOOD), start + 40)))
    loads_or_is_refused(GOOD[:start] + data.draw(st.text("ab:-[]{}&*!|>'\"\n #,0", max_size=6)) + GOOD[end:])


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def _data_of(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    fields = sorted(set(registry()[kind].data.model_fields) - {"type"})
    selector = st.lists(st.sampled_from(["start", "sys", "a", "end"]), max_size=3)
    values = _JSON | selector | st.sampled_from(["{{#start.x#}}", "start", "fail-branch", "string", "constant", 1])
    return st.fixed_dictionaries({"type": st.just(kind)}, optional=dict.fromkeys(fields, values))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_data_of_any_node_type_is_a_graph_or_refused(data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.sampled_from(sorted(registry())), min_size=1, max_size=3))
    nodes = [{"id": "start", "data": {"type": "start", "variables": []}}]
    nodes += [{"id": f"n{i}", "data": data.draw(_data_of(kind))} for i, kind in enumerate(kinds)]
    edges = [{"source": "start", "target": node["id"]} for node in nodes[1:]]
    source = json.dumps({"nodes": nodes, "edges": edges})
    try:
        load(source)
    except InvalidGraph as error:
        assert "cannot read this data" not in str(error)
    loads_or_is_refused(source)


_MUTATIONS: list[Callable[[dict[str, Any], Any], None]] = [
    lambda found, value: found["workflow"]["graph"]["nodes"].append(value),
    lambda found, value: found["workflow"]["graph"]["edges"].append(value),
    lambda found, value: found["workflow"].update(graph=value),
    lambda found, value: found["workflow"].update(environment_variables=value),
    lambda found, value: found["workflow"].update(conversation_variables=[value]),
    lambda found, value: found["workflow"].update(features=value),
    lambda found, value: found["workflow"]["graph"]["nodes"][1].update(data=value),
    lambda found, value: found["workflow"]["graph"]["nodes"][1].update(parentId=value),
    lambda found, value: found["workflow"]["graph"]["edges"][0].update(sourceHandle=value),
    lambda found, value: found.update(app=value),
    lambda found, value: found.update(version=value),
]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(_MUTATIONS), _JSON), min_size=1, max_size=2))
def test_any_value_anywhere_is_a_graph_or_refused(changes: list[tuple[Callable[..., None], Any]]) -> None:
    found = yaml.safe_load(GOOD)
    for change, value in changes:
        try:
            change(found, value)
        except (TypeError, AttributeError, LookupError):
            return  # an earlier change took away what this one would change
    loads_or_is_refused(json.dumps(found))
