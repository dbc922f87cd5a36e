"""start: the root of a graph; it declares the inputs of a run and puts them out."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

from ..values import ValueType
from .base import Context, Done, NodeData, NodeType, Outcome

VariableKind = Literal[
    "text-input",
    "paragraph",
    "select",
    "number",
    "checkbox",
    "file",
    "file-list",
    "json_object",
    "external_data_tool",
]

_TYPES: dict[str, ValueType] = {
    "number": ValueType.NUMBER,
    "checkbox": ValueType.BOOLEAN,
    "file": ValueType.FILE,
    "file-list": ValueType.ARRAY_FILE,
    "json_object": ValueType.OBJECT,
    "external_data_tool": ValueType.ANY,
}


class StartVariable(BaseModel):
    """An input that the run takes, as the form of the app shows it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    variable: str = Field(min_length=1)
    label: str = ""
    type: VariableKind
    required: bool = False
    default: JsonValue = None
    max_length: int | None = None
    options: tuple[str, ...] = ()
    allowed_file_types: tuple[str, ...] = ()
    allowed_file_extensions: tuple[str, ...] = ()
    allowed_file_upload_methods: tuple[str, ...] = ()
    json_schema: dict[str, JsonValue] | None = None

    @field_validator(
        "label",
        "required",
        "options",
        "allowed_file_types",
        "allowed_file_extensions",
        "allowed_file_upload_methods",
        mode="before",
    )
    @classmethod
    def _null_is_default(cls, value: object, info: Any) -> object:
        return cls.model_fields[info.field_name].default if value is None else value

    @field_validator("json_schema", mode="before")
    @classmethod
    def _schema_text(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return json.loads(value) if value.strip() else None

    @property
    def value_type(self) -> ValueType:
        """Type of the values that the input takes."""
        return _TYPES.get(self.type, ValueType.STRING)


class StartData(NodeData):
    """Data of a start."""

    type: Literal["start"]
    variables: tuple[StartVariable, ...] = ()

    @field_validator("variables", mode="before")
    @classmethod
    def _null_is_none(cls, value: object) -> object:
        return () if value is None else value


def start(data: StartData, ctx: Context) -> Outcome:
    """Put out the inputs that were declared and given; all that is given where nothing is declared (agents)."""
    given = ctx.all_variables(ctx.node_id)
    if not data.variables:
        return Done(outputs=dict(given), inputs=dict(given))
    outputs = {v.variable: given[v.variable] for v in data.variables if v.variable in given}
    return Done(outputs=outputs, inputs=outputs)


def _outputs(data: StartData) -> dict[str, ValueType]:
    return {v.variable: v.value_type for v in data.variables}


NODE = NodeType(name="start", data=StartData, start=start, outputs=_outputs, role="root")
