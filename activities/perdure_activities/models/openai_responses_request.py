"""What a call looks like as the body of POST /responses. Pure."""

from __future__ import annotations

from typing import Any, assert_never

from perdure_graph.models.messages import (
    AssistantMessage,
    Content,
    FilePart,
    Message,
    SystemMessage,
    TextPart,
    ThinkingPart,
    ToolCall,
    ToolMessage,
    UserMessage,
    text_of,
)

from .files import inline_text
from .openai_parts import (
    NOT_SENT,
    answer_format,
    asked_format,
    data_url,
    in_base64,
    loaded,
    pseudonym,
    sent_arguments,
)
from .protocol import Endpoint, ModelCall
from .structured import answer_tool

# What this wire does not have, or has elsewhere than at the top of the request.
_ELSEWHERE = frozenset(
    {
        "max_tokens",
        "max_completion_tokens",
        "reasoning_effort",
        "reasoning_summary",
        "verbosity",
        "seed",
        "logprobs",
        "presence_penalty",
        "frequency_penalty",
    }
)


def request(endpoint: Endpoint, call: ModelCall) -> dict[str, Any]:
    """Make the body. The server keeps nothing: what it thought comes back encrypted, and is sent again."""
    said = call.parameters
    body: dict[str, Any] = {
        "model": call.model,
        "input": [item for message in call.messages for item in _items(endpoint, call, message)],
        "stream": True,
        "store": False,
    }
    not_sent = {*NOT_SENT, *_ELSEWHERE, *(() if call.tools else ("parallel_tool_calls",))}
    body |= {name: value for name, value in said.items() if name not in not_sent and value is not None}
    most = call.max_tokens or said.get("max_completion_tokens") or said.get("max_tokens")
    if most is not None:
        body["max_output_tokens"] = most
    if not call.features or call.features & {"reasoning-effort", "agent-thought"}:
        body["include"] = ["reasoning.encrypted_content"]
    if reasoning := _given({"effort": said.get("reasoning_effort"), "summary": said.get("reasoning_summary")}):
        body["reasoning"] = reasoning
    if text := _given({"format": _format(call), "verbosity": said.get("verbosity")}):
        body["text"] = text
    if endpoint.profile == "openai":
        body["stream_options"] = {"include_obfuscation": False}
    who = _given({"safety_identifier": pseudonym(call.user) if call.user else None, "prompt_cache_key": call.cache_key})
    return body | _tools(call) | who


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}


def _format(call: ModelCall) -> dict[str, Any] | None:
    if call.answer is not None:
        return {"type": "json_schema", **answer_format(call.answer)} if call.answer_by == "native" else None
    asked = asked_format(call)
    # Here the wrapper of the schema is the format itself.
    return {"type": "json_schema", **asked["json_schema"]} if asked and "json_schema" in asked else asked


def _tools(call: ModelCall) -> dict[str, Any]:
    tools = [_tool(tool.name, tool.description, tool.parameters, strict=tool.strict) for tool in call.tools]
    choice: object = call.tool_choice if tools and call.tool_choice != "auto" else None
    if call.answer is not None and call.answer_by == "tool":
        gives = answer_tool(call.answer)
        if not tools or call.tool_choice == "none":
            tools, choice = [], {"type": "function", "name": gives.name}
        else:
            choice = "required"
        tools = [*tools, _tool(gives.name, gives.description, call.answer.schema_, strict=False)]
    return _given({"tools": tools, "tool_choice": choice})


def _tool(name: str, description: str, parameters: dict[str, Any], *, strict: bool) -> dict[str, Any]:
    # Left out, `strict` would be true here.
    return {
        "type": "function",
        "name": name,
        "description": description,
        "parameters": parameters,
        "strict": strict,
    }


def _items(endpoint: Endpoint, call: ModelCall, message: Message) -> list[dict[str, Any]]:
    match message:
        case SystemMessage():
            return [{"role": "system", "content": message.text}]
        case UserMessage():
            return [{"role": "user", "content": _content(call, message.content)}]
        case ToolMessage():
            files = any(isinstance(part, FilePart) for part in message.content)
            output = _content(call, message.content) if files else text_of(message)
            return [{"type": "function_call_output", "call_id": message.call_id, "output": output}]
        case AssistantMessage():
            return [item for part in message.content if (item := _said(endpoint, part)) is not None]
        case _:
            assert_never(message)


def _said(endpoint: Endpoint, part: TextPart | ThinkingPart | ToolCall) -> dict[str, Any] | None:
    match part:
        case TextPart():
            return {"role": "assistant", "content": part.text} if part.text else None
        case ToolCall():
            return {
                "type": "function_call",
                "call_id": part.id,
                "name": part.name,
                "arguments": sent_arguments(part),
            }
        case ThinkingPart():
            # Encrypted for the one who wrote it; what cannot be read again is of no use to the model.
            if part.provider != endpoint.provider or not part.data:
                return None
            summary = [{"type": "summary_text", "text": part.text}] if part.text else []
            return {"type": "reasoning", "id": part.id, "summary": summary, "encrypted_content": part.data}
        case _:
            assert_never(part)


def _content(call: ModelCall, content: tuple[Content, ...]) -> list[dict[str, Any]]:
    return [_part(call, part) for part in content]


def _part(call: ModelCall, part: Content) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "input_text", "text": part.text}
    file = loaded(call, part)
    if part.kind == "image":
        return {"type": "input_image", "image_url": data_url(file), "detail": part.detail}
    if part.kind == "audio":
        audio = {"data": in_base64(file), "format": file.media_type.rpartition("/")[2]}
        return {"type": "input_audio", "input_audio": audio}
    if (text := inline_text(file)) is not None:
        return {"type": "input_text", "text": text}
    if file.content is None:
        return {"type": "input_file", "file_url": file.url}
    return {"type": "input_file", "filename": file.name, "file_data": data_url(file)}
