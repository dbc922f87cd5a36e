"""list-operator: filter, pick, sort and cut a list of strings, numbers, booleans or files."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ..errors import NodeError
from ..values import ValueType, file_attribute
from .base import Context, Done, Missing, NodeData, NodeType, Outcome

Test = Callable[[Any, Any], bool]

_TEXT: Mapping[str, Test] = {
    "contains": lambda item, value: value in item,
    "not contains": lambda item, value: value not in item,
    "start with": lambda item, value: item.startswith(value),
    "end with": lambda item, value: item.endswith(value),
    "is": operator.eq,
    "is not": operator.ne,
    "in": lambda item, value: item in value,
    "not in": lambda item, value: item not in value,
    "empty": lambda item, _: not item,
    "not empty": lambda item, _: bool(item),
}
_NUMBER: Mapping[str, Test] = {
    "=": operator.eq,
    "≠": operator.ne,
    "<": operator.lt,
    "≤": operator.le,
    ">": operator.gt,
    "≥": operator.ge,
}
_CHOICE: Mapping[str, Test] = {name: _TEXT[name] for name in ("in", "not in")}
_BOOLEAN: Mapping[str, Test] = {name: _TEXT[name] for name in ("is", "is not")}

_TEXT_KEYS = frozenset({"name", "extension", "mime_type", "url", "related_id"})
_CHOICE_KEYS = frozenset({"type", "transfer_method"})
_SUPPORTED = frozenset({ValueType.ARRAY_STRING, ValueType.ARRAY_NUMBER, ValueType.ARRAY_BOOLEAN, ValueType.ARRAY_FILE})


class FilterCondition(BaseModel):
    """What an item, or the attribute `key` of a file, is compared with; text is a template."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    key: str = ""
    comparison_operator: str = "contains"
    value: str | bool | tuple[str, ...] = ""

    @field_validator("comparison_operator")
    @classmethod
    def _known(cls, value: str) -> str:
        known = (*_TEXT, *_NUMBER)
        if value not in known:
            raise ValueError(f"unknown operator {value!r}; known: {', '.join(known)}")
        return value

    @field_validator("value", mode="before")
    @classmethod
    def _as_drawn(cls, value: object) -> object:
        if value is None:
            return ""
        return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


class FilterBy(BaseModel):
    """Which items stay: those that meet every condition."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    enabled: bool = False
    conditions: tuple[FilterCondition, ...] = ()


class ExtractBy(BaseModel):
    """Which single item stays; `serial` counts from 1 and is a template."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    enabled: bool = False
    serial: str = "1"

    @field_validator("serial", mode="before")
    @classmethod
    def _text(cls, value: object) -> object:
        return "1" if value is None else str(value)


class OrderBy(BaseModel):
    """How items are sorted; `key` names an attribute of files."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    enabled: bool = False
    key: str = ""
    value: Literal["asc", "desc"] = "asc"

    @field_validator("key", mode="before")
    @classmethod
    def _null_is_empty(cls, value: object) -> object:
        return "" if value is None else value


class Limit(BaseModel):
    """How many items stay; a negative size drops items from the end."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    enabled: bool = False
    size: int = -1


class ListOperatorData(NodeData):
    """Data of a list-operator."""

    type: Literal["list-operator"]
    variable: tuple[str, ...] = Field(min_length=2)
    filter_by: FilterBy = FilterBy()
    extract_by: ExtractBy = ExtractBy()
    order_by: OrderBy = OrderBy()
    limit: Limit = Limit()


def start(data: ListOperatorData, ctx: Context) -> Outcome:
    """Filter, then extract, then sort, then limit."""
    items = ctx.get(data.variable)
    if isinstance(items, Missing):
        raise NodeError(f"Variable not found for selector: {list(data.variable)}", "ValueError")
    if not items:
        return _done([], [])
    kind = ctx.type_of(data.variable)
    if kind not in _SUPPORTED:
        raise NodeError(
            f"Variable {list(data.variable)} is not an array type that can be listed, actual type: {kind} "
            "(use an array of strings, numbers, booleans or files)",
            "ValueError",
        )
    result = list(items)
    if data.filter_by.enabled:
        for condition in data.filter_by.conditions:
            result = _filter(result, kind, condition, ctx)
    if data.extract_by.enabled:
        result = _extract(result, data.extract_by, ctx)
    if data.order_by.enabled:
        result = _sort(result, kind, data.order_by)
    if data.limit.enabled:
        result = result[: data.limit.size]
    return _done(items, result)


