"""Names of rounds, thoughts and calls: made of where they stand, so that a replay makes the same."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from ..models.messages import ToolCall


def round_id(agent: str, number: int) -> str:
    """Name a round of an agent; rounds count from 1."""
    return _made("round", agent, number)


def thought_id(agent: str, number: int) -> str:
    """Name the thought of a round."""
    return _made("thought", agent, number)


def call_id(agent: str, number: int, index: int) -> str:
    """Name a call of a round by its place there, from 0; for calls that the model gave no id of their own."""
    return _made("call", agent, number, index)


def tool_key(agent: str, number: int, call: str) -> str:
    """Give what makes a call the same one when it is tried again: its key for tools that know such keys."""
    return _made("key", agent, number, call)


def named(calls: Sequence[ToolCall], agent: str, number: int) -> list[ToolCall]:
    """Give each call of a round an id of its own: those without one, and those that repeat one, get a new one."""
    given = {call.id for call in calls}
    taken: set[str] = set()
    unique: list[ToolCall] = []
    for index, call in enumerate(calls):
        own = call.id
        if not own or own in taken:
            own = _free(call_id(agent, number, index), given | taken)
        taken.add(own)
        unique.append(call if own == call.id else call.model_copy(update={"id": own}))
    return unique


def _free(wanted: str, taken: set[str]) -> str:
    """Find an id that the model did not make up itself."""
    name, turn = wanted, 1
    while name in taken:
        turn += 1
        name = f"{wanted}_{turn}"
    return name


def _made(kind: str, *parts: str | int) -> str:
    # Each part with its length: ("a", "bc") and ("ab", "c") must differ.
    text = "".join(f"{len(str(part))}:{part}" for part in (kind, *parts))
    return f"{kind}_{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:24]}"
