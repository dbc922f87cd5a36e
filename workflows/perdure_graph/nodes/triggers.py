"""trigger-webhook, trigger-schedule, trigger-plugin: other roots; what fired them comes in as inputs of the run."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, JsonValue, field_validator

from ..values import ValueType, parse_type
from .base import Context, Done, NodeData, NodeType, Outcome

RAW = "_webhook_raw"


class WebhookParameter(BaseModel):
    """A query parameter, header or body field that becomes a variable."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    type: str = "string"
    required: bool = False


class WebhookData(NodeData):
    """Data of a trigger-webhook."""

    type: Literal["trigger-webhook"]
    method: str = "get"
    content_type: str = "application/json"
    headers: tuple[WebhookParameter, ...] = ()
    params: tuple[WebhookParameter, ...] = ()
    body: tuple[WebhookParameter, ...] = ()
    status_code: int = 200
    response_body: str = ""
    timeout: int = 30

    @field_validator("headers", "params", "body", mode="before")
    @classmethod
    def _null_is_empty(cls, value: object) -> object:
        return () if value is None else value

    @property
    def variables_out(self) -> dict[str, ValueType]:
        """Names and types of what the webhook gives."""
        headers = {h.name.replace("-", "_"): ValueType.STRING for h in self.headers}
        declared = {p.name: _type(p.type) for p in (*self.params, *self.body)}
        return {**headers, **declared, RAW: ValueType.OBJECT}


class ScheduleData(NodeData):
    """Data of a trigger-schedule."""

    type: Literal["trigger-schedule"]
    mode: Literal["visual", "cron"] = "visual"
    frequency: str | None = None
    cron_expression: str | None = None
    visual_config: dict[str, JsonValue] | None = None
    timezone: str = "UTC"


class PluginTriggerData(NodeData):
    """Data of a trigger-plugin."""

    type: Literal["trigger-plugin"]
    plugin_id: str = ""
    provider_id: str = ""
    event_name: str = ""
    subscription_id: str = ""
    event_parameters: dict[str, JsonValue] | None = None


def _type(name: str) -> ValueType:
    try:
        return parse_type(name)
    except ValueError:
        return ValueType.ANY


def _start_webhook(data: WebhookData, ctx: Context) -> Outcome:
    given = ctx.all_variables(ctx.node_id)
    return _put_out({name: given[name] for name in data.variables_out if name in given})


def _start_any(_data: ScheduleData | PluginTriggerData, ctx: Context) -> Outcome:
    return _put_out(dict(ctx.all_variables(ctx.node_id)))


def _put_out(outputs: dict[str, Any]) -> Done:
    return Done(outputs=outputs, inputs=outputs)


def _webhook_outputs(data: WebhookData) -> dict[str, ValueType]:
    return data.variables_out


def _fired_by_caller(data: NodeData) -> tuple[str, ...]:
    return (f"{data.type} does not fire by itself: start the run and pass what it would give as inputs.",)


NODES = (
    NodeType(
        name="trigger-webhook",
        data=WebhookData,
        start=_start_webhook,
        outputs=_webhook_outputs,
        differs=_fired_by_caller,
        role="root",
    ),
    NodeType(name="trigger-schedule", data=ScheduleData, start=_start_any, differs=_fired_by_caller, role="root"),
    NodeType(
        name="trigger-plugin",
        data=PluginTriggerData,
        start=_start_any,
        differs=_fired_by_caller,
        role="root",
    ),
)
