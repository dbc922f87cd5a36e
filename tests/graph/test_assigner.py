from __future__ import annotations

import contextlib
import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fakes.context import FakeContext
from perdure_graph.assignment import apply
from perdure_graph.errors import NodeError
from perdure_graph.nodes import registry
from perdure_graph.nodes.base import Done
from perdure_graph.values import ValueType, zero

NODE = registry()["assigner"]

POOL: dict[str, dict[str, Any]] = {
    "conversation": {
        "s": "s0",
        "n": 10,
        "f": 1.5,
        "l": ["p", "q"],
        "ln": [1],
        "o": {"k": 1},
        "b": False,
        "e": [],
    },
    "start": {"q": "Q", "x": 7, "none": None, "o": {"k": {"deep": "D"}}},
}
TYPES = {
    "conversation": {
        "s": ValueType.STRING,
        "n": ValueType.NUMBER,
        "f": ValueType.FLOAT,
        "l": ValueType.ARRAY_STRING,
        "ln": ValueType.ARRAY_NUMBER,
        "o": ValueType.OBJECT,
        "b": ValueType.BOOLEAN,
        "e": ValueType.ARRAY_OBJECT,
    }
}


def item(name: str, operation: str, value: Any = None, input_type: str = "constant") -> dict[str, Any]:
    return {
        "variable_selector": ["conversation", name],
        "input_type": input_type,
        "operation": operation,
        "value": value,
    }


def run(data: dict[str, Any], pool: dict[str, dict[str, Any]] | None = None) -> Done:
    assert NODE.start is not None
    parsed = NODE.data.model_validate({"type": "assigner", **data})
    outcome = NODE.start(parsed, FakeContext(copy.deepcopy(pool or POOL), types=TYPES))
    assert isinstance(outcome, Done)
    return outcome


def written(*items: dict[str, Any]) -> dict[str, Any]:
    done = run({"version": "2", "items": list(items)})
    assert not done.outputs
    return {write.selector[1]: write.value for write in done.writes}


def test_all_operations_see_what_earlier_items_wrote() -> None:
    assert written(
        item("s", "set", "new"),
        item("n", "+=", 2),
        item("n", "*=", 3),
        item("f", "/=", 2),
        item("f", "-=", 0.25),
        item("l", "append", ["start", "q"], "variable"),
        item("l", "extend", ["conversation", "l"], "variable"),
        item("ln", "append", ["start", "x"], "variable"),
        item("o", "set", '{"z":2}'),
        item("b", "over-write", True),
    ) == {
        "s": "new",
        "n": 36,
        "f": 0.5,
        "l": ["p", "q", "Q", "p", "q", "Q"],
        "ln": [1, 7],
        "o": {"z": 2},
        "b": True,
    }


def test_removing_and_clearing() -> None:
    names = ("s", "n", "f", "o", "b", "e")
    cleared = written(*(item(name, "clear", None, "variable") for name in names))
    assert cleared == {"s": "", "n": 0, "f": 0.0, "o": {}, "b": False, "e": []}
    assert written(
        item("l", "remove-first", None, "variable"),
        item("ln", "remove-last", None, "variable"),
        item("e", "remove-last", None, "variable"),
    ) == {"l": ["q"], "ln": [], "e": []}


def test_division_gives_a_float() -> None:
    value = written(item("n", "/=", 5))["n"]
    assert (value, type(value)) == (2.0, float)


def test_a_null_source_changes_nothing() -> None:
    assert written(item("s", "over-write", ["start", "none"], "variable")) == {}


def test_paths_into_a_variable_that_an_earlier_item_wrote() -> None:
    assert (
        written(
            item("o", "over-write", ["start", "o"], "variable"),
            item("s", "over-write", ["conversation", "o", "k", "deep"], "variable"),
        )["s"]
        == "D"
    )


