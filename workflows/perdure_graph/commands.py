"""What the outside tells a run, and what the shell hands back: everything `step` consumes.

Commands come from people (pause, resume, stop, submit); replies, failures and timers come from effects that
the run asked for earlier.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, JsonValue

from .effects import Effect, Reply


class Pause(BaseModel):
    """Start nothing new; what is in flight finishes and is kept."""

    model_config = ConfigDict(frozen=True)

    reason: str = ""


class Resume(BaseModel):
    """Go on from a pause."""

    model_config = ConfigDict(frozen=True)


class Stop(BaseModel):
    """End the run now; what is in flight is cancelled, outputs so far are kept."""

    model_config = ConfigDict(frozen=True)

    reason: str = ""


class Submit(BaseModel):
    """Answer a form. `form` is the key of the waiting node (or its id when only one waits)."""

    model_config = ConfigDict(frozen=True)

    form: str
    action: str
    values: dict[str, JsonValue] = {}


Command = Pause | Resume | Stop | Submit


@dataclass(frozen=True, slots=True)
class Begin:
    """Start the root node; the first thing that happens in a run, unless a command came before."""


@dataclass(frozen=True, slots=True)
class EffectDone:
    """An effect came back."""

    key: str
    reply: Reply


@dataclass(frozen=True, slots=True)
class EffectFailed:
    """An effect failed for good."""

    key: str
    message: str
    error_type: str


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A timer that the run asked for is due."""

    key: str


Input = Command | Begin | EffectDone | EffectFailed | TimerFired


@dataclass(frozen=True, slots=True)
class Call:
    """Ask the shell to perform an effect. `key` is unique in the run; `title` is for people."""

    key: str
    node_id: str
    title: str
    effect: Effect


@dataclass(frozen=True, slots=True)
class StartTimer:
    """Ask the shell to send `TimerFired(key)` after `seconds`."""

    key: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Cancel:
    """Ask the shell to cancel an effect or a timer; nothing comes back for it."""

    key: str


Dispatch = Call | StartTimer | Cancel
