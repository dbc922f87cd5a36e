from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from fakes.context import FakeContext, file
from perdure_graph.nodes import registry
from perdure_graph.nodes.base import Done
from perdure_graph.values import ValueType


def run(kind: str, data: dict[str, Any], pool: dict[str, dict[str, Any]], node_id: str = "me") -> Done:
    node = registry()[kind]
    assert node.start is not None
    outcome = node.start(node.data.model_validate({"type": kind, **data}), FakeContext(pool, node_id=node_id))
    assert isinstance(outcome, Done)
    return outcome


class TestAggregator:
    @pytest.mark.parametrize("kind", ["variable-aggregator", "variable-assigner"])
    def test_a_present_null_wins_and_a_missing_variable_does_not(self, kind: str) -> None:
        data = {"output_type": "any", "variables": [["s", "nope"], ["s", "null"], ["s", "a"]]}
        assert run(kind, data, {"s": {"null": None, "a": "A"}}).outputs == {"output": None}

    def test_without_any_variable_there_is_no_output(self) -> None:
        assert run("variable-aggregator", {"output_type": "any", "variables": [["s", "nope"]]}, {}).outputs == {}

    def test_each_group_has_its_own_output(self) -> None:
        groups = [
            {"group_name": "G1", "output_type": "string", "variables": [["s", "nope"], ["s", "a"]]},
            {"group_name": "G2", "output_type": "string", "variables": [["s", "nope"]]},
        ]
        data = {"variables": [["s", "a"]], "advanced_settings": {"group_enabled": True, "groups": groups}}
        assert run("variable-aggregator", data, {"s": {"a": "A"}}).outputs == {"G1": {"output": "A"}}


class TestResponses:
    def test_an_answer_lists_the_files_it_names(self) -> None:
        pool = {"s": {"one": file("a.png", kind="image"), "many": [file("b.pdf"), file("c.pdf")], "t": "x"}}
        done = run("answer", {"answer": "{{#s.t#}} {{#s.many#}} {{#s.one#}} {{#s.nope#}}"}, pool)
        assert [f["filename"] for f in done.outputs["files"]] == ["b.pdf", "c.pdf", "a.png"]
        assert done.outputs["answer"].startswith("x [b.pdf](https://example.com/b.pdf)")
        assert done.outputs["answer"].endswith("![a.png](https://example.com/a.png) s.nope")

    def test_an_end_gives_null_for_what_is_missing(self) -> None:
        outputs = [
            {"variable": "a", "value_selector": ["s", "a"], "value_type": "Array[String]"},
            {"variable": "b", "value_selector": ["s", "nope"]},
            {"variable": "c", "value_selector": []},
        ]
        assert run("end", {"outputs": outputs}, {"s": {"a": ["x"]}}).outputs == {"a": ["x"], "b": None, "c": None}
        node = registry()["end"]
        parsed = node.data.model_validate({"type": "end", "outputs": outputs})
        assert node.outputs(parsed) == {"a": ValueType.ARRAY_STRING, "b": ValueType.ANY, "c": ValueType.ANY}
        assert node.segments is not None
        assert node.segments(parsed) == [("s", "a"), "\n", ("s", "nope"), "\n", ()]


def test_a_webhook_puts_out_what_it_declares() -> None:
    data = {"headers": [{"name": "X-Key"}], "params": [{"name": "p"}], "body": [{"name": "n", "type": "number"}]}
    pool = {"hook": {"X_Key": "k", "n": 1, "stray": 2, "_webhook_raw": {}}}
    assert run("trigger-webhook", data, pool, "hook").outputs == {"X_Key": "k", "n": 1, "_webhook_raw": {}}


def test_tools_take_both_forms_of_parameters() -> None:
    node = registry()["tool"]
    data = {"type": "tool", "provider_id": "p", "tool_name": "t"}
    parameters = {"a": "{{#s.x#}}", "b": {"type": "variable", "value": ["s", "x"]}, "c": None}
    parsed = node.data.model_validate({**data, "tool_parameters": parameters})
    assert [(p.type, p.value) for p in parsed.tool_parameters.values()] == [
        ("mixed", "{{#s.x#}}"),
        ("variable", ["s", "x"]),
        ("mixed", None),
    ]


@pytest.mark.parametrize("kind", sorted(registry()))
def test_a_type_without_effect_says_what_it_needs(kind: str) -> None:
    node = registry()[kind]
    if node.start is None and node.role != "container":
        assert node.needs


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"type": "llm", "prompt_template": []}, "model"),
        ({"type": "question-classifier", "query_variable_selector": ["s", "q"], "classes": []}, "model"),
        ({"type": "tool", "provider_id": "p"}, "tool_name"),
        ({"type": "answer"}, "answer"),
        ({"type": "code", "code_language": "python3", "code": ""}, "outputs"),
        ({"type": "document-extractor"}, "variable_selector"),
        ({"type": "if-else", "cases": [{"conditions": []}]}, "case_id"),
    ],
)
def test_a_required_field_is_named(data: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        registry()[data["type"]].data.model_validate(data)
    assert field in [part for error in caught.value.errors() for part in error["loc"]]
