"""question-classifier: let a model choose a branch."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ..values import ValueType
from .base import NodeData, NodeType
from .llm import NEEDS_MODEL, MemoryConfig, ModelConfig, VisionConfig


class QuestionClass(BaseModel):
    """A branch; `name` is the template that the model reads."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    name: str
    label: str | None = None

    @field_validator("id", mode="before")
    @classmethod
    def _text(cls, value: object) -> object:
        return str(value) if isinstance(value, int) else value


class QuestionClassifierData(NodeData):
    """Data of a question-classifier."""

    type: Literal["question-classifier"]
    query_variable_selector: tuple[str, ...]
    model: ModelConfig
    classes: tuple[QuestionClass, ...] = Field(min_length=1)
    instruction: str | None = None
    memory: MemoryConfig | None = None
    vision: VisionConfig | None = None


def _outputs(_data: QuestionClassifierData) -> dict[str, ValueType]:
    return {
        "class_name": ValueType.STRING,
        "class_label": ValueType.STRING,
        "class_id": ValueType.STRING,
        "usage": ValueType.OBJECT,
    }


def _handles(data: QuestionClassifierData) -> tuple[str, ...]:
    return tuple(choice.id for choice in data.classes)


NODE = NodeType(
    name="question-classifier",
    data=QuestionClassifierData,
    outputs=_outputs,
    handles=_handles,
    role="branch",
    needs=NEEDS_MODEL,
    pinned_handle="class_id",
)
