"""Timers of a run as data: what a run that moved to a fresh history must set again."""

from __future__ import annotations

from .commands import StartTimer
from .state import RunState

RUN_DEADLINE = "!deadline"


def armed(state: RunState, now: int) -> list[StartTimer]:
    """List every timer that a run waits for; one that is overdue fires at once."""
    if state.ended:
        return []
    due = {key: place.due for table in (state.timers, state.deadlines, state.limits) for key, place in table.items()}
    if state.expires_at is not None:
        due[RUN_DEADLINE] = state.expires_at
    return [StartTimer(key=key, seconds=max(0, at - now) / 1000) for key, at in due.items()]
