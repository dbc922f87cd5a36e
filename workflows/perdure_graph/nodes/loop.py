"""loop: run the inner nodes until a condition holds, a loop-end is reached or the rounds are used up."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from ..conditions import Condition, evaluate
from ..errors import NodeError
from ..values import DataType, ValueType, infer_type, matches, parse_type
from .base import Context, Done, Missing, NodeData, NodeType, Outcome
from .iteration import ContainerData


class LoopVariable(BaseModel):
    """A variable that lives as long as the loop, addressed as `[loop id, label]`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    label: str
    var_type: DataType
    value_type: Literal["constant", "variable"] = "constant"
    value: JsonValue = None


class LoopData(ContainerData):
    """Data of a loop of at most `loop_count` rounds."""

    type: Literal["loop"]
    loop_count: int = Field(ge=1)
    break_conditions: tuple[Condition, ...] = ()
    logical_operator: Literal["and", "or"] = "and"
    loop_variables: tuple[LoopVariable, ...] = ()


class LoopEndData(NodeData):
    """Data of a loop-end: reaching it ends the loop after this round."""

    type: Literal["loop-end"]


def initial_variables(data: LoopData, ctx: Context) -> dict[str, tuple[ValueType, Any]]:
    """Give each loop variable its type and first value.

    In Dify the first value decides the type from then on: an array that starts empty takes items of any type.

    Raises:
        NodeError: a variable to copy is missing, or a constant does not fit its type.
    """
    values = {v.label: _initial(v, ctx) for v in data.loop_variables}
    return {label: (infer_type(value), value) for label, value in values.items()}


def _initial(variable: LoopVariable, ctx: Context) -> Any:
    if variable.value_type == "variable":
        selector = variable.value if isinstance(variable.value, list) else []
        value = ctx.get([str(part) for part in selector])
        if isinstance(value, Missing):
            raise NodeError(f"Loop variable {variable.label!r}: variable {selector} not found", "ValueError")
        return value
    return constant(parse_type(variable.var_type), variable.value, variable.label)


def constant(declared: ValueType, value: JsonValue, label: str) -> Any:
    """Type a constant: text is read as JSON for all but strings; null and blanks are no value, except for arrays."""
    if declared.is_array and declared is not ValueType.ARRAY_BOOLEAN and (not value or not isinstance(value, str)):
        # Dify reads only JSON text here and drops an array drawn as a YAML list.
        return []
    read = value
    if isinstance(value, str) and declared is not ValueType.STRING:
        try:
            read = json.loads(value)
        except ValueError:
            read = None
    if not matches(declared, read):
        raise NodeError(f"Loop variable {label!r}: {value!r} is not {declared}", "ValueError")
    return read


def should_break(data: LoopData, ctx: Context) -> bool:
    """Whether the break conditions hold; a loop without conditions never breaks by them."""
    if not data.break_conditions:
        return False
    return evaluate(data.break_conditions, data.logical_operator, ctx)


def _end(_data: LoopEndData, _ctx: Context) -> Outcome:
    return Done()


def _outputs(data: LoopData) -> dict[str, ValueType]:
    declared = {v.label: parse_type(v.var_type) for v in data.loop_variables}
    return {**declared, "loop_round": ValueType.INTEGER}


NODES = (
    NodeType(name="loop", data=LoopData, role="container", outputs=_outputs),
    NodeType(name="loop-end", data=LoopEndData, start=_end),
)
