from __future__ import annotations

from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fakes.context import FakeContext, file
from perdure_graph.conditions import OPERATORS, UNARY, Condition, evaluate
from perdure_graph.errors import NodeError
from perdure_graph.nodes import registry


def holds(actual: Any, name: str, value: Any = None, **more: Any) -> bool:
    condition = Condition(variable_selector=("n", "v"), comparison_operator=name, value=value, **more)
    return evaluate([condition], "and", FakeContext({"n": {"v": actual, "other": "hello"}}))


@pytest.mark.parametrize(
    ("actual", "name", "value", "expected"),
    [
        ("hello", "contains", "ell", True),
        (["x", "y"], "contains", "x", True),
        (["x", "y"], "contains", "xy", False),
        ("", "contains", "", False),
        ("", "not contains", "x", True),
        (None, "not contains", "x", True),
        ("hello", "start with", "he", True),
        ("hello", "end with", "he", False),
        ("", "start with", "", False),
        ("hello", "is", "{{#n.other#}}", True),
        ("hello", "is not", "hello", False),
        (None, "is", "x", False),
        (None, "is not", "x", False),
        (0, "empty", None, True),
        (False, "empty", "", True),
        ({}, "not empty", None, False),
        (3, "=", "3", True),
        (3, "≠", "3", False),
        (2.5, "=", "2.5", True),
        (None, "=", "1", False),
        (None, "≠", "1", False),
        (3, ">", "2.5", True),
        (3, "≥", "3", True),
        (3, "<", "3", False),
        (3, "≤", "3", True),
        (2**60 + 1, ">", str(2**60), True),
        (None, ">", "1", False),
        (None, "null", None, True),
        ("", "not null", None, True),
        ("x", "exists", None, True),
        (None, "not exists", None, True),
        ("hello", "in", ["hello", "x"], True),
        ("", "in", ["", "x"], False),
        ("", "not in", [""], True),
        (["x"], "in", ["x"], False),
        (["x", "y"], "all of", ["y"], True),
        ("hello", "all of", ["he", "lo"], True),
        (["x"], "all of", ["x", "y"], False),
        (True, "is", "true", True),
        (True, "is not", "1", False),
        (False, "is", "0", True),
        (True, "=", "false", False),
        (True, "is", True, True),
        ([True, False], "contains", "false", True),
        ([True], "contains", "0", False),
        (3, "=", 3, True),
    ],
)
def test_each_operator(actual: Any, name: str, value: Any, expected: bool) -> None:
    assert holds(actual, name, value) is expected


@pytest.mark.parametrize(
    ("actual", "name", "value", "message"),
    [
        ("hello", ">", "1", "Invalid actual value type: number"),
        (3, "contains", "3", "Invalid actual value type: string or array"),
        ({"k": "v"}, "contains", "k", "Invalid actual value type: string or array"),
        (2.5, "=", "abc", "could not convert string to float: 'abc'"),
        (3, "=", "3.7", "invalid literal for int() with base 10: '3.7'"),
        (3, "is", "3", "Invalid actual value type: string or boolean"),
        ("a", "in", "abc", "Invalid expected value type: array"),
        (3, ">", "x", "Cannot convert 'x' to number"),
        (["x"], "all of", "x", "all of operator expects homogeneous list of strings or booleans"),
        (True, "is", "maybe", "expected true or false, got 'maybe'"),
        ([1], "start with", "1", "Invalid actual value type: string"),
    ],
)
def test_values_that_do_not_fit(actual: Any, name: str, value: Any, message: str) -> None:
    with pytest.raises(NodeError) as caught:
        holds(actual, name, value)
    assert caught.value.message == message
    assert caught.value.error_type == "ValueError"


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_a_missing_variable_fails_every_operator(name: str) -> None:
    condition = Condition(variable_selector=("start", "nope"), comparison_operator=name, value="x")
    with pytest.raises(NodeError) as caught:
        evaluate([condition], "and", FakeContext())
    assert caught.value.message == "Variable ['start', 'nope'] not found"


def test_the_first_decisive_condition_hides_the_rest() -> None:
    context = FakeContext({"n": {"v": 1}})
    one = Condition(variable_selector=("n", "v"), comparison_operator="=", value="1")
    two = Condition(variable_selector=("n", "v"), comparison_operator="=", value="2")
    missing = Condition(variable_selector=("n", "nope"), comparison_operator="=", value="1")
    assert evaluate([one, missing], "or", context) is True
    assert evaluate([two, missing], "and", context) is False
    with pytest.raises(NodeError):
        evaluate([two, missing], "or", context)


def test_no_conditions() -> None:
    assert evaluate([], "and", FakeContext()) is True
    assert evaluate([], "or", FakeContext()) is False


