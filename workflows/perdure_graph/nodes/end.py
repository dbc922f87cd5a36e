"""end: put variables into the outputs of the run."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..values import ValueType, parse_type
from .base import Context, Done, Missing, NodeData, NodeType, Outcome


class EndOutput(BaseModel):
    """An output of the run and where it comes from; `value_type` is a note of the editor, not enforced."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    variable: str = Field(min_length=1)
    value_selector: tuple[str, ...] = ()
    value_type: str | None = None


class EndData(NodeData):
    """Data of an end."""

    type: Literal["end"]
    outputs: tuple[EndOutput, ...] = ()


def start(data: EndData, ctx: Context) -> Outcome:
    """Read each output; a variable that does not exist gives null."""
    outputs = {output.variable: _value(output, ctx) for output in data.outputs}
    return Done(outputs=outputs, inputs=outputs)


def _value(output: EndOutput, ctx: Context) -> Any:
    value = ctx.get(output.value_selector)
    return None if isinstance(value, Missing) else value


def _outputs(data: EndData) -> dict[str, ValueType]:
    return {output.variable: _type(output.value_type) for output in data.outputs}


def _type(name: str | None) -> ValueType:
    try:
        return parse_type(name or "any")
    except ValueError:
        return ValueType.ANY


def _segments(data: EndData) -> list[str | tuple[str, ...]]:
    segments: list[str | tuple[str, ...]] = []
    for output in data.outputs:
        segments += ["\n", output.value_selector] if segments else [output.value_selector]
    return segments


NODE = NodeType(name="end", data=EndData, start=start, outputs=_outputs, segments=_segments, role="response")
