"""Conditions: the operators of if-else, loop breaks and file filters as one table of pure functions.

`OPERATORS` maps each operator of the DSL to `(actual, expected) -> bool`; operators that look at the actual
value alone are listed in `UNARY`. `evaluate` reads the variables, prepares the expected values and stops as
soon as the answer is known.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, cast

from pydantic import BaseModel, ConfigDict, Field, field_validator

from .errors import NodeError
from .values import ValueType, file_attribute, infer_type, is_file

Logic = Literal["and", "or"]
Operator = Callable[[Any, Any], bool]
Expected = str | bool | list[Any] | None

_HOMOGENEOUS: tuple[set[type], ...] = (set(), {str}, {bool})


class Reader(Protocol):
    """What conditions need to know of the world: variables and templates."""

    def get(self, selector: Sequence[str]) -> Any:
        """Read a variable; `MISSING` when there is none."""
        ...

    def render(self, template: str) -> str:
        """Fill references with the text rendering."""
        ...


def _wrong(message: str) -> NodeError:
    return NodeError(message, "ValueError")


def _contains(actual: Any, expected: Any) -> bool:
    if not actual:
        return False
    if isinstance(actual, str):
        return str(expected) in actual
    if isinstance(actual, list):
        return expected in actual
    raise _wrong("Invalid actual value type: string or array")


def _affix(test: Callable[[str, str], bool], name: str) -> Operator:
    def check(actual: Any, expected: Any) -> bool:
        if not actual:
            return False
        if not isinstance(actual, str):
            raise _wrong("Invalid actual value type: string")
        if not isinstance(expected, str):
            raise _wrong(f"Expected value must be a string for {name}")
        return test(actual, expected)

    return check


def _identity(test: Callable[[Any, Any], bool]) -> Operator:
    def check(actual: Any, expected: Any) -> bool:
        if actual is None:
            return False
        if not isinstance(actual, str | bool):
            raise _wrong("Invalid actual value type: string or boolean")
        return test(actual, expected)

    return check


def _equality(test: Callable[[Any, Any], bool]) -> Operator:
    def check(actual: Any, expected: Any) -> bool:
        return actual is not None and test(actual, _like(actual, expected))

    return check


def _like(actual: Any, expected: Any) -> Any:
    """Convert the expected value to the type of the actual one, as `int()` and `float()` do."""
    if not isinstance(actual, int | float):
        raise _wrong("Invalid actual value type: number or boolean")
    kind = type(actual)
    if not isinstance(expected, str | int | float):
        raise _wrong(f"Cannot convert {type(expected).__name__} to {kind.__name__}")
    try:
        return kind(expected)
    except (ValueError, OverflowError) as error:
        raise _wrong(str(error)) from error


def _order(test: Callable[[Any, Any], bool]) -> Operator:
    def check(actual: Any, expected: Any) -> bool:
        if actual is None:
            return False
        if not isinstance(actual, int | float):
            raise _wrong("Invalid actual value type: number")
        return test(actual, _number(expected))

    return check


def _number(expected: Any) -> int | float:
    if isinstance(expected, str):
        # int first: large whole numbers must not lose digits in a float.
        for kind in (int, float):
            try:
                return kind(expected)
            except ValueError:
                continue
    elif isinstance(expected, int | float):
        return expected
    raise _wrong(f"Cannot convert {expected!r} to number")


def _in(actual: Any, expected: Any) -> bool:
    if not actual:
        return False
    if not isinstance(expected, list):
        raise _wrong("Invalid expected value type: array")
    return actual in expected


def _all_of(actual: Any, expected: Any) -> bool:
    items: list[Any] = cast("list[Any]", expected) if isinstance(expected, list) else [None]
    if {type(item) for item in items} not in _HOMOGENEOUS:
        raise _wrong("all of operator expects homogeneous list of strings or booleans")
    if not actual:
        return False
    if isinstance(actual, str):
        return all(isinstance(item, str) and item in actual for item in items)
    return isinstance(actual, list) and all(item in actual for item in items)


def _not(check: Operator) -> Operator:
    return lambda actual, expected: not check(actual, expected)


def _absent(actual: Any, _expected: Any) -> bool:
    return actual is None


def _empty(actual: Any, _expected: Any) -> bool:
    return not actual


OPERATORS: Mapping[str, Operator] = {
    "contains": _contains,
    "not contains": _not(_contains),
    "start with": _affix(str.startswith, "start with"),
    "end with": _affix(str.endswith, "end with"),
    "is": _identity(operator.eq),
    "is not": _identity(operator.ne),
    "empty": _empty,
    "not empty": _not(_empty),
    "=": _equality(operator.eq),
    "≠": _equality(operator.ne),
    ">": _order(operator.gt),
    "<": _order(operator.lt),
    "≥": _order(operator.ge),
    "≤": _order(operator.le),
    "null": _absent,
    "not null": _not(_absent),
    "exists": _not(_absent),
    "not exists": _absent,
    "in": _in,
    "not in": _not(_in),
    "all of": _all_of,
}
UNARY = frozenset({"empty", "not empty", "null", "not null", "exists", "not exists"})
_PER_FILE = frozenset({"contains", "not contains", "all of"})


def _known_operator(name: str) -> str:
    if name not in OPERATORS:
        raise ValueError(f"unknown operator {name!r}; known: {', '.join(OPERATORS)}")
    return name


def _as_drawn(value: object) -> object:
    # The editor writes numbers as text; a hand-written number means the same.
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


class SubCondition(BaseModel):
    """A condition on one attribute of each file of an array."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    key: str
    comparison_operator: str
    value: Expected = None

    _operator = field_validator("comparison_operator")(_known_operator)
    _value = field_validator("value", mode="before")(_as_drawn)


