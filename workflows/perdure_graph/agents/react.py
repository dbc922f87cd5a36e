"""What a model is sent in a round of ReAct: the thread is told to it as its own notes, the scratchpad.

In a thread, a turn of the model is a message with its thought as text and its action as a call, and the observation is
that call's result. An action that could not be read is text; its observation is then a message of the user
(`unreadable`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ..loose_json import parsed
from ..models.messages import (
    AssistantMessage,
    Message,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolMessage,
    UserMessage,
    assistant,
    user,
)
from .effects import Opening
from .react_prompt import CLOSING_LINE, FORMS, has_place, system_text, template
from .standing import plain, says_nothing, seen
from .units import Action, Answer, Malformed, Thought, Unit

OBSERVATION = "Observation: "
CONTINUE = "continue"
_UNREAD = "This action could not be read, and nothing was done"


def chat_messages(
    opening: Opening,
    history: Sequence[Message],
    thread: Sequence[Message],
    closing: bool = False,
    note: str = "",
    *,
    keep_images: bool = True,
) -> list[Message]:
    """Put a round for a chat model together; it never ends with what the model said.

    thread: from its query on. closing: no tools any more; `note` says why.
    """
    query, *rest = thread
    files = keep_images or not rest
    asked = seen(query, opening.features, files=files) if isinstance(query, UserMessage) else query
    after = folded(rest)
    if closing:
        after.append(user(_closing_text(note)))
    elif after and not isinstance(after[-1], UserMessage):
        after.append(user(CONTINUE))
    return [SystemMessage(text=system_text(opening, closing)), *_past(opening, history, keep_images), asked, *after]


def completion_text(
    opening: Opening, history: Sequence[Message], thread: Sequence[Message], closing: bool = False, note: str = ""
) -> str:
    """Put a round for a completion model together. What a template has no place for comes last."""
    query, *rest = thread
    told = [_line(message) for message in _past(opening, history, False)]
    notes = [_line(message) for message in folded(rest)]
    if closing:
        notes.append(_closing_text(note))
    pieces = {
        "historic_messages": "\n\n".join(told),
        "query": plain(query),
        "agent_scratchpad": "\n\n".join(notes),
    }
    own = template(opening, closing)
    behind = {
        "historic_messages": pieces["historic_messages"],
        "query": f"Question: {pieces['query']}",
        "agent_scratchpad": pieces["agent_scratchpad"],
    }
    last = [text for name, text in behind.items() if text and not has_place(own, name)]
    text = "\n\n".join([system_text(opening, closing, pieces), *last])
    return text if text.endswith("Thought:") else f"{text}\n\nThought:"


def said(units: Sequence[Unit], call_id: str) -> AssistantMessage:
    """Make the message of a thread of what a model wrote, up to what counts of it.

    call_id: of its action, which a thread holds as a call.
    """
    texts: list[str] = []
    for unit in units:
        match unit:
            case Thought():
                texts.append(unit.text)
                continue
            case Action():
                given = json.dumps(unit.input, ensure_ascii=False)
                thought = [TextPart(text="\n".join(texts))] if texts else []
                return AssistantMessage(content=(*thought, ToolCall(id=call_id, name=unit.name, arguments=given)))
            case Answer():
                return assistant(unit.text)
            case Malformed():
                return assistant("\n".join([*texts, unit.text]))
    return assistant("\n".join(texts))


def unreadable(text: str) -> UserMessage:
    """Make the observation for an action that cannot be read."""
    shown = text if len(text) <= 500 else f"{text[:500]}..."
    return user(f"{OBSERVATION}{_UNREAD}: {shown}\n\nWrite it in one of these forms:\n\n{FORMS}")


def folded(messages: Sequence[Message]) -> list[Message]:
    """Tell what a model said and did as notes of its own, one message for all between two of a user's."""
    out: list[Message] = []
    notes: list[str] = []
    for index, message in enumerate(messages):
        match message:
            case AssistantMessage() if says_nothing(message):
                pass
            case AssistantMessage():
                notes += _turn(message, messages[index + 1 :])
            case UserMessage() if _is_observation(message):
                notes.append(plain(message))
            case UserMessage():
                out += [*_notes(notes), message]
                notes = []
            case ToolMessage() | SystemMessage():
                pass
    return [*out, *_notes(notes)]


def _past(opening: Opening, history: Sequence[Message], files: bool) -> list[Message]:
    return [
        seen(message, opening.features, files=files) if isinstance(message, UserMessage) else message
        for message in folded(history)
    ]


def _turn(message: AssistantMessage, behind: Sequence[Message]) -> list[str]:
    thought = plain(message)
    calls = [part for part in message.content if isinstance(part, ToolCall)]
    if not calls:
        unread = bool(behind) and _is_observation(behind[0])
        return [f"Thought: {thought}" if unread else f"Final Answer: {thought}"]
    results: dict[str, str] = {}
    for result in behind:
        if not isinstance(result, ToolMessage):
            break
        results[result.call_id] = plain(result)
    lines = [f"Thought: {thought}"]
    for call in calls:
        lines.append(f"Action: {_action(call)}")
        if call.id in results:
            lines.append(f"{OBSERVATION}{results[call.id]}")
    return lines


def _action(call: ToolCall) -> str:
    try:
        given: Any = parsed(call.arguments) if call.arguments.strip() else {}
    except (ValueError, RecursionError):
        given = call.arguments
    return json.dumps({"action": call.name, "action_input": given}, ensure_ascii=False)


def _notes(notes: list[str]) -> list[Message]:
    return [assistant("\n\n".join(notes))] if notes else []


def _is_observation(message: Message) -> bool:
    return isinstance(message, UserMessage) and plain(message).startswith(OBSERVATION + _UNREAD)


def _closing_text(note: str) -> str:
    return f"{note} {CLOSING_LINE}" if note else CLOSING_LINE


def _line(message: Message) -> str:
    return f"Question: {plain(message)}" if isinstance(message, UserMessage) else plain(message)