def _done(items: list[Any], result: list[Any]) -> Done:
    outputs = {
        "result": result,
        "first_record": result[0] if result else None,
        "last_record": result[-1] if result else None,
    }
    return Done(outputs=outputs, inputs={"variable": items}, process_data={"variable": items})


def _filter(items: list[Any], kind: ValueType, condition: FilterCondition, ctx: Context) -> list[Any]:
    value = ctx.render(condition.value) if isinstance(condition.value, str) else condition.value
    name = condition.comparison_operator
    match kind:
        case ValueType.ARRAY_STRING:
            test, value = _pick(_TEXT, name), _text(value)
        case ValueType.ARRAY_NUMBER:
            test, value = _pick(_NUMBER, name), _number(_text(value))
        case ValueType.ARRAY_BOOLEAN:
            if not isinstance(value, bool):
                raise NodeError(f"Boolean filter expects a boolean value, got {type(value).__name__}", "TypeError")
            test = _pick(_BOOLEAN, name)
        case _:
            return _filter_files(items, condition.key, name, value)
    return [item for item in items if test(item, value)]


def _filter_files(files: list[Any], key: str, name: str, value: Any) -> list[Any]:
    if isinstance(value, bool):
        raise NodeError("File filter expects a string value, got bool", "TypeError")
    if key in _CHOICE_KEYS:
        test = _pick(_CHOICE, name)
    elif key in _TEXT_KEYS and isinstance(value, str):
        test = _pick(_TEXT, name)
    elif key == "size" and isinstance(value, str):
        test, value = _pick(_NUMBER, name), _number(value)
    else:
        raise NodeError(f"Invalid key: {key}", "InvalidKeyError")
    return [file for file in files if test(_attribute(file, key), value)]


def _pick(operators: Mapping[str, Test], name: str) -> Test:
    if name not in operators:
        raise NodeError(f"Invalid condition: {name}", "InvalidConditionError")
    return operators[name]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise NodeError(f"Invalid filter value: {value}", "InvalidFilterValueError")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise NodeError(str(error), "ValueError") from error


def _attribute(file: dict[str, Any], key: str) -> Any:
    value = file_attribute(file, key)
    if key == "size":
        return -1 if value is None else value
    return "" if value is None else str(value)


def _extract(items: list[Any], extract: ExtractBy, ctx: Context) -> list[Any]:
    try:
        serial = int(ctx.render(extract.serial))
    except ValueError as error:
        raise NodeError(str(error), "ValueError") from error
    if serial < 1:
        raise NodeError(f"Invalid serial index: must be >= 1, got {serial}", "ValueError")
    if serial > len(items):
        raise NodeError(f"Invalid serial index: must be <= {len(items)}, got {serial}", "InvalidKeyError")
    return [items[serial - 1]]


def _sort(items: list[Any], kind: ValueType, order: OrderBy) -> list[Any]:
    reverse = order.value == "desc"
    if kind is not ValueType.ARRAY_FILE:
        return sorted(items, reverse=reverse)
    if order.key not in {*_TEXT_KEYS, *_CHOICE_KEYS, "size"}:
        raise NodeError(f"Invalid key: {order.key}", "InvalidKeyError")
    files = cast("list[dict[str, Any]]", items)
    return sorted(files, key=lambda file: _attribute(file, order.key), reverse=reverse)


def _outputs(_data: ListOperatorData) -> dict[str, ValueType]:
    return {
        "result": ValueType.ARRAY_ANY,
        "first_record": ValueType.ANY,
        "last_record": ValueType.ANY,
    }


NODE = NodeType(name="list-operator", data=ListOperatorData, start=start, outputs=_outputs)
