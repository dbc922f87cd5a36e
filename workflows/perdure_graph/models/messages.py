"""Messages of a conversation with a model, in the form that every provider's can be made of."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

FileKind = Literal["image", "document", "audio", "video"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class TextPart(_Part):
    """Text."""

    type: Literal["text"] = "text"
    text: str


class FilePart(_Part):
    """A file, as a Dify file object; the runtime reads it when it sends the message. `detail` is for images."""

    type: Literal["file"] = "file"
    kind: FileKind
    file: dict[str, JsonValue]
    detail: Literal["low", "high"] = "high"


class ThinkingPart(_Part):
    """What a model thought before it answered; given back unchanged to the provider that wrote it, to no other.

    signature, data: what only that provider can read: the signature of `text`, or thinking in encrypted form.
    """

    type: Literal["thinking"] = "thinking"
    provider: str
    text: str = ""
    signature: str = ""
    data: str = ""
    id: str = ""


class ToolCall(_Part):
    """A call that a model asks for. `arguments` is its text as it came, meant to be a JSON object.

    broken: why it must not be performed (cut off, no JSON); the model is told so.
    """

    type: Literal["tool_call"] = "tool_call"
    id: str
    name: str
    arguments: str
    broken: str | None = None


Content = Annotated[TextPart | FilePart, Field(discriminator="type")]
Said = Annotated[TextPart | ThinkingPart | ToolCall, Field(discriminator="type")]


class SystemMessage(_Part):
    """Instructions."""

    role: Literal["system"] = "system"
    text: str


class UserMessage(_Part):
    """What the user says."""

    role: Literal["user"] = "user"
    content: tuple[Content, ...]


class AssistantMessage(_Part):
    """What the model said, in its order."""

    role: Literal["assistant"] = "assistant"
    content: tuple[Said, ...]


class ToolMessage(_Part):
    """The result of one tool call."""

    role: Literal["tool"] = "tool"
    call_id: str
    name: str
    content: tuple[Content, ...]
    is_error: bool = False


Message = Annotated[SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")]


class ToolSpec(_Part):
    """A tool that a model may call. `parameters` is a JSON Schema of type object."""

    name: str
    description: str = ""
    parameters: dict[str, Any]
    strict: bool = False


class AnswerSchema(_Part):
    """What structured output must look like: a JSON Schema of type object."""

    name: str = "answer"
    schema_: dict[str, Any] = Field(alias="schema")

    model_config = ConfigDict(frozen=True, populate_by_name=True)


def user(text: str, *files: FilePart) -> UserMessage:
    """Make a user message of a text and files."""
    return UserMessage(content=(*files, TextPart(text=text)) if text else files)


def assistant(text: str) -> AssistantMessage:
    """Make an assistant message of a text."""
    return AssistantMessage(content=(TextPart(text=text),))


def text_of(message: SystemMessage | UserMessage | AssistantMessage | ToolMessage) -> str:
    """Give the text of a message without files, thinking and calls."""
    if isinstance(message, SystemMessage):
        return message.text
    # By its type, not its class: that of a model is a question to Python code, for each part of a long thread.
    return "".join(part.text for part in message.content if part.type == "text")
