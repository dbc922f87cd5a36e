"""What the outside tells a run, and what the shell hands back: everything `step` consumes.

Commands come from people; replies, failures and timers come from effects that the run asked for earlier. A command
may carry an `id` of the sender's choice: a second one with the same id changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, JsonValue

from .children import ChildNews
from .effects import Effect, Reply
from .window import WindowOutcome, WindowRequest


class _Command(BaseModel):
    model_config = ConfigDict(frozen=True)

    id: str = ""


class Pause(_Command):
    """Start nothing new; what is in flight finishes and is kept."""

    reason: str = ""


class Resume(_Command):
    """Go on from a pause."""


class Stop(_Command):
    """End the run now; what is in flight is cancelled, outputs so far are kept."""

    reason: str = ""


class Submit(_Command):
    """Answer a form. `form` is the key of the waiting node (or its id when only one waits)."""

    form: str
    action: str
    values: dict[str, JsonValue] = {}


class SetVariables(_Command):
    """Overwrite variables, by node id (or `conversation`, `env`) and name: the shape that the query `variables` has."""

    variables: dict[str, dict[str, JsonValue]]


class Retry(_Command):
    """Run a node again that waits for an operator, or at once one that waits for its next attempt.

    node: its key (or its id when only one such node waits).
    outputs: take these as the node's outputs instead, because somebody looked and the work is done.
    """

    node: str
    outputs: dict[str, JsonValue] | None = None


class Approve(_Command):
    """Let a call be made that waits for approval: `submit` of its form, in other words.

    call: key of the form, or the id of the call where only one such call waits.
    arguments: make it with these instead.
    """

    call: str
    arguments: dict[str, JsonValue] | None = None
    comment: str = ""


class Deny(_Command):
    """Have a call not made that waits for approval; its model is told the reason."""

    call: str
    reason: str = ""


Command = Pause | Resume | Stop | Submit | SetVariables | Retry | Approve | Deny


@dataclass(frozen=True, slots=True)
class Begin:
    """Start the root node, or the items of a window; the first thing that happens, unless a command came before."""


@dataclass(frozen=True, slots=True)
class EffectDone:
    """An effect came back."""

    key: str
    reply: Reply


@dataclass(frozen=True, slots=True)
class EffectFailed:
    """An effect failed for good.

    interrupted: nobody knows whether it was done, because its worker fell silent.
    refused: it was not done, and may be once an operator has seen to it; `effect` is what was asked for.
    """

    key: str
    message: str
    error_type: str
    interrupted: bool = False
    refused: bool = False
    effect: Effect | None = None


@dataclass(frozen=True, slots=True)
class WindowDone:
    """A window of an iteration has ended, well or not."""

    key: str
    outcome: WindowOutcome


@dataclass(frozen=True, slots=True)
class WindowFailed:
    """A window could not run at all: its child workflow was ended from outside, or broke a limit."""

    key: str
    message: str
    error_type: str


@dataclass(frozen=True, slots=True)
class WindowPaused:
    """A window has reached rest after a pause, or has left it."""

    key: str
    paused: bool


@dataclass(frozen=True, slots=True)
class ChildHeard:
    """A child that performs an effect tells what it waits for."""

    news: ChildNews


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A timer that the run asked for is due."""

    key: str


@dataclass(frozen=True, slots=True)
class Drain:
    """Start nothing new for a while: the shell wants to hand the state over."""


@dataclass(frozen=True, slots=True)
class GoOn:
    """Start again what `Drain` held back."""


Happened = (
    Begin
    | Drain
    | GoOn
    | EffectDone
    | EffectFailed
    | WindowDone
    | WindowFailed
    | WindowPaused
    | ChildHeard
    | TimerFired
)
Input = Command | Happened


@dataclass(frozen=True, slots=True)
class Call:
    """Ask the shell to perform an effect, one for a child as a child workflow. `key` is unique in the run; `title` is
    for people.
    """

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


@dataclass(frozen=True, slots=True)
class OpenWindow:
    """Ask the shell to run a window of an iteration as a child workflow."""

    key: str
    request: WindowRequest


@dataclass(frozen=True, slots=True)
class TellWindows:
    """Ask the shell to pass a command on to all child workflows: windows, and those that perform effects."""

    command: Pause | Resume


@dataclass(frozen=True, slots=True)
class TellChild:
    """Ask the shell to pass a command on to the child that performs the effect `key`."""

    key: str
    command: Submit | Retry


Dispatch = Call | StartTimer | Cancel | OpenWindow | TellWindows | TellChild
