from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fakes.context import FakeContext, file
from perdure_graph.errors import NodeError
from perdure_graph.nodes import registry
from perdure_graph.nodes.base import Done

NODE = registry()["list-operator"]


def run(value: Any, **data: Any) -> Done:
    assert NODE.start is not None
    parsed = NODE.data.model_validate({"type": "list-operator", "variable": ["c", "l"], **data})
    outcome = NODE.start(parsed, FakeContext({"c": {"l": value, "wanted": "ap"}}))
    assert isinstance(outcome, Done)
    return outcome


def result(value: Any, **data: Any) -> list[Any]:
    return run(value, **data).outputs["result"]


def keep(operator: str, value: Any, key: str = "") -> dict[str, Any]:
    return {"enabled": True, "conditions": [{"key": key, "comparison_operator": operator, "value": value}]}


@pytest.mark.parametrize(
    ("items", "operator", "value", "expected"),
    [
        (["apple", "bob", "cap"], "contains", "{{#c.wanted#}}", ["apple", "cap"]),
        (["apple", "bob"], "not contains", "ap", ["bob"]),
        (["a", "b", "z"], "in", "abc", ["a", "b"]),
        (["a", "z"], "not in", "abc", ["z"]),
        (["ab", "ba"], "start with", "a", ["ab"]),
        (["ab", "ba"], "end with", "a", ["ba"]),
        (["a", ""], "empty", "", [""]),
        (["a", ""], "not empty", "", ["a"]),
        (["a", "b"], "is not", "a", ["b"]),
        ([5, 1, 9, 3], ">", "2", [5, 9, 3]),
        ([1, 2.5], "=", "2.5", [2.5]),
        ([1, 2], "≠", 1, [2]),
        ([True, False, True], "is", True, [True, True]),
        ([True, False], "is not", True, [False]),
    ],
)
def test_filters(items: list[Any], operator: str, value: Any, expected: list[Any]) -> None:
    assert result(items, filter_by=keep(operator, value)) == expected


def test_every_condition_has_to_hold() -> None:
    both = {
        "enabled": True,
        "conditions": [
            {"comparison_operator": ">", "value": "1"},
            {"comparison_operator": "<", "value": "9"},
        ],
    }
    assert result([1, 5, 9], filter_by=both) == [5]


def test_filter_then_order_then_limit() -> None:
    done = run(
        [5, 1, 9, 3],
        filter_by=keep(">", "2"),
        order_by={"enabled": True, "key": "", "value": "desc"},
        limit={"enabled": True, "size": 2},
    )
    assert done.outputs == {"result": [9, 5], "first_record": 9, "last_record": 5}


def test_extract_counts_from_one_and_comes_before_the_limit() -> None:
    assert result(["a", "b", "c"], extract_by={"enabled": True, "serial": "2"}) == ["b"]
    assert result(["a", "b"], extract_by={"enabled": True, "serial": 2}, limit={"enabled": True, "size": 1}) == ["b"]


def test_a_negative_limit_drops_from_the_end() -> None:
    assert result(["a", "b", "c"], limit={"enabled": True, "size": -1}) == ["a", "b"]


@pytest.mark.parametrize("value", [[], None, ""])
def test_nothing_gives_nothing(value: Any) -> None:
    done = run(value, extract_by={"enabled": True, "serial": "5"})
    assert done.outputs == {"result": [], "first_record": None, "last_record": None}


FILES = [
    file("b.pdf", size=30),
    file("a.png", kind="image", size=20),
    file("c.mp3", kind="audio", size=10),
]


def names(files: list[dict[str, Any]]) -> list[str]:
    return [entry["filename"] for entry in files]


def test_files_by_attribute() -> None:
    assert names(result(FILES, filter_by=keep("in", ["image", "audio"], "type"))) == ["a.png", "c.mp3"]
    assert names(result(FILES, filter_by=keep("end with", "pdf", "name"))) == ["b.pdf"]
    assert names(result(FILES, filter_by=keep("≥", "20", "size"))) == ["b.pdf", "a.png"]
    assert names(result(FILES, filter_by=keep("is", ".mp3", "extension"))) == ["c.mp3"]
    assert names(result(FILES, order_by={"enabled": True, "key": "name", "value": "asc"})) == [
        "a.png",
        "b.pdf",
        "c.mp3",
    ]
    assert names(result(FILES, order_by={"enabled": True, "key": "size", "value": "desc"}))[0] == "b.pdf"


@pytest.mark.parametrize(
    ("value", "data", "message"),
    [
        (["a"], {"extract_by": {"enabled": True, "serial": "5"}}, "Invalid serial index: must be <= 1, got 5"),
        (["a"], {"extract_by": {"enabled": True, "serial": "0"}}, "Invalid serial index: must be >= 1, got 0"),
        (["a"], {"extract_by": {"enabled": True, "serial": "x"}}, "invalid literal for int() with base 10: 'x'"),
        ([1], {"filter_by": keep(">", "x")}, "could not convert string to float: 'x'"),
        ([1], {"filter_by": keep("contains", "1")}, "Invalid condition: contains"),
        (["a"], {"filter_by": keep("is", True)}, "Invalid filter value: True"),
        ([True], {"filter_by": keep("is", "true")}, "Boolean filter expects a boolean value, got str"),
        (FILES, {"filter_by": keep("is", "x", "colour")}, "Invalid key: colour"),
        (FILES, {"filter_by": keep("is", "image", "type")}, "Invalid condition: is"),
        (FILES, {"order_by": {"enabled": True, "key": "", "value": "asc"}}, "Invalid key: "),
    ],
)
def test_failures(value: Any, data: dict[str, Any], message: str) -> None:
    with pytest.raises(NodeError) as caught:
        run(value, **data)
    assert caught.value.message == message


@pytest.mark.parametrize("value", [[{"a": 1}], [1, "a"], "text"])
def test_other_types_are_refused(value: Any) -> None:
    with pytest.raises(NodeError, match="is not an array type"):
        run(value)


def test_a_missing_variable_fails() -> None:
    assert NODE.start is not None
    data = NODE.data.model_validate({"type": "list-operator", "variable": ["c", "nope"]})
    with pytest.raises(NodeError, match=r"Variable not found for selector: \['c', 'nope'\]"):
        NODE.start(data, FakeContext())


def test_unknown_operators_are_refused_at_load() -> None:
    with pytest.raises(ValidationError, match="unknown operator 'like'"):
        NODE.data.model_validate({"type": "list-operator", "variable": ["c", "l"], "filter_by": keep("like", "x")})


@given(st.lists(st.text(max_size=3), min_size=1), st.text(max_size=2))
def test_a_filter_and_its_opposite_share_the_items(items: list[str], value: str) -> None:
    with_value = result(items, filter_by=keep("contains", value.replace("{", "")))
    without = result(items, filter_by=keep("not contains", value.replace("{", "")))
    assert sorted(with_value + without) == sorted(items)


@given(st.lists(st.integers(), min_size=1))
def test_the_input_is_left_alone(items: list[int]) -> None:
    before = list(items)
    assert result(items, order_by={"enabled": True, "value": "asc"}) == sorted(before)
    assert items == before
