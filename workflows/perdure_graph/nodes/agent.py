"""agent: let a strategy call models and tools until it has an answer."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from ..models.drawn import MemoryConfig
from ..options import RetryClass
from ..values import ValueType
from .base import NodeData, NodeType


class AgentParameter(BaseModel):
    """A parameter of the strategy."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: str = "constant"
    value: JsonValue = None


class AgentData(NodeData):
    """Data of an agent."""

    type: Literal["agent"]
    agent_strategy_provider_name: str
    agent_strategy_name: str
    agent_strategy_label: str = ""
    agent_parameters: dict[str, AgentParameter] = Field(default_factory=dict[str, AgentParameter])
    memory: MemoryConfig | None = None
    tool_node_version: str | None = None


def _outputs(_data: AgentData) -> dict[str, ValueType]:
    return {
        "text": ValueType.STRING,
        "usage": ValueType.OBJECT,
        "files": ValueType.ARRAY_FILE,
        "json": ValueType.ARRAY_OBJECT,
    }


def _repeats(_data: AgentData) -> RetryClass:
    """Nobody knows what its tools do."""
    return "keyed"


NODE = NodeType(
    name="agent",
    data=AgentData,
    outputs=_outputs,
    repeats=_repeats,
    needs="agent strategies, which this version does not have",
)
