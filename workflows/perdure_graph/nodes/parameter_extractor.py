"""parameter-extractor: let a model read typed parameters out of a text."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ..values import ValueType
from .base import NodeData, NodeType
from .llm import NEEDS_MODEL, MemoryConfig, ModelConfig, VisionConfig

RESERVED = frozenset({"__reason", "__is_success"})

ParameterType = Literal[
    "string",
    "number",
    "boolean",
    "bool",
    "select",
    "array[string]",
    "array[number]",
    "array[object]",
    "array[boolean]",
]

_TYPES = {"select": ValueType.STRING, "bool": ValueType.BOOLEAN}


class Parameter(BaseModel):
    """A parameter that the model is asked for."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str = Field(min_length=1)
    type: ParameterType
    options: tuple[str, ...] | None = None
    description: str = ""
    required: bool = False

    @field_validator("name")
    @classmethod
    def _not_reserved(cls, value: str) -> str:
        if value in RESERVED:
            raise ValueError(f"the name {value!r} is reserved; choose another")
        return value

    @property
    def value_type(self) -> ValueType:
        """Type of the output."""
        return _TYPES.get(self.type) or ValueType(self.type)


class ParameterExtractorData(NodeData):
    """Data of a parameter-extractor."""

    type: Literal["parameter-extractor"]
    model: ModelConfig
    query: tuple[str, ...]
    parameters: tuple[Parameter, ...] = ()
    instruction: str | None = None
    reasoning_mode: Literal["function_call", "prompt"] = "function_call"
    memory: MemoryConfig | None = None
    vision: VisionConfig | None = None


def _outputs(data: ParameterExtractorData) -> dict[str, ValueType]:
    return {
        **{parameter.name: parameter.value_type for parameter in data.parameters},
        "__is_success": ValueType.NUMBER,
        "__reason": ValueType.STRING,
        "__usage": ValueType.OBJECT,
    }


NODE = NodeType(
    name="parameter-extractor",
    data=ParameterExtractorData,
    outputs=_outputs,
    needs=NEEDS_MODEL,
)
