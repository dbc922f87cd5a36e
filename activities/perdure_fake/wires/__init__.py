"""One module per wire: `whole` makes the body of an answer, `events` those of its stream."""

from __future__ import annotations

from collections.abc import Callable

from ..answers import Answer
from ..asked import Asked
from ..plans import Event, Json
from ..script import Wire
from . import chat, completions, messages, responses

Whole = Callable[[Asked, Answer], Json]
Events = Callable[[Asked, Answer], list[Event]]

WIRES: dict[Wire, tuple[Whole, Events]] = {
    "openai-chat": (chat.whole, chat.events),
    "openai-responses": (responses.whole, responses.events),
    "anthropic-messages": (messages.whole, messages.events),
    "openai-completions": (completions.whole, completions.events),
}
