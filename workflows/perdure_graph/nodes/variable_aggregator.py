"""variable-aggregator: give the first variable that exists; the legacy name is variable-assigner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from ..values import ValueType, parse_type
from .base import Context, Done, Missing, NodeData, NodeType, Outcome


class Group(BaseModel):
    """A named set of variables with an output of its own."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    group_name: str
    output_type: str = "any"
    variables: tuple[tuple[str, ...], ...] = ()


class AdvancedSettings(BaseModel):
    """Groups, when they are switched on."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    group_enabled: bool = False
    groups: tuple[Group, ...] = ()


class VariableAggregatorData(NodeData):
    """Data of a variable-aggregator."""

    type: Literal["variable-aggregator", "variable-assigner"]
    output_type: str = "any"
    variables: tuple[tuple[str, ...], ...] = ()
    advanced_settings: AdvancedSettings | None = None

    @property
    def groups(self) -> tuple[Group, ...] | None:
        """The groups in use; None without groups."""
        settings = self.advanced_settings
        return settings.groups if settings is not None and settings.group_enabled else None


def start(data: VariableAggregatorData, ctx: Context) -> Outcome:
    """Take the first variable that exists (a present null counts); without any there is no output."""
    if data.groups is None:
        found = _first(data.variables, ctx)
        return Done(outputs={"output": found[1]}, inputs={found[0]: found[1]}) if found else Done()
    outputs: dict[str, Any] = {}
    inputs: dict[str, Any] = {}
    for group in data.groups:
        found = _first(group.variables, ctx)
        if found:
            outputs[group.group_name] = {"output": found[1]}
            inputs[found[0]] = found[1]
    return Done(outputs=outputs, inputs=inputs)


def _first(selectors: Sequence[Sequence[str]], ctx: Context) -> tuple[str, Any] | None:
    for selector in selectors:
        value = ctx.get(selector)
        if not isinstance(value, Missing):
            return ".".join(selector), value
    return None


def _outputs(data: VariableAggregatorData) -> dict[str, ValueType]:
    if data.groups is not None:
        return {group.group_name: ValueType.OBJECT for group in data.groups}
    try:
        return {"output": parse_type(data.output_type)}
    except ValueError:
        return {"output": ValueType.ANY}


NODES = tuple(
    NodeType(name=name, data=VariableAggregatorData, start=start, outputs=_outputs)
    for name in ("variable-aggregator", "variable-assigner")
)
