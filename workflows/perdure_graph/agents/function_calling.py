"""What a model that calls tools itself is sent in a round."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ..models.messages import AssistantMessage, Message, SystemMessage, ToolMessage, UserMessage, user
from .effects import Opening
from .standing import says_nothing, seen, standing


def messages(
    opening: Opening,
    thread: Sequence[Message],
    closing: bool = False,
    note: str = "",
    *,
    history: Sequence[Message] = (),
    keep_images: bool = True,
) -> list[Message]:
    """Put a round together: what stands before everything, past turns, the thread from its query on, a closing note.

    keep_images: whether files go along in rounds after the first.
    """
    first = standing(opening)
    system: list[Message] = [SystemMessage(text=first)] if first else []
    past = [message for message in history if not isinstance(message, SystemMessage)]
    files = keep_images or not any(isinstance(message, AssistantMessage) for message in thread)
    shown = [*system, *_shown(past, opening, keep_images), *_shown(thread, opening, files)]
    # The note is of this round alone: it is no message of the thread.
    return [*shown, user(note)] if closing and note else shown


def tool_choice(opening: Opening, closing: bool) -> Literal["auto", "none"]:
    """Say whether tools may be called. Those of a closing round are sent all the same: calls before it name them."""
    return "none" if closing or not opening.toolset.specs else "auto"


def _shown(given: Sequence[Message], opening: Opening, files: bool) -> list[Message]:
    return [
        seen(message, opening.features, files=files) if isinstance(message, UserMessage | ToolMessage) else message
        for message in given
        if not says_nothing(message)
    ]
