"""How long an agent may go on: rounds, failed calls, repeated calls, and going in circles.

`Progress` is what has happened so far and travels in the agent's state. `judge` decides on a call before it is made,
`record` notes what came of it, `end_round` says how to go on.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

DEFAULT_ROUNDS, MOST_ROUNDS = 5, 99
LONGEST_CYCLE = 4

OnOscillation = Literal["nudge", "ask", "stop"]
EndReason = Literal["max_iterations", "tool_failures", "repetition", "oscillation"]


def _not_once(value: int) -> int:
    if value == 1:
        raise ValueError("once is no repetition: give 2 or more, or 0 to switch this off")
    return value


Repeats = Annotated[int, Field(ge=0), AfterValidator(_not_once)]


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True)


class Limits(_Data):
    """Bounds of one run of an agent. 0 switches one off, except that of rounds.

    rounds: rounds with tools; one more without tools may follow to close.
    failures, failures_in_row: failed calls.
    repeats: how often the same call may stand in a row: that one is refused, the next closes the run.
    cycles: how often the same calls with the same results may come round before `on_oscillation` applies.
    """

    rounds: int = Field(DEFAULT_ROUNDS, ge=1, le=MOST_ROUNDS)
    failures: int = Field(5, ge=0)
    failures_in_row: int = Field(3, ge=0)
    repeats: Repeats = 3
    cycles: Repeats = 3
    on_oscillation: OnOscillation = "nudge"


class Progress(_Data):
    """What happened so far.

    in_row: how often the last call was asked for in a row; `most_in_row`: how often any was.
    recent: calls with their results, newest last.
    """

    rounds: int = 0
    failures: int = 0
    failures_in_row: int = 0
    last_call: str = ""
    in_row: int = 0
    most_in_row: int = 0
    recent: tuple[str, ...] = ()
    nudged: bool = False


class Run(_Data):
    """Make the call."""

    kind: Literal["run"] = "run"


class Refuse(_Data):
    """Do not make the call; `observation` goes to the model instead of a result."""

    kind: Literal["refuse"] = "refuse"
    observation: str


class GoOn(_Data):
    """Ask the model again."""

    kind: Literal["go_on"] = "go_on"


class Nudge(_Data):
    """Ask the model again, with a note."""

    kind: Literal["nudge"] = "nudge"
    note: str


class AskHuman(_Data):
    """Wait for somebody to say how to go on."""

    kind: Literal["ask"] = "ask"
    question: str


class Close(_Data):
    """Ask the model once more, without tools and with a note: what it says then is the answer."""

    kind: Literal["close"] = "close"
    reason: EndReason
    note: str


class Stop(_Data):
    """End here: what there is so far is the answer."""

    kind: Literal["stop"] = "stop"
    reason: EndReason


Judgement = Annotated[Run | Refuse, Field(discriminator="kind")]
Decision = Annotated[GoOn | Nudge | AskHuman | Close | Stop, Field(discriminator="kind")]


def signature(tool: str, arguments: JsonValue) -> str:
    """Name a call by what it asks for: the same for arguments that differ in the order of their keys only."""
    return digest(json.dumps([tool, arguments], sort_keys=True, separators=(",", ":")))


def judge(progress: Progress, limits: Limits, tool: str, call: str) -> tuple[Progress, Judgement]:
    """Decide on a call of a tool before it is made, in the order in which the model asks; `call` is its signature."""
    times = progress.in_row + 1 if call == progress.last_call else 1
    most = max(times, progress.most_in_row)
    progress = progress.model_copy(update={"last_call": call, "in_row": times, "most_in_row": most})
    if not limits.repeats or times < limits.repeats:
        return progress, Run()
    return progress, Refuse(
        observation=f"Tool {tool!r} was not run: this is call number {times} in a row with the same arguments. "
        "Use the results that are there, change the arguments, or give the final answer."
    )


def record(progress: Progress, call: str, result: str, *, failed: bool = False) -> Progress:
    """Note the result of a call, in the order of the calls; one that was refused has none to note."""
    return progress.model_copy(
        update={
            "failures": progress.failures + failed,
            "failures_in_row": progress.failures_in_row + 1 if failed else 0,
            # A call that brings something new each time, as when waiting for a job, is no circle.
            "recent": (*progress.recent, digest(f"{call} {result}")),
        }
    )


def end_round(progress: Progress, limits: Limits) -> tuple[Progress, Decision]:
    """Decide how to go on behind a round whose calls are all recorded."""
    progress = progress.model_copy(
        update={"rounds": progress.rounds + 1, "recent": progress.recent[-_remembered(limits) :]}
    )
    if failing := _failing(progress, limits):
        return progress, Close(reason="tool_failures", note=f"{failing} {_CLOSING}")
    if limits.repeats and progress.most_in_row > limits.repeats:
        return progress, Close(reason="repetition", note=f"The same call was asked for again and again. {_CLOSING}")
    if limits.cycles and circling(progress.recent, limits.cycles):
        return _oscillating(progress, limits)
    if progress.rounds >= limits.rounds:
        note = f"The limit of {limits.rounds} rounds with tools is reached. {_CLOSING}"
        return progress, Close(reason="max_iterations", note=note)
    return progress, GoOn()


def not_run(tool: str, limits: Limits) -> str:
    """Give the observation for a call that the model asks for in the closing round."""
    return f"Tool {tool!r} was not run: the limit of {limits.rounds} rounds with tools is reached."


def answered(progress: Progress) -> Progress:
    """Note that somebody said how to go on: what was done before is no circle any more."""
    return progress.model_copy(update={"recent": (), "last_call": "", "in_row": 0, "most_in_row": 0, "nudged": False})


def circling(recent: tuple[str, ...], cycles: int) -> int:
    """Say how many calls come round again and again at the end, `cycles` times at least; 0 if none do.

    One call that repeats itself is for `judge`.
    """
    for length in range(2, LONGEST_CYCLE + 1):
        tail = recent[-length * cycles :]
        if cycles and len(tail) == length * cycles and tail == tail[:length] * cycles and len(set(tail)) > 1:
            return length
    return 0


_CLOSING = "No more tools can be used. Give the final answer from what is known, and say what is missing."


def _oscillating(progress: Progress, limits: Limits) -> tuple[Progress, Decision]:
    fresh = progress.model_copy(update={"recent": ()})
    if progress.rounds >= limits.rounds:
        return fresh, Close(reason="oscillation", note=f"The same calls came round with the same results. {_CLOSING}")
    match limits.on_oscillation:
        case "nudge" if not progress.nudged:
            note = (
                "The same calls came round again with the same results. Try something else, or give the final answer."
            )
            return fresh.model_copy(update={"nudged": True}), Nudge(note=note)
        case "ask":
            return fresh, AskHuman(question="The agent goes in circles: the same calls, the same results. Go on?")
        case "nudge" | "stop":
            return fresh, Stop(reason="oscillation")


def _failing(progress: Progress, limits: Limits) -> str:
    if limits.failures and progress.failures >= limits.failures:
        return f"{progress.failures} tool calls failed."
    if limits.failures_in_row and progress.failures_in_row >= limits.failures_in_row:
        return f"{progress.failures_in_row} tool calls failed in a row."
    return ""


def _remembered(limits: Limits) -> int:
    return max(1, limits.cycles * LONGEST_CYCLE)


def digest(text: str) -> str:
    """Make of a text what is compared in its place."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
