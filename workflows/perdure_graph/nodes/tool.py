"""tool: call a tool of a provider."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

from ..agents import node_forms
from ..agents.config import ToolType, ToolUse
from ..agents.effects import AgentAnswer, RunAgent, RunTool, ToolResult
from ..agents.loop_forms import NoArguments
from ..agents.node_forms import MASK, Question
from ..agents.tools import FileOut, JsonOut, LinkOut, TextOut, ToolErrorKind, ToolPart, VariableOut
from ..children import FlowAnswer, RunFlow
from ..errors import NodeError
from ..options import RetryClass
from ..templates import references, split
from ..values import ValueType
from .base import MISSING, Came, Context, Done, FormReply, NodeData, NodeType, Outcome, Perform

# The limit of a call is the tool's own; no tool may have a longer one.
_LONGEST_S = 3600.0
_OUTPUTS = ("text", "files", "json")
_ERRORS: dict[ToolErrorKind, str] = {"unknown_tool": "ToolNodeError", "bad_arguments": "ToolParameterError"}
_OTHER_ERROR = "ToolInvokeError"


_Kind = Literal["mixed", "variable", "constant"]


class ToolParameter(BaseModel):
    """A parameter: a template (`mixed`), a constant or the selector of a variable."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: _Kind = "mixed"
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


@dataclass(frozen=True, slots=True)
class _Call:
    """What a tool is called with. shown, settings: arguments and parameters for people to read."""

    use: ToolUse
    arguments: dict[str, JsonValue]
    shown: dict[str, JsonValue]
    settings: dict[str, JsonValue]


def start(data: ToolData, ctx: Context) -> Outcome:
    """Fill in the parameters and ask for the tool."""
    return _perform(_call(data, ctx), ctx, ask=True)


def resume(data: ToolData, ctx: Context, reply: ToolResult | FlowAnswer | AgentAnswer | Came) -> Outcome:
    """Put out what the tool gave; a graph or an agent that is a tool runs first, and a person before all."""
    memo = cast("dict[str, Any]", ctx.memo or {})
    shown, given = cast("dict[str, Any]", memo.get("shown", {})), cast("dict[str, Any]", memo.get("given", {}))
    match reply:
        case ToolResult(error_kind=kind) if kind is not None:
            message = f"Failed to run tool {data.tool_label or data.tool_name!r}: {reply.error or reply.text}"
            raise NodeError(message, _ERRORS.get(kind, _OTHER_ERROR))
        case ToolResult(asks=label) if label is not None:
            question = Question(label=label, arguments=shown, settings=memo.get("settings", {}))
            return node_forms.ask(data.title or ctx.node_id, question)
        case ToolResult(child=child) if child is not None:
            return Perform(_child(child, given), inputs=shown, memo=ctx.memo)
        case ToolResult(parts=parts):
            return Done(outputs=_given(parts), inputs=shown)
        case FlowAnswer(outputs=outputs):
            text = TextOut(text=json.dumps(outputs, ensure_ascii=False))
            return Done(outputs=_given([text, JsonOut(value=outputs), *_files(reply)]), inputs=shown)
        case AgentAnswer():
            return Done(outputs=_given([TextOut(text=reply.text), *_files(reply)]), inputs=shown)
        case Came():
            assert isinstance(reply.reply, FormReply)
            return _decided(data, ctx, Question.model_validate(memo["question"]), reply.reply)


def _perform(call: _Call, ctx: Context, *, ask: bool) -> Perform:
    use = call.use
    effect = RunTool(
        use=use,
        name=use.tool_name,
        arguments=call.arguments,
        timeout_s=_LONGEST_S,
        user=_text(ctx, "user_id"),
        tenant=ctx.tenant,
        ask=ask,
    )
    memo: dict[str, JsonValue] = {"shown": call.shown}
    if call.settings:
        memo["settings"] = call.settings
    if use.provider_type in ("workflow", "agent"):
        memo["given"] = {**use.parameters, **call.arguments}
    return Perform(effect, inputs=call.shown, memo=memo)


def _decided(data: ToolData, ctx: Context, question: Question, reply: FormReply) -> Outcome:
    """Make a call that a person approved, with what the person saw."""
    # Secrets are kept nowhere while somebody thinks: they are filled in anew.
    now = _call(data, ctx)
    try:
        seen = node_forms.approved(question, reply)
        arguments = node_forms.unblotted(seen, now.arguments, now.shown)
        parameters = node_forms.unblotted(question.settings, now.use.parameters, now.settings)
    except NoArguments as problem:
        again = {"arguments": now.shown, "settings": now.settings, "times": question.times + 1}
        return node_forms.ask(data.title or ctx.node_id, question.model_copy(update=again), str(problem))
    use = now.use.model_copy(update={"parameters": parameters})
    return _perform(_Call(use, arguments, seen, question.settings), ctx, ask=False)


