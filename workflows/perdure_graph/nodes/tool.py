"""tool: call a tool of a provider."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

from ..options import RetryClass
from ..values import ValueType
from .base import NodeData, NodeType


class ToolParameter(BaseModel):
    """A parameter: a template (`mixed`), a constant or the selector of a variable."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: Literal["mixed", "variable", "constant"] = "mixed"
    value: JsonValue = None


def _parameter(value: object) -> object:
    # Old exports hold the bare template instead of {type, value}.
    if isinstance(value, Mapping) and "type" in value:
        return cast("object", value)
    return {"type": "mixed", "value": cast("object", value)}


class ToolData(NodeData):
    """Data of a tool."""

    type: Literal["tool"]
    provider_id: str
    provider_type: str = "builtin"
    provider_name: str = ""
    tool_name: str
    tool_label: str = ""
    tool_configurations: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    tool_parameters: dict[str, ToolParameter] = Field(default_factory=dict[str, ToolParameter])
    credential_id: str | None = None
    plugin_unique_identifier: str | None = None
    tool_node_version: str | None = None

    @field_validator("tool_configurations", mode="before")
    @classmethod
    def _null_is_empty(cls, value: object) -> object:
        return {} if value is None else value

    @field_validator("tool_parameters", mode="before")
    @classmethod
    def _either_form(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return {} if value is None else value
        return {name: _parameter(given) for name, given in cast("dict[str, Any]", value).items()}


def _outputs(_data: ToolData) -> dict[str, ValueType]:
    return {"text": ValueType.STRING, "files": ValueType.ARRAY_FILE, "json": ValueType.ARRAY_OBJECT}


def _repeats(_data: ToolData) -> RetryClass:
    """Nobody knows what a tool does."""
    return "keyed"


NODE = NodeType(
    name="tool",
    data=ToolData,
    outputs=_outputs,
    retries=True,
    repeats=_repeats,
    needs="a tool runtime, which this version does not have",
    default_pin={"text": "mocked tool output"},
)
