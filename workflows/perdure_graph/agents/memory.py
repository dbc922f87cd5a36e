"""Which messages of an agent's conversation still fit its model's window.

`count` gives the tokens of messages, as the runtime counts them for the model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..models.messages import AssistantMessage, Message, SystemMessage, TextPart, ToolCall, ToolMessage, UserMessage

Count = Callable[[Sequence[Message]], int]

MARKER = "\n[... {cut} characters of this result were left out ...]\n"


def history_budget(window: int, max_tokens: int, present: int) -> int:
    """Give the tokens that are left for past turns, once the answer and what is present have theirs."""
    return max(0, window - max_tokens - present)


def turns(messages: Sequence[Message]) -> list[list[Message]]:
    """Split into turns, which begin at a user's message, without system messages."""
    found: list[list[Message]] = []
    for message in messages:
        if isinstance(message, SystemMessage):
            continue
        # Messages of a user that follow each other are one question.
        asks = isinstance(message, UserMessage) and not (found and isinstance(found[-1][-1], UserMessage))
        if asks or not found:
            found.append([])
        found[-1].append(message)
    return found


def trim(messages: Sequence[Message], budget: int, count: Count, *, since: int | None = None) -> list[Message]:
    """Drop whole old turns until the messages are within `budget` tokens, or only what must stay is left.

    System messages and the current turn stay; of the others, the newest that fit. A tool's result is never without its
    call, nor a call without its result: both are of one turn.

    since: where the current turn begins, if not at the last user's message (ReAct goes on with messages of a user).
    """
    if count(messages) <= budget:
        return list(messages)
    past = turns(messages if since is None else messages[:since])
    current = past[-1:] if since is None else [_others(messages[since:])]
    if since is None:
        past = past[:-1]
    kept = [each for turn in current for each in turn]
    left = budget - count([*only_system(messages), *kept])
    for turn in reversed(past):
        left -= count(turn)
        if left < 0:
            break
        kept = [*turn, *kept]
    return _in_order(messages, kept)


def only_system(messages: Sequence[Message]) -> list[Message]:
    """Keep what an agent without memory starts from."""
    return [message for message in messages if isinstance(message, SystemMessage)]


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


def _others(messages: Sequence[Message]) -> list[Message]:
    return [message for message in messages if not isinstance(message, SystemMessage)]


def _in_order(messages: Sequence[Message], kept: Sequence[Message]) -> list[Message]:
    """Put the system messages back where they stood. What is kept is the end of the others."""
    dropped = len(_others(messages)) - len(kept)
    ordered: list[Message] = []
    for message in messages:
        if isinstance(message, SystemMessage):
            ordered.append(message)
        elif dropped:
            dropped -= 1
        else:
            ordered.append(message)
    return ordered


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
