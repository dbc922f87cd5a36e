"""The effects of an agent: to get ready, to ask its model for a round, to run a tool; and agents as effects.

A thread is the list of messages of one agent's run: 0 is the query, then what the model said and what its tools gave,
in order. It lies in the run store, message by message; the workflow holds what the store has not acknowledged, so a
store that is away costs history, not the run. `kept` in a reply says whether the store has it.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from ..children import ChildEffect
from ..effects import Effect, Reply
from ..models.effects import Finish, Remember, StreamTo
from ..models.messages import AssistantMessage, Message, UserMessage
from ..models.usage import Usage
from ..options import RetryClass
from .config import AgentConfig, AgentModel, Strategy, ToolUse
from .tools import ReadCall, ToolErrorKind, ToolPart, Toolset
from .units import Unit


class Opening(BaseModel):
    """What stays the same for all rounds of an agent; kept in the store under position -1 of the thread.

    strategy: the one in use; `fallback` says why it is not the one asked for.
    features: of the model. instruction: with its inputs filled in. facts: of the long-term memory.
    """

    model_config = ConfigDict(frozen=True)

    strategy: Strategy
    fallback: str = ""
    features: tuple[str, ...] = ()
    instruction: str = ""
    prompt_template: str = ""
    toolset: Toolset = Toolset()
    facts: tuple[str, ...] = ()
    query: UserMessage


class AgentOpened(Reply):
    """An agent is ready. opening: without `toolset.specs` and `query` where the store has them (`kept`)."""

    opening: Opening
    kept: bool = False


class OpenAgent(Effect):
    """Get an agent ready: choose the strategy, load its tools, find what it knows of the user."""

    activity = "open_agent"
    effect_class = "io"
    reply = AgentOpened

    thread: str
    config: AgentConfig
    query: UserMessage
    inputs: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    user: str = ""
    tenant: str = ""
    depth: int = 1

    def budget_s(self) -> float:
        """Servers of tools may have to be started."""
        return 120.0


class RoundAnswer(Reply):
    """What a model said in a round.

    text: for people: of ReAct the final answer, or the thought.
    units: of ReAct, else empty. calls: in order, with ids; none in an answer.
    message: the assistant's message, where the store does not have it.
    kept: whether it has that, all of `fresh`, and the opening.
    dropped: past messages that did not fit; shortened: results that were cut to fit. full: nothing more fits.
    """

    text: str = ""
    reasoning: str = ""
    units: tuple[Unit, ...] = ()
    calls: tuple[ReadCall, ...] = ()
    finish: Finish = "stop"
    refusal: str | None = None
    message: AssistantMessage | None = None
    kept: bool = False
    dropped: int = 0
    shortened: int = 0
    full: bool = False
    usage: Usage = Usage()
    provider: str = ""
    model: str = ""
    deployment: str = ""
    epoch: int = 1
    simulated: bool = False


class AskRound(Effect):
    """Ask an agent's model for one round.

    thread, kept, fresh: the messages 0 to `kept` - 1 are in the store, `fresh` come behind them: the one at place
        `kept` + i is `fresh[i]`, or in the store too where that is None (its tool kept it, one before it is not kept).
        The answer's message comes at `kept` + len(`fresh`).
    opening: where the store does not have it.
    round: from 1. closing: no tools any more; `note` says why, for the model.
    remember: past turns of the conversation.
    """

    activity = "ask_round"
    effect_class = "model"
    reply = RoundAnswer

    thread: str
    model: AgentModel
    strategy: Strategy
    opening: Opening | None = None
    kept: int = 0
    fresh: tuple[Message | None, ...] = ()
    round: int = 1
    closing: bool = False
    note: str = ""
    keep_images: bool = True
    remember: Remember | None = None
    stream: StreamTo | None = None
    user: str = ""
    priority: Literal["interactive", "batch"] = "interactive"
    total_s: float = 600.0

    def may_be_kept(self) -> bool:
        """No round is like another."""
        return False

    def budget_s(self) -> float:
        """The call itself plus the store before and after it."""
        return self.total_s + 30.0


class ToolResult(Reply):
    """What a tool gave.

    text: for the model, within its limit; only the beginning of it where the store has all (`kept`). size: of all of
        it, in characters. digest: of all of it (`limits.digest`), empty where `text` is all.
    parts: what a tool node puts out; empty for agents.
    files: what it made. error: what went wrong, also in `text`.
    child: the tool is a graph or an agent, which is here, and nothing was done: whoever asked runs it.
    asks: a rule of the operator wants a person to approve the call first, and nothing was done: the tool as people
        call it.
    """

    text: str = ""
    size: int = 0
    digest: str = ""
    parts: tuple[ToolPart, ...] = ()
    files: tuple[dict[str, JsonValue], ...] = ()
    error: str = ""
    error_kind: ToolErrorKind | None = None
    kept: bool = False
    elapsed: float = 0.0
    child: ToolUse | None = None
    asks: str | None = None

    def worth_keeping(self) -> bool:
        """Not a failure, and not what says that nothing was done."""
        return self.error_kind is None and not self.files and self.child is None and self.asks is None


class RunTool(Effect):
    """Run a tool.

    name: as the model calls it. arguments: valid for its schema. call_id, thread, position: where its message goes in
        the thread of an agent; a tool node has none.
    retry: as the tool declares.
    ask: look at the operator's rules first. Of an agent's call they were looked at when its model asked for it.
    """

    activity = "run_tool"
    effect_class = "tool"
    reply = ToolResult

    use: ToolUse
    name: str
    arguments: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    call_id: str = ""
    thread: str = ""
    position: int = 0
    max_bytes: int = 32 * 1024
    timeout_s: float = 60.0
    retry: RetryClass = "keyed"
    user: str = ""
    tenant: str = ""
    ask: bool = False

    def budget_s(self) -> float:
        """The tool's own limit plus the store after it."""
        return self.timeout_s + 15.0

    def default_retry(self) -> RetryClass:
        """As the tool declares."""
        return self.retry


class AgentAnswer(Reply):
    """What an agent came to.

    end: why it ended: `answer`, or the limit that stopped it.
    text: its answer, or what there was when it was stopped. message: for a parent's thread.
    """

    text: str = ""
    files: tuple[dict[str, JsonValue], ...] = ()
    end: str = "answer"
    rounds: int = 0
    calls: int = 0
    usage: Usage = Usage()
    simulated: bool = False


class RunAgent(ChildEffect):
    """Run an agent to its answer."""

    workflow = "AgentRun"
    reply = AgentAnswer

    config: AgentConfig
    query: str
    files: tuple[dict[str, JsonValue], ...] = ()
    inputs: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    conversation_id: str = ""
    stream: StreamTo | None = None