def test_unknown_operators_are_refused_with_the_known_ones() -> None:
    with pytest.raises(ValidationError, match="unknown operator 'like'; known: contains, not contains"):
        Condition(variable_selector=("n", "v"), comparison_operator="like")


class TestFiles:
    files: ClassVar[list[dict[str, Any]]] = [file("a.pdf", size=10), file("b.png", kind="image", size=20)]

    def match(self, name: str, key: str, operator: str, value: Any, logic: str = "and", **more: Any) -> bool:
        sub = {
            "logical_operator": logic,
            "conditions": [{"key": key, "comparison_operator": operator, "value": value}],
        }
        return holds(self.files, name, sub_variable_condition=sub, **more)

    def test_some_file_matches(self) -> None:
        assert self.match("contains", "type", "in", ["image"])
        assert self.match("contains", "size", ">", "15")
        assert not self.match("contains", "size", ">", "25")

    def test_not_means_every_file(self) -> None:
        assert not self.match("contains", "type", "not in", ["image"])
        assert self.match("contains", "type", "not in", ["audio"])

    def test_extensions_are_compared_with_their_dot(self) -> None:
        assert self.match("contains", "extension", "is", "pdf")
        assert self.match("contains", "extension", "is", ".pdf")
        assert not self.match("contains", "extension", "is", "pd")

    def test_a_sub_condition_is_required(self) -> None:
        with pytest.raises(NodeError, match="Sub variable is required"):
            holds(self.files, "contains", "x")

    def test_other_operators_look_at_the_list(self) -> None:
        assert holds(self.files, "not empty")


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
VALUES = SCALARS | st.lists(st.text(max_size=3), max_size=4) | st.dictionaries(st.text(max_size=2), SCALARS)
OPPOSITES = [
    ("contains", "not contains"),
    ("empty", "not empty"),
    ("null", "not null"),
    ("exists", "not exists"),
    ("in", "not in"),
]


def outcome(name: str, actual: Any, expected: Any) -> bool | str:
    try:
        return OPERATORS[name](actual, expected)
    except NodeError as error:
        return error.message


@pytest.mark.parametrize(("name", "opposite"), OPPOSITES)
@given(actual=VALUES, expected=st.text(max_size=3) | st.lists(st.text(max_size=3)))
def test_opposites_never_agree(name: str, opposite: str, actual: Any, expected: Any) -> None:
    first, second = outcome(name, actual, expected), outcome(opposite, actual, expected)
    if isinstance(first, bool):
        assert second is (not first)
    else:
        assert second == first


@given(actual=st.integers() | st.floats(allow_nan=False), expected=st.integers())
def test_exactly_one_order_holds(actual: float, expected: int) -> None:
    smaller, equal = outcome("<", actual, str(expected)), actual == expected
    greater = outcome(">", actual, str(expected))
    assert [smaller, equal, greater].count(True) == 1
    assert outcome("≤", actual, str(expected)) is (not greater)
    assert outcome("≥", actual, str(expected)) is (not smaller)


@pytest.mark.parametrize("name", sorted(OPERATORS))
@given(actual=VALUES, expected=VALUES)
def test_operators_answer_or_fail_the_node(name: str, actual: Any, expected: Any) -> None:
    assert isinstance(outcome(name, actual, expected), bool | str)
    if name in UNARY:
        assert isinstance(outcome(name, actual, expected), bool)


class TestIfElse:
    node = registry()["if-else"]

    def run(self, data: dict[str, Any], pool: dict[str, dict[str, Any]]) -> Any:
        assert self.node.start is not None
        return self.node.start(self.node.data.model_validate({"type": "if-else", **data}), FakeContext(pool))

    def case(self, case_id: str, value: str) -> dict[str, Any]:
        condition = {"variable_selector": ["s", "x"], "comparison_operator": ">", "value": value}
        return {"case_id": case_id, "logical_operator": "and", "conditions": [condition]}

    def test_the_first_case_that_holds_wins(self) -> None:
        cases = {"cases": [self.case("a", "10"), self.case("b", "5"), self.case("c", "1")]}
        done = self.run(cases, {"s": {"x": 6}})
        assert (done.handle, done.outputs) == ("b", {"result": True, "selected_case_id": "b"})
        done = self.run(cases, {"s": {"x": 0}})
        assert (done.handle, done.outputs) == ("false", {"result": False, "selected_case_id": "false"})

    def test_the_legacy_form_is_the_case_true(self) -> None:
        data = {k: v for k, v in self.case("", "1").items() if k != "case_id"}
        assert self.run(data, {"s": {"x": 2}}).handle == "true"
        parsed = self.node.data.model_validate({"type": "if-else", **data})
        assert tuple(self.node.handles(parsed)) == ("true", "false")
