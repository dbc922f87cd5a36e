"""One question to a model, asked in the same way by all nodes that ask: its parameters, and what is told of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from pydantic import JsonValue

from ..errors import NodeError
from ..nodes.base import Context
from ..templates import references
from ..values import ValueType, to_text
from .drawn import MemoryConfig, ModelConfig
from .effects import InvokeModel, ModelAnswer
from .messages import AnswerSchema, AssistantMessage, FilePart, Message, SystemMessage, ToolSpec, text_of
from .prompt import remember

_MAX_PARAMETER_CHARS = 1024
_MAX_SHOWN_CHARS = 4_000
_MASK = "********"


def ask(
    model: ModelConfig,
    messages: Sequence[Message],
    memory: MemoryConfig | None,
    ctx: Context,
    *,
    answer: AnswerSchema | None = None,
    think: Literal["tagged", "separated"] = "separated",
    call: ToolSpec | None = None,
) -> InvokeModel:
    """Ask a model what a node has put together. `call` is a function that it must call.

    Raises:
        NodeError: nothing is asked, or a parameter is wrong.
    """
    if not messages:
        raise NodeError(
            "No prompt found in the LLM configuration: all its messages are empty. "
            f"Write a prompt in node {ctx.node_id!r}, or check the variables that it names.",
            "NoPromptFoundError",
        )
    drawn = settings(model, ctx)
    user_id = ctx.get(("sys", "user_id"))
    return InvokeModel(
        provider=model.provider,
        model=model.name,
        mode=model.kind,
        messages=tuple(messages),
        remember=remember(memory, model, ctx),
        parameters=drawn.parameters,
        stop=drawn.stop,
        user=user_id if isinstance(user_id, str) else "",
        tools=() if call is None else (call,),
        tool_choice="auto" if call is None else "required",
        answer=answer or drawn.answer,
        think=think,
    )


def about(model: ModelConfig) -> dict[str, JsonValue]:
    """Say in a node's inputs which model it asks."""
    return {"model_provider": model.provider, "model_name": model.name}


def told(model: ModelConfig, prompts: JsonValue, answer: ModelAnswer) -> dict[str, Any]:
    """Say what was asked and who answered: what nodes show as their process data."""
    return {
        "model_mode": model.mode,
        "prompts": prompts,
        "usage": answer.usage.as_dify(),
        "finish_reason": answer.finish,
        "model_provider": answer.provider or model.provider,
        "model_name": answer.model or model.name,
        "deployment": answer.deployment,
        "remembered": answer.remembered,
        "simulated": answer.simulated,
    }


def memo_of(ctx: Context) -> Mapping[str, Any]:
    """Read what a node left for itself."""
    return cast("dict[str, Any]", ctx.memo) if isinstance(ctx.memo, dict) else {}


@dataclass(frozen=True, slots=True)
class Settings:
    """Parameters of a call, without those that are more than parameters."""

    parameters: dict[str, JsonValue]
    stop: tuple[str, ...] = ()
    answer: AnswerSchema | None = None


def settings(model: ModelConfig, ctx: Context) -> Settings:
    """Read the parameters of a call: references filled, numbers read, stop words and schema taken out.

    Raises:
        NodeError: a schema is no JSON object.
    """
    drawn = model.completion_params
    parameters = {name: _parameter(value, ctx) for name, value in drawn.items() if value is not None}
    stop = parameters.pop("stop", None)
    listed = cast("list[Any]", stop) if isinstance(stop, list) else [stop]
    words = tuple(to_text(word) for word in listed if word not in (None, ""))
    schema = parameters.pop("json_schema", None)
    answer: AnswerSchema | None = None
    if schema not in (None, "", {}) and parameters.get("response_format", "json_schema") == "json_schema":
        answer = _schema_parameter(schema)
    if parameters.get("response_format") == "json_schema":
        del parameters["response_format"]
    return Settings(parameters, words, answer)


def _parameter(value: JsonValue, ctx: Context) -> JsonValue:
    if isinstance(value, list):
        return [_parameter(item, ctx) for item in value]
    if not isinstance(value, str) or not references(value):
        return value
    text = ctx.render(value)[:_MAX_PARAMETER_CHARS]
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return read if isinstance(read, int | float) else text


def _schema_parameter(given: JsonValue) -> AnswerSchema:
    """Read the parameter `json_schema`: a schema, or an object of OpenAI's with name and schema; as JSON or as text."""
    try:
        read: Any = json.loads(given) if isinstance(given, str) else given
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, dict):
        raise NodeError(
            "the parameter 'json_schema' is no JSON object. Write the schema as JSON in the model's parameters.",
            "LLMNodeError",
        )
    wrapper = cast("dict[str, Any]", read)
    inner = wrapper.get("schema")
    if not isinstance(inner, dict):
        return AnswerSchema(schema=wrapper)
    return AnswerSchema(name=str(wrapper.get("name") or "answer"), schema=cast("dict[str, Any]", inner))


def shown(messages: Sequence[Message], ctx: Context) -> list[JsonValue]:
    """Give messages for people to read: without secrets, long ones cut, as what they are made of is kept elsewhere."""
    return [
        {"role": one.role, "text": cut(hidden(text_of(one), ctx)), "files": [_named(part) for part in _files_of(one)]}
        for one in messages
    ]


def hidden(text: str, ctx: Context) -> str:
    """Take the values of secret variables out of a text that people read."""
    for name, value in ctx.all_variables("env").items():
        if isinstance(value, str) and value and ctx.type_of(("env", name)) is ValueType.SECRET:
            text = text.replace(value, _MASK)
    return text


def _files_of(one: Message) -> list[FilePart]:
    if isinstance(one, SystemMessage | AssistantMessage):
        return []
    return [part for part in one.content if isinstance(part, FilePart)]


def _named(part: FilePart) -> JsonValue:
    return {"type": part.kind, "filename": part.file.get("filename"), "detail": part.detail}


def cut(text: str) -> str:
    """Cut a long text, and say so."""
    left_out = len(text) - _MAX_SHOWN_CHARS
    return text if left_out <= 0 else f"{text[:_MAX_SHOWN_CHARS]}... ({left_out} more characters)"
