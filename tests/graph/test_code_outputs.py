from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fakes.context import FakeContext, file
from perdure_graph.effects import CodeResult, RunCode
from perdure_graph.errors import NodeError
from perdure_graph.nodes import registry
from perdure_graph.nodes.base import Done, Perform
from perdure_graph.nodes.code import CodeOutput, check_outputs
from perdure_graph.values import ValueType

NODE = registry()["code"]


def check(result: Any, **types: Any) -> dict[str, Any]:
    declared = {n: CodeOutput.model_validate(t if isinstance(t, dict) else {"type": t}) for n, t in types.items()}
    return check_outputs(result, declared)


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("x", "string", "x"),
        ("a\x00b", "string", "ab"),
        (True, "number", 1),
        (2.5, "number", 2.5),
        (True, "boolean", True),
        ("x", "boolean", "x"),
        ({"a": [1, 2]}, "object", {"a": [1, 2]}),
        (["a", None, "b\x00"], "array[string]", ["a", None, "b"]),
        ([1, True, 2.5], "array[number]", [1, 1, 2.5]),
        ([{"a": 1}, None], "array[object]", [{"a": 1}, None]),
        ([True, None], "array[boolean]", [True, None]),
        (["x"] * 30, "array[string]", ["x"] * 30),
        ([True] * 2000, "array[boolean]", [True] * 2000),
        ("x" * 400_000, "string", "x" * 400_000),
        ({"a": {"b": {"c": 1}}}, "object", {"a": {"b": {"c": 1}}}),
    ],
)
def test_values_that_pass(value: Any, kind: str, expected: Any) -> None:
    checked = check({"r": value}, r=kind)
    assert checked == {"r": expected}
    assert type(checked["r"]) is type(expected)


@pytest.mark.parametrize(
    "kind",
    [
        "string",
        "number",
        "object",
        "boolean",
        "array[string]",
        "array[number]",
        "array[object]",
        "array[boolean]",
    ],
)
def test_null_passes_as_any_type(kind: str) -> None:
    assert check({"r": None}, r=kind) == {"r": None}


@pytest.mark.parametrize(
    ("result", "types", "message", "error_type"),
    [
        ({}, {"r": "string"}, "Output r is missing.", "OutputValidationError"),
        ({"r": "x", "q": 1}, {"r": "string"}, "Not all output parameters are validated.", "CodeNodeError"),
        ({"q": 1}, {}, "Not all output parameters are validated.", "CodeNodeError"),
        ("x", {"r": "string"}, "Result must be a dict, got str", "CodeNodeError"),
        ({"r": 1}, {"r": "string"}, "Output r must be a string, got int instead.", "OutputValidationError"),
        (
            {"r": ["x", 1]},
            {"r": "array[string]"},
            "Output r[1] must be a string, got int instead.",
            "OutputValidationError",
        ),
        (
            {"r": ["x"] * 31},
            {"r": "array[string]"},
            "The length of output variable `r` must be less than 30 elements.",
            "OutputValidationError",
        ),
        (
            {"r": [{}] * 31},
            {"r": "array[object]"},
            "The length of output variable `r` must be less than 30 elements.",
            "OutputValidationError",
        ),
        (
            {"r": [1] * 1001},
            {"r": "array[number]"},
            "The length of output variable `r` must be less than 1000 elements.",
            "OutputValidationError",
        ),
        (
            {"r": {"a": {"b": {"c": {"d": {"e": 1}}}}}},
            {"r": "object"},
            "Depth limit 5 reached, object too deep.",
            "DepthLimitError",
        ),
        (
            {"r": [1, None]},
            {"r": "array[number]"},
            "The element at index 1 of output variable `r` must be a number.",
            "OutputValidationError",
        ),
        (
            {"r": "x" * 400_001},
            {"r": "string"},
            "The length of output variable `r` must be less than 400000 characters",
            "OutputValidationError",
        ),
        ({"r": "x"}, {"r": "number"}, "Output r is not a number, got str instead.", "OutputValidationError"),
        (
            {"r": ["x"]},
            {"r": "array[boolean]"},
            "Output r[0] is not a boolean, got str instead.",
            "OutputValidationError",
        ),
        ({"r": []}, {"r": "object"}, "Output r is not an object, got list instead.", "OutputValidationError"),
        ({"r": {}}, {"r": "array[string]"}, "Output r is not an array, got dict instead.", "OutputValidationError"),
        (
            {"r": ["x"]},
            {"r": "array[object]"},
            "Output r[0] is not an object, got str instead at index 0.",
            "OutputValidationError",
        ),
    ],
)
def test_values_that_fail(result: Any, types: dict[str, str], message: str, error_type: str) -> None:
    with pytest.raises(NodeError) as caught:
        check(result, **types)
    assert (caught.value.message, caught.value.error_type) == (message, error_type)


