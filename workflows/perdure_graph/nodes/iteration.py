"""iteration: run the inner nodes once per item, in order or several at a time; and its hidden start node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

from pydantic import Field, field_validator

from ..errors import NodeError
from ..values import ValueType
from .base import Context, Done, Missing, NodeData, NodeType, Outcome


class ContainerData(NodeData):
    """What iterations and loops share."""

    start_node_id: str = ""


class IterationData(ContainerData):
    """Data of an iteration; `parallel_nums` items run at once when `is_parallel`."""

    type: Literal["iteration"]
    iterator_selector: tuple[str, ...] = Field(min_length=2)
    output_selector: tuple[str, ...] = ()
    is_parallel: bool = False
    parallel_nums: int = Field(default=10, ge=1)
    error_handle_mode: Literal["terminated", "continue-on-error", "remove-abnormal-output"] = "terminated"
    flatten_output: bool = True

    @field_validator("is_parallel", "flatten_output", "parallel_nums", "error_handle_mode", mode="before")
    @classmethod
    def _null_is_default(cls, value: Any, info: Any) -> Any:
        return cls.model_fields[info.field_name].default if value is None else value


class HiddenData(NodeData):
    """Data of the start nodes that editors hide."""

    type: Literal["iteration-start", "loop-start"]


def check_start(data: NodeData, nodes: Mapping[str, Any], version: str) -> None:
    """Refuse a container whose start node no engine of its DSL version would run.

    DSL 0.1.x had no hidden start nodes: `start_node_id` names the first inner node.
    """
    start = getattr(data, "start_node_id", "")
    if not start or start not in nodes:
        raise NodeError(f"start_node_id {start!r} names no node; open the container in the editor and export again")
    hidden = nodes[start].type.hidden
    if not hidden and version.split(".")[:2] != ["0", "1"]:
        raise NodeError(
            f"start_node_id {start!r} must name the hidden start node of the container (only DSL 0.1.x may name "
            "an inner node)",
            "InvalidRoot",
        )


def items_of(data: IterationData, ctx: Context) -> list[Any]:
    """Read the items; null counts as no items.

    Raises:
        NodeError: the variable is missing or not an array.
    """
    value = ctx.get(data.iterator_selector)
    if isinstance(value, Missing):
        raise NodeError(f"Iterator variable {list(data.iterator_selector)} not found", "IteratorVariableNotFoundError")
    if value is None:
        return []
    if not isinstance(value, list):
        kind = ctx.type_of(data.iterator_selector)
        raise NodeError(
            f"invalid iterator value: {list(data.iterator_selector)} is {kind}, please provide a list.",
            "InvalidIteratorValueError",
        )
    return cast("list[Any]", value)


def collect(data: IterationData, results: Mapping[int, Any], length: int) -> list[Any]:
    """Put the results in the order of the items, and flatten one level when all of them are lists."""
    ordered = [results[index] for index in range(length) if index in results]
    lists = [value for value in ordered if value is not None]
    if data.flatten_output and lists and all(isinstance(value, list) for value in lists):
        return [item for value in lists for item in cast("list[Any]", value)]
    return ordered


def _begin(_data: HiddenData, _ctx: Context) -> Outcome:
    return Done()


def _outputs(_data: IterationData) -> dict[str, ValueType]:
    return {"output": ValueType.ARRAY_ANY}


NODES = (
    NodeType(name="iteration", data=IterationData, role="container", outputs=_outputs),
    NodeType(name="iteration-start", data=HiddenData, start=_begin, hidden=True),
    NodeType(name="loop-start", data=HiddenData, start=_begin, hidden=True),
)
