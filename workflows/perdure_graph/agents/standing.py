"""What an agent's model is told before anything is asked, and which files of a message it can see."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar

from ..models.messages import (
    AssistantMessage,
    Content,
    FileKind,
    FilePart,
    Message,
    TextPart,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from .effects import Opening

Seen = TypeVar("Seen", bound=UserMessage | ToolMessage)

# What a model must be able to do to be sent files of a kind.
_NEEDS: dict[FileKind, str] = {"image": "vision", "document": "document", "audio": "audio", "video": "video"}


def standing(opening: Opening) -> str:
    """Join the instruction, what is known of the user, and which tools are out of order."""
    parts = [opening.instruction.strip()]
    if opening.facts:
        known = "\n".join(f"- {' '.join(fact.split())}" for fact in opening.facts)
        parts.append(f"What you know of the user from before:\n{known}")
    if opening.toolset.skipped:
        names = ", ".join(name for name, _ in opening.toolset.skipped)
        parts.append(f"These tools cannot be used at the moment: {names}. Say so where an answer would need them.")
    return "\n\n".join(part for part in parts if part)


def seen(message: Seen, features: Collection[str], *, files: bool = True) -> Seen:
    """Leave the files in a message that a model with these features can see; marks stand in place of the others.

    files: False puts marks in place of all.
    """
    parts = [_seen(part, features, files) for part in message.content]
    if all(one is other for one, other in zip(parts, message.content, strict=True)):
        return message
    return message.model_copy(update={"content": tuple(_joined(parts))})


def says_nothing(message: Message) -> bool:
    """Say whether a message of the model has neither text nor calls; providers refuse such."""
    if not isinstance(message, AssistantMessage):
        return False
    return not plain(message).strip() and not any(isinstance(part, ToolCall) for part in message.content)


def plain(message: Message) -> str:
    """Give what a message says as text, with marks in place of files."""
    if message.role == "system":
        return message.text
    if message.role == "assistant":
        return "".join(part.text for part in message.content if isinstance(part, TextPart))
    parts = _joined([_seen(part, (), False) for part in message.content])
    return "\n".join(part.text for part in parts if isinstance(part, TextPart))


def _seen(part: Content, features: Collection[str], files: bool) -> Content:
    if isinstance(part, TextPart) or (files and _NEEDS[part.kind] in features):
        return part
    return TextPart(text="[image]" if part.kind == "image" else "[file]")


def _joined(parts: list[Content]) -> list[Content]:
    """Put texts that follow each other on lines of one text."""
    joined: list[Content] = []
    for part in parts:
        last = joined[-1] if joined else None
        if isinstance(part, FilePart) or not isinstance(last, TextPart):
            joined.append(part)
        else:
            joined[-1] = TextPart(text=f"{last.text}\n{part.text}")
    return joined
