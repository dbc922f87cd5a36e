"""Past turns of a conversation: which of them fit, and where they go in a prompt. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from perdure_graph.models.effects import InvokeModel, Remember
from perdure_graph.models.messages import Message, TextPart, UserMessage, assistant, user
from perdure_graph.models.prompt import HISTORIES

# Tokens of the past where nobody says how large the model's window is.
UNKNOWN_WINDOW = 8_000
# Tokens left to the answer where nobody says how long it may get.
ANSWER = 1_024

Turn = tuple[str, str]
Count = Callable[[Sequence[Message]], int]


def most_turns(remember: Remember) -> int | None:
    """So many turns at most; a turn is two messages."""
    return None if remember.most_messages is None else remember.most_messages // 2


def room(window: int | None, prompt: int, answer: int | None) -> int:
    """Tokens that the past may have beside the prompt and the answer."""
    if window is None:
        return UNKNOWN_WINDOW
    return max(0, window - prompt - (ANSWER if answer is None else answer))


def fitting(turns: Sequence[Turn], tokens: int, count: Count) -> list[Turn]:
    """Keep the newest turns that fit into so many tokens, whole."""
    kept: list[Turn] = []
    left = tokens
    for turn in reversed(turns):
        left -= count(_messages(turn, "", ""))
        if left < 0:
            break
        kept.insert(0, turn)
    return kept


def with_past(effect: InvokeModel, turns: Sequence[Turn]) -> tuple[Message, ...]:
    """Put past turns before the last user message; in a prompt of one text, where it asks for them."""
    remember = effect.remember
    if remember is None:
        return effect.messages
    if effect.mode == "completion":
        return _told(effect.messages, _as_text(turns, remember.user_prefix, remember.assistant_prefix))
    past = [m for turn in turns for m in _messages(turn, remember.user_prefix, remember.assistant_prefix)]
    at = max((n for n, message in enumerate(effect.messages) if message.role == "user"), default=len(effect.messages))
    return (*effect.messages[:at], *past, *effect.messages[at:])


def _messages(turn: Turn, user_prefix: str, assistant_prefix: str) -> list[Message]:
    query, answer = turn
    return [user(_prefixed(user_prefix, query) or " "), assistant(_prefixed(assistant_prefix, answer) or " ")]


def _prefixed(prefix: str, text: str) -> str:
    return f"{prefix}: {text}" if prefix else text


def _as_text(turns: Sequence[Turn], user_prefix: str, assistant_prefix: str) -> str:
    lines = [
        f"{_prefixed(user_prefix or 'Human', query)}\n{_prefixed(assistant_prefix or 'Assistant', answer)}"
        for query, answer in turns
    ]
    return "\n".join(lines)


def _told(messages: tuple[Message, ...], past: str) -> tuple[Message, ...]:
    told = False

    def fill(text: str) -> str:
        nonlocal told
        told = told or HISTORIES in text
        return text.replace(HISTORIES, past)

    filled: list[Message] = []
    for message in messages:
        if isinstance(message, UserMessage):
            parts = tuple(
                part.model_copy(update={"text": fill(part.text)}) if isinstance(part, TextPart) else part
                for part in message.content
            )
            filled.append(message.model_copy(update={"content": parts}))
        elif message.role == "system":
            filled.append(message.model_copy(update={"text": fill(message.text)}))
        else:
            filled.append(message)
    if not told and past:
        filled.insert(max(0, len(filled) - 1), user(past))
    return tuple(filled)
