"""What an agent is at between two things that happen to it, and what it does next."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from ..effects import Effect
from ..models.effects import Remember, StreamTo
from ..models.messages import Message, ToolMessage, UserMessage
from ..models.usage import Usage
from ..nodes.base import Form, News
from .config import AgentConfig
from .effects import AgentAnswer, Opening
from .limits import Limits, Progress
from .tools import ToolErrorKind, ToolFacts

# Why an agent ends, beside the reasons of `limits.EndReason`.
End = Literal[
    "answer",
    "empty",
    "max_iterations",
    "tool_failures",
    "repetition",
    "oscillation",
    "refused",
    "denied",
    "length",
]
Phase = Literal["opening", "asking", "calling", "circling", "over"]
CallStatus = Literal["asked", "waiting", "running", "done", "failed"]


class Asked(BaseModel):
    """What an agent is asked, and for whom. thread: names this run of the agent. depth: runs around it, from 1."""

    model_config = ConfigDict(frozen=True)

    thread: str
    query: str
    files: tuple[dict[str, JsonValue], ...] = ()
    inputs: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    user: str = ""
    tenant: str = ""
    depth: int = 1
    remember: Remember | None = None
    stream: StreamTo | None = None


class CallState(BaseModel):
    """A call of the round at hand.

    arguments: None where it cannot be made. original: those of the model, where a person changed them.
    form: the open form that it waits for. tries, forms: effects and forms it has had, which makes their names.
    message: what the thread gets, unless its tool has kept that (`kept`).
    observation: the beginning of that; digest: of all of it. made: whether the tool was run at all.
    """

    id: str
    name: str
    given: str = ""
    arguments: dict[str, JsonValue] | None = None
    original: dict[str, JsonValue] | None = None
    signature: str = ""
    status: CallStatus = "asked"
    form: str = ""
    tries: int = 0
    forms: int = 0
    made: bool = False
    message: ToolMessage | None = None
    kept: bool = False
    observation: str = ""
    digest: str = ""
    size: int = 0
    error: str = ""
    error_kind: ToolErrorKind | None = None
    began: int = 0
    elapsed: float = 0.0
    files: tuple[dict[str, JsonValue], ...] = ()

    @property
    def settled(self) -> bool:
        """Whether nothing more comes of it."""
        return self.status in ("done", "failed")


class RoundSaid(BaseModel):
    """What the model said in the round at hand, for those who watch."""

    model_config = ConfigDict(frozen=True)

    thought: str = ""
    reasoning: str = ""
    usage: dict[str, Any] = {}
    provider: str = ""
    model: str = ""
    simulated: bool = False


class AgentState(BaseModel):
    """An agent between two things that happen to it; plain data, the same after a trip through JSON.

    query: held until the agent is open. opening: without what the store has of it (`opening_kept`).
    round: the last that was asked for, `began` when. kept, fresh: the thread, as `AskRound` has it.
    first: place of the message of the first call of the round.
    closing: why the round at hand is the last one; `stopping`: why the agent ends once its tools are through.
    text: the last that the model said; `found`: the last result of a tool. made: calls that were made.
    """

    thread: str
    query: UserMessage
    inputs: dict[str, JsonValue] = {}
    user: str = ""
    tenant: str = ""
    depth: int = 1
    remember: Remember | None = None
    stream: StreamTo | None = None
    phase: Phase = "opening"
    opening: Opening | None = None
    opening_kept: bool = False
    round: int = 0
    began: int = 0
    kept: int = 0
    fresh: list[Message | None] = []
    first: int = 0
    calls: list[CallState] = []
    said: RoundSaid = RoundSaid()
    progress: Progress = Progress()
    closing: End | None = None
    note: str = ""
    stopping: End | None = None
    text: str = ""
    found: str = ""
    files: list[dict[str, JsonValue]] = []
    made: int = 0
    usage: Usage = Usage()
    simulated: bool = False

    def copied(self) -> Self:
        """Copy what is changed in place."""
        calls = [call.model_copy() for call in self.calls]
        return self.model_copy(update={"calls": calls, "fresh": list(self.fresh), "files": list(self.files)})

    @property
    def ready(self) -> Opening:
        """The opening of an agent that is open."""
        assert self.opening is not None
        return self.opening

    @property
    def length(self) -> int:
        """Messages of the thread so far."""
        return self.kept + len(self.fresh)

    def facts(self, name: str) -> ToolFacts | None:
        """Find a tool by the name that the model calls it; None where there is none for it."""
        facts = self.ready.toolset.facts
        return next((one for one in facts if one.name == name and one.use.enabled), None)


@dataclass(frozen=True, slots=True)
class Move:
    """What an agent does next: what begins now, under names of its own; what it tells; its answer, at the end."""

    state: AgentState
    perform: tuple[tuple[str, Effect], ...] = ()
    wait: tuple[tuple[str, Form], ...] = ()
    tell: tuple[News, ...] = ()
    answer: AgentAnswer | None = None


@dataclass(slots=True)
class Making:
    """A move in the making; its state is changed in place. now: milliseconds since the epoch, as all times here."""

    config: AgentConfig
    state: AgentState
    now: int = 0
    perform: list[tuple[str, Effect]] = field(default_factory=list[tuple[str, Effect]])
    wait: list[tuple[str, Form]] = field(default_factory=list[tuple[str, Form]])
    tell: list[News] = field(default_factory=list[News])
    answer: AgentAnswer | None = None

    def move(self) -> Move:
        """Give what it has come to."""
        return Move(self.state, tuple(self.perform), tuple(self.wait), tuple(self.tell), self.answer)

    @property
    def limits(self) -> Limits:
        """Bounds of the agent."""
        return limits_of(self.config)


def limits_of(config: AgentConfig) -> Limits:
    """Read the bounds of an agent."""
    given = config.limits
    return Limits(
        rounds=given.max_iteration,
        failures=given.max_tool_failures,
        failures_in_row=given.max_tool_failures_in_row,
        repeats=given.repeats,
        cycles=given.cycles,
        on_oscillation=given.on_oscillation,
    )