@pytest.mark.parametrize("value", [2**63, -(2**63), float("nan"), float("inf"), 1e-21])
def test_numbers_out_of_range_or_too_precise(value: float) -> None:
    with pytest.raises(NodeError, match="`r`"):
        check({"r": value}, r="number")
    with pytest.raises(NodeError, match=r"`r\[0\]`"):
        check({"r": [value]}, r="array[number]")


class TestChildren:
    declared: ClassVar[dict[str, Any]] = {
        "type": "object",
        "children": {"name": {"type": "string"}, "tags": {"type": "array[string]"}},
    }

    def test_they_are_checked_with_their_path(self) -> None:
        assert check({"r": {"name": "n", "tags": []}}, r=self.declared) == {"r": {"name": "n", "tags": []}}
        with pytest.raises(NodeError, match=r"Output r\.name must be a string, got int instead\."):
            check({"r": {"name": 1, "tags": []}}, r=self.declared)
        with pytest.raises(NodeError, match=r"Output r\.tags is missing\."):
            check({"r": {"name": "n"}}, r=self.declared)

    def test_more_keys_than_declared_fail(self) -> None:
        with pytest.raises(NodeError, match="Not all output parameters are validated"):
            check({"r": {"name": "n", "tags": [], "x": 1}}, r=self.declared)

    def test_items_of_arrays_have_children_too(self) -> None:
        declared = {**self.declared, "type": "array[object]"}
        with pytest.raises(NodeError, match=r"Output r\[1\]\.name must be a string"):
            check({"r": [{"name": "n", "tags": []}, {"name": 2, "tags": []}]}, r=declared)


def test_undeclared_arrays_inside_objects_have_one_type() -> None:
    with pytest.raises(NodeError, match=r"Output r\.a is not a valid array"):
        check({"r": {"a": [1, "x"]}}, r="object")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=20,
)
KINDS = st.sampled_from(["string", "number", "object", "boolean", "array[string]", "array[number]", "array[object]"])


@given(JSON, KINDS)
def test_what_passes_passes_again_unchanged(value: Any, kind: str) -> None:
    try:
        once = check({"r": value}, r=kind)
    except NodeError:
        return
    assert check(once, r=kind) == once
    json.dumps(once)


class TestNode:
    def data(self, **more: Any) -> Any:
        variables = [
            {"variable": "a", "value_selector": ["start", "q"]},
            {"variable": "b", "value_selector": ["start", "nope"]},
            {"variable": "c", "value_selector": ["start", "files"]},
            {"variable": "d", "value_selector": ["start", "none"]},
        ]
        base = {"type": "code", "code_language": "python3", "code": "def main(): ...", "variables": variables}
        return NODE.data.model_validate({**base, "outputs": {"r": {"type": "number"}}, **more})

    def test_missing_variables_and_empty_file_lists_are_null(self) -> None:
        pool = {"start": {"q": "Q", "files": [], "none": [file("a.pdf")]}}
        context = FakeContext(pool, types={"start": {"files": ValueType.ARRAY_FILE}})
        assert NODE.start is not None
        outcome = NODE.start(self.data(), context)
        assert isinstance(outcome, Perform)
        assert isinstance(outcome.effect, RunCode)
        assert outcome.effect.inputs == {"a": "Q", "b": None, "c": None, "d": [file("a.pdf")]}
        assert outcome.inputs == outcome.effect.inputs

    def test_the_reply_becomes_the_outputs(self) -> None:
        assert NODE.resume is not None
        done = NODE.resume(self.data(), FakeContext(), CodeResult(result={"r": True}, engine="monty"))
        assert done == Done(outputs={"r": 1})

    def test_unknown_languages_and_types_are_refused_at_load(self) -> None:
        with pytest.raises(ValidationError, match="code runs in python3 or javascript, not in 'ruby'"):
            self.data(code_language="ruby")
        with pytest.raises(ValidationError):
            self.data(outputs={"r": {"type": "date"}})


def test_a_template_gets_null_for_what_is_missing_and_its_text_is_limited() -> None:
    from perdure_graph.effects import Rendered

    node = registry()["template-transform"]
    variables = [
        {"variable": "a", "value_selector": ["s", "a"]},
        {"variable": "b", "value_selector": ["s", "b"]},
    ]
    data = node.data.model_validate({"type": "template-transform", "template": "{{ a|int }}", "variables": variables})
    assert node.start is not None and node.resume is not None
    outcome = node.start(data, FakeContext({"s": {"a": 1}}))
    assert isinstance(outcome, Perform)
    assert outcome.inputs == {"a": 1, "b": None}
    assert node.resume(data, FakeContext(), Rendered(text="1")) == Done(outputs={"output": "1"})
    with pytest.raises(NodeError, match="exceeds 400000 characters"):
        node.resume(data, FakeContext(), Rendered(text="x" * 400_001))