class SubConditions(BaseModel):
    """Conditions on the files of an array."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    logical_operator: Logic = "and"
    conditions: tuple[SubCondition, ...] = ()


class Condition(BaseModel):
    """A comparison of a variable with a value; a text value is a template."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    variable_selector: tuple[str, ...] = Field(min_length=2)
    comparison_operator: str
    value: Expected = None
    sub_variable_condition: SubConditions | None = None

    _operator = field_validator("comparison_operator")(_known_operator)
    _value = field_validator("value", mode="before")(_as_drawn)


def evaluate(conditions: Sequence[Condition], logical_operator: Logic, ctx: Reader) -> bool:
    """Whether the conditions hold; later ones are not looked at once the answer is known.

    No conditions at all hold for `and` and fail for `or`.

    Raises:
        NodeError: a variable does not exist, or its value does not fit the operator.
    """
    decisive = logical_operator == "or"
    for condition in conditions:
        if _holds(condition, ctx) is decisive:
            return decisive
    return not decisive


def _holds(condition: Condition, ctx: Reader) -> bool:
    # Imported late: the node types import this module.
    from .nodes.base import Missing

    name = condition.comparison_operator
    actual = ctx.get(condition.variable_selector)
    if isinstance(actual, Missing):
        raise _wrong(f"Variable {list(condition.variable_selector)} not found")
    if name in _PER_FILE and infer_type(actual) is ValueType.ARRAY_FILE:
        if condition.sub_variable_condition is None:
            raise _wrong("Sub variable is required")
        return _files_match(actual, condition.sub_variable_condition, ctx)
    if name in UNARY:
        return OPERATORS[name](actual, None)
    return OPERATORS[name](actual, _expected(actual, condition.value, ctx))


def _expected(actual: Any, value: Expected, ctx: Reader) -> Any:
    expected: Any = ctx.render(value) if isinstance(value, str) else value
    if expected is None or infer_type(actual) not in (ValueType.BOOLEAN, ValueType.ARRAY_BOOLEAN):
        return expected
    if isinstance(expected, list):
        return [_boolean(item) for item in cast("list[Any]", expected)]
    return _boolean(expected)


def _boolean(value: Any) -> bool:
    """Read a boolean as JSON: `true`, `"false"`, `1`, `"0"`."""
    try:
        read = json.loads(value) if isinstance(value, str) else value
    except ValueError as error:
        raise _wrong(f"expected true or false, got {value!r}") from error
    if not isinstance(read, int):
        raise _wrong(f"expected true or false, got {value!r}")
    return bool(read)


def _files_match(files: list[dict[str, Any]], wanted: SubConditions, ctx: Reader) -> bool:
    results = (_attribute_matches(files, condition, ctx) for condition in wanted.conditions)
    return all(results) if wanted.logical_operator == "and" else any(results)


def _attribute_matches(files: list[dict[str, Any]], condition: SubCondition, ctx: Reader) -> bool:
    """Test one attribute: some file has to match, or every file when the operator says "not"."""
    expected: Any = ctx.render(condition.value) if isinstance(condition.value, str) else condition.value
    values = [_attribute(file, condition.key) for file in files if is_file(file)]
    if condition.key == "extension" and condition.comparison_operator not in UNARY:
        wanted = cast("list[Any]", expected) if isinstance(expected, list) else None
        expected = _dotted(expected) if wanted is None else [_dotted(item) for item in wanted]
        values = [_dotted(value) for value in values]
    test = OPERATORS[condition.comparison_operator]
    results = (test(value, expected) for value in values)
    return all(results) if "not" in condition.comparison_operator else any(results)


def _attribute(file: dict[str, Any], key: str) -> Any:
    try:
        return file_attribute(file, key)
    except KeyError as error:
        raise _wrong(f"files have no attribute {key!r}") from error


def _dotted(value: Any) -> Any:
    return "." + value if isinstance(value, str) and value and not value.startswith(".") else value
