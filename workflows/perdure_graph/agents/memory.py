"""Which messages of an agent's conversation go into its prompts, and which of them still fit its model's window.

`count` gives the tokens of messages, as the runtime counts them for the model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile

from ..models.messages import (
    AssistantMessage,
    Message,
    Said,
    TextPart,
    ToolCall,
    ToolMessage,
    UserMessage,
    assistant,
    user,
)
from .ids import call_id
from .standing import seen

Count = Callable[[Sequence[Message]], int]

MARKER = "\n[... {cut} characters of this result were left out ...]\n"


@dataclass(frozen=True, slots=True)
class PastTurn:
    """A turn of a conversation, as messages for later prompts. brief: what was asked and answered; whole: all of it."""

    brief: tuple[Message, ...]
    whole: tuple[Message, ...]


def past_turn(query: str, answer: str, said: Sequence[Message] = (), thread: str = "") -> PastTurn:
    """Make a turn for later prompts, which ends with what the user saw.

    said: what was said in it, from its query on, in the thread of that name. Files are told by marks. Calls without a
        result, and results without a call, are left out; calls get ids of their own, for models repeat theirs.
    """
    brief = (user(query or " "), assistant(answer or " "))
    told = _paired(said, thread)
    while told and told[-1].role == "assistant":
        told.pop()
    whole = (*told, brief[1]) if told and told[0].role == "user" else brief
    return PastTurn(brief, whole)


def newest(past: Sequence[PastTurn], budget: int, count: Count) -> list[tuple[Message, ...]]:
    """Keep the newest turns that fit into `budget` tokens, and none behind a gap: whole, or else brief.

    A tool's result is never without its call, nor a call without its result: both are of one turn.
    """
    kept: list[tuple[Message, ...]] = []
    left = budget
    for turn in reversed(past):
        # Counting takes longest, so each form is counted once.
        sized = ((form, count(form)) for form in (turn.whole, turn.brief))
        form, size = next((one for one in sized if one[1] <= left), (None, 0))
        if form is None:
            break
        left -= size
        kept.insert(0, form)
    return kept


def _paired(said: Sequence[Message], thread: str) -> list[Message]:
    told: list[Message] = []
    for place, message in enumerate(said):
        if isinstance(message, AssistantMessage):
            results = takewhile(lambda one: isinstance(one, ToolMessage), said[place + 1 :])
            told += _with_results(message, [one for one in results if isinstance(one, ToolMessage)], thread, place)
        elif isinstance(message, UserMessage):
            told.append(seen(message, (), files=False))
    return told


def _with_results(message: AssistantMessage, results: Sequence[ToolMessage], thread: str, place: int) -> list[Message]:
    """Give a message with those of its calls that have a result, and these."""
    by_call = {result.call_id: result for result in results}
    content: list[Said] = []
    behind: list[Message] = []
    for part in message.content:
        if not isinstance(part, ToolCall):
            content.append(part)
        elif (result := by_call.pop(part.id, None)) is not None:
            own = call_id(thread, place, len(behind))
            content.append(part.model_copy(update={"id": own}))
            behind.append(seen(result, (), files=False).model_copy(update={"call_id": own}))
    return [message.model_copy(update={"content": tuple(content)}), *behind] if content else []


def shorten_results(messages: Sequence[Message], budget: int, count: Count, *, keep: int = 2_000) -> list[Message]:
    """Cut tool results to their beginning and end, oldest first, until the messages are within `budget` tokens.

    keep: characters that stay of a result. What is still too much then is for the caller to end.
    """
    short = list(messages)
    total = count(short)
    for index, message in enumerate(messages):
        if total <= budget:
            break
        if isinstance(message, ToolMessage) and (cut := _cut(message, keep)) is not message:
            total += count([cut]) - count([message])
            short[index] = cut
    return short


def cut_results(messages: Sequence[Message], keep: int) -> list[Message]:
    """Cut each tool result to its beginning and end; `keep` characters stay of it."""
    return [_cut(message, keep) if isinstance(message, ToolMessage) else message for message in messages]


def are_paired(messages: Sequence[Message]) -> bool:
    """Say whether each call has its result behind it, before anybody else speaks, and each result its call."""
    open_calls: set[str] = set()
    for message in messages:
        if isinstance(message, ToolMessage):
            if message.call_id not in open_calls:
                return False
            open_calls.remove(message.call_id)
        elif open_calls:
            return False
        elif isinstance(message, AssistantMessage):
            open_calls = {part.id for part in message.content if isinstance(part, ToolCall)}
    return not open_calls


def _cut(message: ToolMessage, keep: int) -> ToolMessage:
    """Cut each long text of a result; files stay."""
    parts = tuple(
        TextPart(text=_head_and_tail(part.text, keep)) if isinstance(part, TextPart) else part
        for part in message.content
    )
    return message if parts == message.content else message.model_copy(update={"content": parts})


def _head_and_tail(text: str, keep: int) -> str:
    head, tail = keep - keep // 2, keep // 2
    short = text[:head] + MARKER.format(cut=len(text) - keep) + (text[-tail:] if tail else "")
    return short if len(short) < len(text) else text
