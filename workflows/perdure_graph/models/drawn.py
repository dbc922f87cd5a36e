"""What a graph draws of a call of a model: which model, its parameters, what it remembers and sees."""

from __future__ import annotations

from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator


class Drawn(BaseModel):
    """A part of a node's data; editors write null where they mean the default."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        items = cast("dict[Any, Any]", value).items()
        return {key: item for key, item in items if item is not None}


class ModelConfig(Drawn):
    """Which model, and the parameters of a call."""

    provider: str
    name: str
    mode: str = "chat"
    completion_params: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])

    @property
    def kind(self) -> Literal["chat", "completion"]:
        """Whether it takes messages or one text."""
        return "completion" if self.mode == "completion" else "chat"


class MemoryWindow(Drawn):
    """How many past turns are sent; all that fit when it is not enabled."""

    enabled: bool = False
    size: int | None = None

    @field_validator("size", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value


class RolePrefix(Drawn):
    """Who says what, where past turns are sent as text to a completion model."""

    user: str = ""
    assistant: str = ""


class MemoryConfig(Drawn):
    """Whether and how past turns are sent."""

    role_prefix: RolePrefix = RolePrefix()
    window: MemoryWindow = MemoryWindow()
    query_prompt_template: str = ""


class VisionOptions(Drawn):
    """Which files a model sees."""

    variable_selector: tuple[str, ...] = ("sys", "files")
    detail: str = "high"


class VisionConfig(Drawn):
    """Whether a model sees files."""

    enabled: bool = False
    configs: VisionOptions = VisionOptions()

    @property
    def detail(self) -> Literal["low", "high"]:
        """How closely it looks at images."""
        return "low" if self.configs.detail == "low" else "high"