def _call(data: ToolData, ctx: Context) -> _Call:
    drawn = {name: _setting(value) for name, value in data.tool_configurations.items()}
    arguments, parameters = dict(_filled(data.tool_parameters.items(), ctx)), dict(_filled(drawn.items(), ctx))
    use = ToolUse(
        provider_type=_provider_type(data),
        provider_id=data.provider_id,
        tool_name=data.tool_name,
        parameters=parameters,
        credential=data.credential_id or None,
    )
    return _Call(use, arguments, _readable(data.tool_parameters, arguments, ctx), _readable(drawn, parameters, ctx))


def _readable(
    drawn: Mapping[str, ToolParameter], values: Mapping[str, JsonValue], ctx: Context
) -> dict[str, JsonValue]:
    return {name: _shown(parameter, values[name], ctx) for name, parameter in drawn.items() if name in values}


def _files(reply: FlowAnswer | AgentAnswer) -> list[FileOut]:
    return [FileOut(file=file) for file in reply.files]


def _provider_type(data: ToolData) -> ToolType:
    if data.provider_type not in get_args(ToolType):
        known = ", ".join(get_args(ToolType))
        raise NodeError(f"provider_type is {data.provider_type!r}; it must be one of {known}", "ToolNodeError")
    return cast("ToolType", data.provider_type)


def _setting(value: JsonValue) -> ToolParameter:
    if isinstance(value, dict) and value.keys() == {"type", "value"} and value["type"] in get_args(_Kind):
        return ToolParameter.model_validate(value)
    # Old exports hold the bare value, which is none of a template.
    return ToolParameter(type="constant", value=value)


def _filled(parameters: Iterable[tuple[str, ToolParameter]], ctx: Context) -> Iterable[tuple[str, JsonValue]]:
    """Give each parameter its value. One that is null, or whose variable does not exist, is left to the tool."""
    for name, parameter in parameters:
        value: Any = parameter.value
        if parameter.type == "variable":
            value = ctx.get(_selector(name, value))
        elif isinstance(value, str):
            value = ctx.render(value)
        if value is not None and value is not MISSING:
            yield name, value


def _selector(name: str, value: JsonValue) -> Sequence[str]:
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        return cast("list[str]", value)
    raise NodeError(f"the parameter {name!r} must be the selector of a variable, got {value!r}", "ToolParameterError")


def _shown(parameter: ToolParameter, value: JsonValue, ctx: Context) -> JsonValue:
    """Give a value for people to read."""
    if parameter.type == "variable":
        secret = ctx.type_of(cast("list[str]", parameter.value)) is ValueType.SECRET
        return MASK if secret else value
    template = parameter.value
    if not isinstance(template, str) or all(ctx.type_of(part) is not ValueType.SECRET for part in references(template)):
        return value
    return "".join(
        part
        if isinstance(part, str)
        else MASK
        if ctx.type_of(part) is ValueType.SECRET
        else ctx.render("{{#" + ".".join(part) + "#}}")
        for part in split(template)
    )


def _text(ctx: Context, name: str) -> str:
    value = ctx.get(("sys", name))
    return value if isinstance(value, str) else ""


def _child(use: ToolUse, given: Mapping[str, JsonValue]) -> RunFlow | RunAgent:
    inputs = dict(given)
    if use.agent is not None:
        return RunAgent(config=use.agent, query=str(inputs.pop("query", "") or ""), inputs=inputs)
    if use.flow is None:
        raise NodeError(f"{use.tool_name!r} is neither a graph nor an agent that could run", "ToolNodeError")
    asked = inputs.pop("query", None) if use.flow.mode == "advanced-chat" else None
    return RunFlow(graph=use.flow, inputs=inputs, query=None if asked is None else str(asked))


def _given(parts: Sequence[ToolPart]) -> dict[str, Any]:
    texts: list[str] = []
    files: list[dict[str, JsonValue]] = []
    values: list[JsonValue] = []
    variables: dict[str, JsonValue] = {}
    for part in parts:
        match part:
            case TextOut():
                texts.append(part.text)
            case JsonOut(value=value):
                # Scalars and lists of them would not be objects.
                values.append(value if isinstance(value, dict) else {"data": value})
            case LinkOut():
                texts.append(f"Link: {part.url}\n")
            case FileOut():
                files.append(part.file)
            case VariableOut():
                if part.name in _OUTPUTS:
                    raise NodeError(
                        f"the tool puts out a variable named {part.name!r}, which is reserved", _OTHER_ERROR
                    )
                variables[part.name] = part.value
    return {**variables, "text": "".join(texts), "files": files, "json": values or [{"data": []}]}


def _outputs(_data: ToolData) -> dict[str, ValueType]:
    return {"text": ValueType.STRING, "files": ValueType.ARRAY_FILE, "json": ValueType.ARRAY_OBJECT}


def _repeats(_data: ToolData) -> RetryClass:
    """Nobody knows what a tool does."""
    return "keyed"


NODE = NodeType(
    name="tool",
    data=ToolData,
    start=start,
    resume=resume,
    outputs=_outputs,
    effects=(RunTool, RunFlow, RunAgent),
    retries=True,
    repeats=_repeats,
    waits=True,
    default_pin={"text": "mocked tool output"},
)
