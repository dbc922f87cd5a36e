"""human-input: show a form, wait for a person, go on by the button that was pressed or by the time-out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

from ..errors import CommandRefused
from ..values import ValueType, to_text
from .base import (
    Context,
    Done,
    Form,
    FormAction,
    FormInput,
    FormReply,
    Missing,
    NodeData,
    NodeType,
    Outcome,
    WaitForm,
)

TIMEOUT = "__timeout"
ACTION = "__action_id"
CONTENT = "__rendered_content"

_OUTPUT_REFERENCE = re.compile(r"\{\{#\$output\.([A-Za-z_][A-Za-z0-9_]{0,29})#\}\}")
_HOURS = {"hour": 1, "day": 24}
_TEXT_FIELDS = frozenset({"text_input", "text-input", "paragraph"})


class FieldDefault(BaseModel):
    """What a field holds at first: a constant, or the value of a variable."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: Literal["variable", "constant"] = "constant"
    selector: tuple[str, ...] = ()
    value: JsonValue = None

    @field_validator("selector", mode="before")
    @classmethod
    def _null_is_empty(cls, value: object) -> object:
        return () if value is None else value


class FieldData(BaseModel):
    """A field of the form as the graph declares it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: str = "text_input"
    output_variable_name: str = Field(min_length=1)
    default: FieldDefault | None = None


class ActionData(BaseModel):
    """A button of the form; its id is a handle of the node."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=20)
    title: str = Field(default="", max_length=20)
    button_style: str = "default"


class DeliveryMethod(BaseModel):
    """How Dify would tell people about the form."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: str = ""
    enabled: bool = True


class HumanInputData(NodeData):
    """Data of a human-input."""

    type: Literal["human-input"]
    form_content: str = ""
    inputs: tuple[FieldData, ...] = ()
    user_actions: tuple[ActionData, ...] = ()
    timeout: int = Field(default=36, ge=1)
    timeout_unit: Literal["hour", "day"] = "hour"
    delivery_methods: tuple[DeliveryMethod, ...] = ()

    @field_validator("inputs", "user_actions")
    @classmethod
    def _distinct(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        names = [getattr(item, "output_variable_name", None) or item.id for item in value]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"used twice: {', '.join(twice)}")
        return value


def start(data: HumanInputData, ctx: Context) -> Outcome:
    """Fill the form and wait."""
    form = Form(
        content=ctx.render_markdown(data.form_content),
        inputs=tuple(
            FormInput(name=field.output_variable_name, type=field.type, default=_default(field, ctx))
            for field in data.inputs
        ),
        actions=tuple(
            FormAction(id=action.id, title=action.title or action.id, style=action.button_style)
            for action in data.user_actions
        ),
        timeout_s=data.timeout * _HOURS[data.timeout_unit] * 3600.0,
    )
    return WaitForm(form=form)


def _default(field: FieldData, ctx: Context) -> JsonValue:
    if field.default is None:
        return None
    if field.default.type == "constant":
        return field.default.value
    value = ctx.get(field.default.selector)
    if isinstance(value, Missing):
        return None
    return to_text(value) if field.type in _TEXT_FIELDS else value


def resume(data: HumanInputData, ctx: Context, reply: FormReply) -> Outcome:
    """Turn the submission into outputs, or take the time-out branch."""
    if reply.action is None:
        return Done(outputs={ACTION: ""}, handle=TIMEOUT)
    # The shell may keep the text that the person saw; variables can have changed since.
    shown = ctx.memo if isinstance(ctx.memo, str) else ctx.render_markdown(data.form_content)
    outputs = {**reply.values, ACTION: reply.action, CONTENT: _fill(shown, reply.values)}
    return Done(outputs=outputs, handle=reply.action)


def _fill(content: str, values: Mapping[str, JsonValue]) -> str:
    def text(match: re.Match[str]) -> str:
        name = match.group(1)
        return to_text(values[name]) if name in values else match.group(0)

    return _OUTPUT_REFERENCE.sub(text, content)


def check_submission(form: Form, action: str, values: Mapping[str, JsonValue]) -> FormReply:
    """Check what somebody submits; fields left out take their defaults.

    Raises:
        CommandRefused: no such action, no such field, or a text field with something else than text.
    """
    actions = [known.id for known in form.actions]
    if action not in actions:
        known = f"its actions: {', '.join(actions)}" if actions else "it has no actions"
        raise CommandRefused(f"cannot submit: the form has no action {action!r}; {known}.")
    fields = {field.name: field for field in form.inputs}
    unknown = sorted(set(values) - set(fields))
    if unknown:
        known = f"its fields: {', '.join(fields)}" if fields else "it has no fields"
        raise CommandRefused(f"cannot submit: the form has no field {', '.join(map(repr, unknown))}; {known}.")
    return FormReply(action=action, values={name: _field_value(field, values) for name, field in fields.items()})


def _field_value(field: FormInput, values: Mapping[str, JsonValue]) -> JsonValue:
    value = values.get(field.name, field.default)
    if field.type not in _TEXT_FIELDS:
        return value
    if value is None:
        return ""
    if field.name in values and not isinstance(value, str):
        raise CommandRefused(f"cannot submit: field {field.name!r} takes text, got {type(value).__name__} {value!r}.")
    return to_text(value).replace("\x00", "")


def _outputs(data: HumanInputData) -> dict[str, ValueType]:
    fields = {
        field.output_variable_name: ValueType.STRING if field.type in _TEXT_FIELDS else ValueType.ANY
        for field in data.inputs
    }
    return {**fields, ACTION: ValueType.STRING, CONTENT: ValueType.STRING}


def _handles(data: HumanInputData) -> tuple[str, ...]:
    return (*(action.id for action in data.user_actions), TIMEOUT)


def _differs(data: HumanInputData) -> tuple[str, ...]:
    unsent = sorted({m.type for m in data.delivery_methods if m.enabled and m.type not in ("", "webapp")})
    if not unsent:
        return ()
    return (f"the form is not delivered by {', '.join(unsent)}; submit it through the API, the CLI or a client.",)


NODE = NodeType(
    name="human-input",
    data=HumanInputData,
    start=start,
    resume=resume,
    outputs=_outputs,
    handles=_handles,
    differs=_differs,
    role="branch",
    waits=True,
    pinned_handle=ACTION,
)
