"""The rules of assignments: which operation fits which type, which values it takes, what it makes of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from operator import add, mul, sub
from typing import Any, Literal, cast

from .errors import NodeError
from .values import NUMERIC, ValueType, is_file, zero

Operation = Literal[
    "over-write",
    "clear",
    "set",
    "append",
    "extend",
    "+=",
    "-=",
    "*=",
    "/=",
    "remove-first",
    "remove-last",
]
InputType = Literal["variable", "constant"]

_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+=": add,
    "-=": sub,
    "*=": mul,
    "/=": lambda a, b: a / b,
}
_SCALARS = frozenset({ValueType.STRING, ValueType.BOOLEAN, ValueType.OBJECT, *NUMERIC})
_CONSTANTS_ONLY = frozenset({"set", *_ARITHMETIC})
WITHOUT_VALUE = frozenset({"clear", "remove-first", "remove-last"})


def check_operation(kind: ValueType, operation: Operation, input_type: InputType) -> None:
    """Check that an operation exists for a type and takes this sort of input.

    Raises:
        NodeError: it does not.
    """
    if not _exists(kind, operation):
        raise NodeError(f"Operation {operation} is not supported for type {kind}", "OperationNotSupportedError")
    if input_type == "variable":
        fits = operation not in _CONSTANTS_ONLY
    else:
        fits = kind in _SCALARS and (
            operation in ("over-write", "set") or (operation in _ARITHMETIC and kind in NUMERIC)
        )
    if not fits:
        raise NodeError(
            f"Input type {input_type} is not supported for operation {operation}",
            "InputTypeNotSupportedError",
        )


def _exists(kind: ValueType, operation: Operation) -> bool:
    match operation:
        case "over-write" | "clear":
            return True
        case "set":
            return kind in _SCALARS
        case "+=" | "-=" | "*=" | "/=":
            return kind in NUMERIC
        case _:
            return kind.is_array


def read_constant(kind: ValueType, operation: Operation, value: Any) -> Any:
    """Read a constant: an object may be set from JSON text.

    Raises:
        NodeError: the text is no JSON.
    """
    if operation != "set" or kind is not ValueType.OBJECT or not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise invalid_value(value) from error


def apply(kind: ValueType, operation: Operation, current: Any, value: Any) -> Any:
    """Give the new value of a variable of this type. Neither argument is changed.

    Raises:
        NodeError: the value does not fit the type or the operation.
    """
    if operation not in WITHOUT_VALUE and not _fits(kind, operation, value):
        raise invalid_value(value)
    match operation:
        case "over-write" | "set":
            return value
        case "clear":
            return zero(kind)
        case "append":
            return [*_items(current), value]
        case "extend":
            return [*_items(current), *value]
        case "remove-first":
            return _items(current)[1:]
        case "remove-last":
            return _items(current)[:-1]
        case _:
            return _calculate(operation, current, value)


def _calculate(operation: str, current: Any, value: Any) -> Any:
    try:
        return _ARITHMETIC[operation](0 if current is None else current, value)
    except (OverflowError, TypeError) as error:
        raise NodeError(f"Cannot apply {operation} {value} to {current!r}: {error}", "ValueError") from error


def _items(current: Any) -> list[Any]:
    return cast("list[Any]", current) if isinstance(current, list) else []


def _fits(kind: ValueType, operation: Operation, value: Any) -> bool:
    if kind.is_array:
        if operation == "append":
            return _item_fits(kind.item, value)
        return isinstance(value, list) and all(_item_fits(kind.item, i) for i in cast("list[Any]", value))
    if kind in NUMERIC:
        # A bool is an int here, as in Dify.
        return isinstance(value, int | float) and not (operation == "/=" and value == 0)
    return _item_fits(kind, value)


def _item_fits(kind: ValueType, value: Any) -> bool:
    match kind:
        case ValueType.STRING | ValueType.SECRET:
            return isinstance(value, str)
        case ValueType.BOOLEAN:
            return isinstance(value, bool)
        case ValueType.NUMBER:
            return isinstance(value, int | float)
        case ValueType.OBJECT:
            return isinstance(value, dict)
        case ValueType.FILE:
            return is_file(value)
        case ValueType.ANY:
            return isinstance(value, str | int | float | dict)
        case _:
            return False


def invalid_value(value: Any) -> NodeError:
    """Say that a value cannot be assigned."""
    return NodeError(f"Invalid input value {value}", "InvalidInputValueError")