@pytest.mark.parametrize(
    ("change", "message", "error_type"),
    [
        (
            item("s", "append", ["start", "q"], "variable"),
            "Operation append is not supported for type string",
            "OperationNotSupportedError",
        ),
        (item("n", "/=", 0), "Invalid input value 0", "InvalidInputValueError"),
        (
            item("s", "over-write", ["start", "nope"], "variable"),
            "Variable ['start', 'nope'] not found",
            "VariableNotFoundError",
        ),
        (
            item("zz", "clear", None, "variable"),
            "Variable ['conversation', 'zz'] not found",
            "VariableNotFoundError",
        ),
        (item("n", "over-write", ["start", "q"], "variable"), "Invalid input value Q", "InvalidInputValueError"),
        (
            item("n", "+=", ["start", "x"], "variable"),
            "Input type variable is not supported for operation +=",
            "InputTypeNotSupportedError",
        ),
        (
            item("l", "over-write", ["a"]),
            "Input type constant is not supported for operation over-write",
            "InputTypeNotSupportedError",
        ),
        (
            item("s", "+=", 1),
            "Operation += is not supported for type string",
            "OperationNotSupportedError",
        ),
        (
            item("l", "set", []),
            "Operation set is not supported for type array[string]",
            "OperationNotSupportedError",
        ),
        (item("l", "append", ["start", "x"], "variable"), "Invalid input value 7", "InvalidInputValueError"),
        (item("l", "extend", ["start", "q"], "variable"), "Invalid input value Q", "InvalidInputValueError"),
        (item("o", "set", "{no json"), "Invalid input value {no json", "InvalidInputValueError"),
        (item("s", "set", None), "Invalid input value None", "InvalidInputValueError"),
    ],
)
def test_what_cannot_be_assigned(change: dict[str, Any], message: str, error_type: str) -> None:
    with pytest.raises(NodeError) as caught:
        written(item("s", "set", "written before"), change)
    assert (caught.value.message, caught.value.error_type) == (message, error_type)


ITEMS = st.lists(
    st.builds(
        item,
        st.sampled_from(sorted(TYPES["conversation"])),
        st.sampled_from(["over-write", "clear", "set", "append", "extend", "+=", "*=", "/=", "remove-first"]),
        st.sampled_from([["start", "q"], ["start", "x"], ["start", "nope"], ["conversation", "l"]]),
        st.just("variable"),
    )
    | st.builds(
        item,
        st.sampled_from(sorted(TYPES["conversation"])),
        st.sampled_from(["over-write", "set", "+=", "*=", "/="]),
        st.integers(-3, 3) | st.text(max_size=2) | st.booleans(),
    ),
    max_size=5,
)


@given(ITEMS)
def test_all_or_nothing(items: list[dict[str, Any]]) -> None:
    """What several items write together is what they write one after another, and nothing if one fails."""
    pool = copy.deepcopy(POOL)
    failed = False
    for change in items:
        try:
            writes = run({"version": "2", "items": [change]}, pool).writes
        except NodeError:
            failed = True
            break
        for write in writes:
            pool[write.selector[0]][write.selector[1]] = write.value
    if failed:
        with pytest.raises(NodeError):
            written(*items)
        return
    assert {**POOL["conversation"], **written(*items)} == pool["conversation"]


@given(ITEMS)
def test_the_variables_themselves_are_never_changed(items: list[dict[str, Any]]) -> None:
    assert NODE.start is not None
    context = FakeContext(copy.deepcopy(POOL), types=TYPES)
    data = NODE.data.model_validate({"type": "assigner", "version": "2", "items": items})
    with contextlib.suppress(NodeError):
        NODE.start(data, context)
    assert context.pool == POOL


@pytest.mark.parametrize("kind", sorted(TYPES["conversation"].values()))
def test_clear_keeps_the_type(kind: ValueType) -> None:
    assert apply(kind, "clear", None, None) == zero(kind)


class TestVersion1:
    def run(self, name: str, mode: str, source: str = "q") -> dict[str, Any]:
        done = run(
            {
                "assigned_variable_selector": ["conversation", name],
                "input_variable_selector": ["start", source],
                "write_mode": mode,
            }
        )
        return {write.selector[1]: write.value for write in done.writes}

    def test_modes(self) -> None:
        assert self.run("s", "over-write") == {"s": "Q"}
        assert self.run("l", "append") == {"l": ["p", "q", "Q"]}
        assert self.run("l", "clear") == {"l": []}

    def test_failures(self) -> None:
        with pytest.raises(NodeError, match="append mode requires an array variable"):
            self.run("s", "append")
        with pytest.raises(NodeError, match="not found"):
            self.run("s", "over-write", "nope")
        with pytest.raises(NodeError, match="not found"):
            self.run("zz", "clear")


def test_data_that_cannot_run_is_refused_at_load() -> None:
    for data in ({"version": "2"}, {}, {"version": "2", "items": [item("s", "append", "q", "variable")]}):
        with pytest.raises(ValidationError):
            NODE.data.model_validate({"type": "assigner", **data})


def test_process_data_lists_the_updated_variables() -> None:
    done = run({"version": "2", "items": [item("n", "+=", 1)]})
    assert done.process_data["__updated_variables"] == [
        {"name": "n", "selector": ["conversation", "n"], "value_type": "number", "new_value": 11}
    ]
