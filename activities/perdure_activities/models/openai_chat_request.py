"""What a call looks like as the body of POST /chat/completions or /completions. Pure."""

from __future__ import annotations

from typing import Any, assert_never

from perdure_graph.models.messages import (
    AssistantMessage,
    Content,
    FilePart,
    Message,
    SystemMessage,
    TextPart,
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

_AUDIO = {"audio/mpeg": "mp3", "audio/mp3": "mp3", "audio/wav": "wav", "audio/x-wav": "wav", "audio/wave": "wav"}


def request(endpoint: Endpoint, call: ModelCall, *, with_usage: bool) -> dict[str, Any]:
    """Make the body. with_usage: whether the server knows `stream_options`."""
    body: dict[str, Any] = {"model": call.model, "stream": call.streamed}
    if call.mode == "completion":
        body["prompt"] = "\n\n".join(text for message in call.messages if (text := text_of(message)))
    else:
        body["messages"] = messages(call)
    body |= _parameters(endpoint, call)
    if call.max_tokens is not None:
        body |= _limit(endpoint, call, call.max_tokens)
    if call.stop:
        body["stop"] = list(call.stop)
    if with_usage and call.streamed:
        body["stream_options"] = {"include_usage": True}
        if endpoint.profile == "openai":
            # Padding against eavesdroppers on lengths; it makes each chunk half as long again.
            body["stream_options"]["include_obfuscation"] = False
    if call.mode == "chat":
        body |= _tools(call) | _format(call)
    return body | _who(endpoint, call)


def _parameters(endpoint: Endpoint, call: ModelCall) -> dict[str, Any]:
    not_sent = set(NOT_SENT)
    if not call.tools:
        not_sent.add("parallel_tool_calls")
    if endpoint.profile == "openai":
        not_sent.add("reasoning_summary")
    return {name: value for name, value in call.parameters.items() if name not in not_sent and value is not None}


def _limit(endpoint: Endpoint, call: ModelCall, most: int) -> dict[str, int]:
    new = endpoint.profile == "openai" and call.mode == "chat"
    names = ("max_completion_tokens", "max_tokens")
    if any(name in call.parameters for name in names):
        return {}
    return {names[0] if new else names[1]: most}


def _who(endpoint: Endpoint, call: ModelCall) -> dict[str, str]:
    if endpoint.profile != "openai":
        return {"user": call.user} if call.user else {}
    who = {"safety_identifier": pseudonym(call.user)} if call.user and call.mode == "chat" else {}
    return who | ({"prompt_cache_key": call.cache_key} if call.cache_key and call.mode == "chat" else {})


def _tools(call: ModelCall) -> dict[str, Any]:
    tools = [_tool(tool.name, tool.description, tool.parameters, strict=tool.strict) for tool in call.tools]
    choice: object = call.tool_choice if tools and call.tool_choice != "auto" else None
    if call.answer is not None and call.answer_by == "tool":
        gives = answer_tool(call.answer)
        if not tools or call.tool_choice == "none":
            tools, choice = [], {"type": "function", "function": {"name": gives.name}}
        else:
            choice = "required"
        tools = [*tools, _tool(gives.name, gives.description, call.answer.schema_)]
    if not tools:
        return {}
    return {"tools": tools} | ({"tool_choice": choice} if choice else {})


def _tool(name: str, description: str, parameters: dict[str, Any], *, strict: bool = False) -> dict[str, Any]:
    function: dict[str, Any] = {"name": name, "description": description, "parameters": parameters}
    if strict:
        function["strict"] = True
    return {"type": "function", "function": function}


def _format(call: ModelCall) -> dict[str, Any]:
    if call.answer is not None and call.answer_by == "native":
        return {"response_format": {"type": "json_schema", "json_schema": answer_format(call.answer)}}
    asked = asked_format(call) if call.answer is None else None
    return {"response_format": asked} if asked else {}


def messages(call: ModelCall) -> list[dict[str, Any]]:
    """Write the messages. Files in the results of tools, which take text only, follow in a message of their own."""
    written: list[dict[str, Any]] = []
    files: list[Content] = []
    for message in call.messages:
        if files and not isinstance(message, ToolMessage):
            written.append({"role": "user", "content": _content(call, tuple(files))})
            files = []
        written.append(_message(call, message))
        if isinstance(message, ToolMessage):
            found = [part for part in message.content if isinstance(part, FilePart)]
            files += [TextPart(text=f"Files that {message.name} gave:"), *found] if found else []
    if files:
        written.append({"role": "user", "content": _content(call, tuple(files))})
    return written


def _message(call: ModelCall, message: Message) -> dict[str, Any]:
    match message:
        case SystemMessage():
            return {"role": "system", "content": message.text}
        case UserMessage():
            return {"role": "user", "content": _content(call, message.content)}
        case ToolMessage():
            text = text_of(message)
            return {"role": "tool", "tool_call_id": message.call_id, "content": text or "(no text)"}
        case AssistantMessage():
            text = text_of(message)
            calls = [_call(part) for part in message.content if isinstance(part, ToolCall)]
            if not calls:
                return {"role": "assistant", "content": text}
            return {"role": "assistant", "content": text or None, "tool_calls": calls}
        case _:
            assert_never(message)


def _call(part: ToolCall) -> dict[str, Any]:
    function = {"name": part.name, "arguments": sent_arguments(part)}
    return {"id": part.id, "type": "function", "function": function}


def _content(call: ModelCall, content: tuple[Content, ...]) -> str | list[dict[str, Any]]:
    # A plain string where it will do: not every server takes parts.
    if all(isinstance(part, TextPart) for part in content):
        return "".join(part.text for part in content if isinstance(part, TextPart))
    return [{"type": "text", "text": p.text} if isinstance(p, TextPart) else _file(call, p) for p in content]


def _file(call: ModelCall, part: FilePart) -> dict[str, Any]:
    file = loaded(call, part)
    if part.kind == "image":
        return {"type": "image_url", "image_url": {"url": data_url(file), "detail": part.detail}}
    if part.kind == "audio":
        format_ = _AUDIO.get(file.media_type, file.media_type.rpartition("/")[2])
        return {"type": "input_audio", "input_audio": {"data": in_base64(file), "format": format_}}
    if part.kind == "video":
        return {"type": "video_url", "video_url": {"url": data_url(file)}}
    if part.kind == "document":
        if (text := inline_text(file)) is not None:
            return {"type": "text", "text": text}
        in_base64(file)
        return {"type": "file", "file": {"filename": file.name, "file_data": data_url(file)}}
    assert_never(part.kind)
