"""llm: ask a model. Its data is read and checked; without a model runtime it runs on pinned outputs."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

from ..values import ValueType
from .base import NodeData, NodeType
from .template_transform import NamedSelector

NEEDS_MODEL = "a model runtime, which this version does not have"


class ModelConfig(BaseModel):
    """Which model, and the parameters of a call."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    provider: str
    name: str
    mode: str = "chat"
    completion_params: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])

    @field_validator("completion_params", mode="before")
    @classmethod
    def _null_is_empty(cls, value: object) -> object:
        return {} if value is None else value


class ChatMessage(BaseModel):
    """A message of the prompt; `edition_type` says which of the two texts counts."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    role: Literal["system", "user", "assistant"]
    text: str = ""
    edition_type: str | None = None
    jinja2_text: str | None = None

    @field_validator("text", mode="before")
    @classmethod
    def _null_is_empty(cls, value: object) -> object:
        return "" if value is None else value


class CompletionPrompt(BaseModel):
    """The prompt of a completion model."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    text: str = ""
    edition_type: str | None = None
    jinja2_text: str | None = None


class PromptConfig(BaseModel):
    """Variables of Jinja2 messages."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    jinja2_variables: tuple[NamedSelector, ...] = ()

    @field_validator("jinja2_variables", mode="before")
    @classmethod
    def _null_is_empty(cls, value: object) -> object:
        return () if value is None else value


class ContextConfig(BaseModel):
    """The variable inserted at `{{#context#}}`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    enabled: bool = False
    variable_selector: tuple[str, ...] | None = None


class MemoryWindow(BaseModel):
    """How many past messages are sent."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    enabled: bool = False
    size: int | None = None


class MemoryConfig(BaseModel):
    """Whether and how past messages are sent."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    role_prefix: dict[str, str] | None = None
    window: MemoryWindow = MemoryWindow()
    query_prompt_template: str | None = None


class VisionOptions(BaseModel):
    """Which files a model sees."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    variable_selector: tuple[str, ...] = ("sys", "files")
    detail: str = "high"


class VisionConfig(BaseModel):
    """Whether a model sees files."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    enabled: bool = False
    configs: VisionOptions = VisionOptions()

    @field_validator("configs", mode="before")
    @classmethod
    def _null_is_default(cls, value: object) -> object:
        return VisionOptions() if value is None else value


class LlmData(NodeData):
    """Data of an llm."""

    type: Literal["llm"]
    model: ModelConfig
    prompt_template: tuple[ChatMessage, ...] | CompletionPrompt
    prompt_config: PromptConfig = PromptConfig()
    context: ContextConfig = ContextConfig()
    memory: MemoryConfig | None = None
    vision: VisionConfig = VisionConfig()
    structured_output: dict[str, JsonValue] | None = None
    structured_output_enabled: bool = False
    structured_output_switch_on: bool = False
    reasoning_format: Literal["tagged", "separated"] = "tagged"

    @field_validator("prompt_config", "context", "vision", "reasoning_format", mode="before")
    @classmethod
    def _null_is_default(cls, value: object, info: Any) -> object:
        return cls.model_fields[info.field_name].default if value is None else value

    @field_validator("structured_output_enabled", "structured_output_switch_on", mode="before")
    @classmethod
    def _null_is_off(cls, value: object) -> object:
        return False if value is None else value


def _outputs(data: LlmData) -> dict[str, ValueType]:
    outputs = {
        "text": ValueType.STRING,
        "reasoning_content": ValueType.STRING,
        "usage": ValueType.OBJECT,
        "finish_reason": ValueType.STRING,
        "files": ValueType.ARRAY_FILE,
    }
    if data.structured_output_enabled or data.structured_output_switch_on:
        outputs["structured_output"] = ValueType.OBJECT
    return outputs


NODE = NodeType(
    name="llm",
    data=LlmData,
    outputs=_outputs,
    retries=True,
    needs=NEEDS_MODEL,
    default_pin={"text": "Mocked LLM response"},
)
