"""assigner: change conversation and loop variables, all of them or none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from ..assignment import (
    WITHOUT_VALUE,
    InputType,
    Operation,
    apply,
    check_operation,
    read_constant,
)
from ..errors import NodeError
from ..values import ValueType, zero
from .base import MISSING, Context, Done, Missing, NodeData, NodeType, Outcome, Write

Working = dict[tuple[str, str], Any]


class AssignerItem(BaseModel):
    """One change of a version 2 assigner."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    variable_selector: tuple[str, ...]
    input_type: InputType
    operation: Operation
    value: JsonValue = None

    @model_validator(mode="after")
    def _source_is_selector(self) -> AssignerItem:
        if self.reads_variable and self._source is None:
            raise ValueError(f"with input_type variable, value must be a selector, got {self.value!r}")
        return self

    @property
    def reads_variable(self) -> bool:
        """Whether the value comes from another variable."""
        return self.input_type == "variable" and self.operation not in WITHOUT_VALUE and self.value is not None

    @property
    def _source(self) -> tuple[str, ...] | None:
        parts = self.value if isinstance(self.value, list) else []
        texts = tuple(part for part in parts if isinstance(part, str))
        return texts if len(texts) == len(parts) >= 2 else None

    @property
    def source(self) -> tuple[str, ...]:
        """Selector of the variable that the value comes from."""
        return self._source or ()


class AssignerData(NodeData):
    """Data of an assigner: `items` (version 2) or the three fields of version 1."""

    type: Literal["assigner"]
    items: tuple[AssignerItem, ...] | None = None
    assigned_variable_selector: tuple[str, ...] | None = Field(default=None, min_length=2)
    input_variable_selector: tuple[str, ...] = ()
    write_mode: Literal["over-write", "append", "clear"] = "over-write"

    @model_validator(mode="after")
    def _either_version(self) -> AssignerData:
        if self.items is None and self.version == "2":
            raise ValueError("a version 2 assigner needs items")
        if self.items is None and self.assigned_variable_selector is None:
            raise ValueError("an assigner needs items (version 2) or assigned_variable_selector (version 1)")
        return self


def start(data: AssignerData, ctx: Context) -> Outcome:
    """Work out every change on a copy; they are written together when none failed."""
    if data.items is None:
        return _start_v1(data, ctx)
    working: Working = {}
    for item in data.items:
        _apply_item(item, working, ctx)
    return _done(working, ctx, {"items": [item.model_dump(mode="json") for item in data.items]})


def _apply_item(item: AssignerItem, working: Working, ctx: Context) -> None:
    target, kind, current = _target(item.variable_selector, working, ctx)
    check_operation(kind, item.operation, item.input_type)
    if item.reads_variable:
        value = _read(item.source, working, ctx)
        if isinstance(value, Missing):
            raise _not_found(item.source)
        if value is None:
            return
    else:
        value = read_constant(kind, item.operation, item.value)
    working[target] = apply(kind, item.operation, current, value)


def _start_v1(data: AssignerData, ctx: Context) -> Outcome:
    target, kind, current = _target(data.assigned_variable_selector or (), {}, ctx)
    if data.write_mode == "clear":
        value = zero(kind)
        return _done({target: value}, ctx, {"value": value})
    value = ctx.get(data.input_variable_selector)
    if isinstance(value, Missing):
        raise _not_found(data.input_variable_selector)
    if data.write_mode == "over-write":
        return _done({target: value}, ctx, {"value": value})
    if not kind.is_array:
        raise NodeError("append mode requires an array variable", "VariableOperatorNodeError")
    items = cast("list[Any]", current) if isinstance(current, list) else []
    return _done({target: [*items, value]}, ctx, {"value": value})


def _target(selector: Sequence[str], working: Working, ctx: Context) -> tuple[tuple[str, str], ValueType, Any]:
    if len(selector) != 2:
        raise _not_found(selector)
    target = (selector[0], selector[1])
    current = _read(target, working, ctx)
    if isinstance(current, Missing):
        raise _not_found(selector)
    return target, ctx.type_of(target), current


def _read(selector: Sequence[str], working: Working, ctx: Context) -> Any | Missing:
    """Read a variable as the items so far have left it."""
    key = (selector[0], selector[1])
    if key not in working:
        return ctx.get(selector)
    value = working[key]
    for name in selector[2:]:
        entries = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
        if name not in entries:
            return MISSING
        value = entries[name]
    return value


def _done(working: Working, ctx: Context, inputs: dict[str, Any]) -> Done:
    updated = [
        {
            "name": name,
            "selector": [node, name],
            "value_type": str(ctx.type_of((node, name))),
            "new_value": value,
        }
        for (node, name), value in working.items()
    ]
    return Done(
        inputs=inputs,
        process_data={"__updated_variables": updated},
        writes=tuple(Write(selector, value) for selector, value in working.items()),
    )


def _not_found(selector: Sequence[str]) -> NodeError:
    return NodeError(f"Variable {list(selector)} not found", "VariableNotFoundError")


def _writes(data: AssignerData) -> list[tuple[str, ...]]:
    if data.items is None:
        return [data.assigned_variable_selector or ()]
    return [item.variable_selector for item in data.items]


NODE = NodeType(name="assigner", data=AssignerData, start=start, writes=_writes)
