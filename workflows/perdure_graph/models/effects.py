"""The effect that asks a model, and its answer."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from ..effects import Effect, Reply
from .messages import AnswerSchema, AssistantMessage, FilePart, Message, SystemMessage, ToolCall, ToolSpec
from .usage import Usage

Finish = Literal["stop", "length", "tool_calls", "content_filter", "refusal"]


class Remember(BaseModel):
    """Past turns of a conversation to send with the prompt, before its last message.

    most_messages: so many at most, newest first; None is as many as the model's window takes.
    before: the run whose turns, and those after it, do not count: the one that asks.
    """

    model_config = ConfigDict(frozen=True)

    conversation_id: str
    before: str
    most_messages: int | None = None
    user_prefix: str = ""
    assistant_prefix: str = ""


class StreamTo(BaseModel):
    """Where the text of an answer is to be read while it is written: the variable `selector` of a node.

    key, scope: effect under which readers look for it, where that is not the one that writes it. Several effects may
        then write one after the other: the text of each stands for all before it, and `after` is more than any of
        their attempts.
    """

    model_config = ConfigDict(frozen=True)

    node_id: str
    selector: tuple[str, ...]
    frame: str = ""
    key: str = ""
    scope: str = ""
    after: int = 0


class ModelAnswer(Reply):
    """What a model answered.

    text: what is meant to be read; `reasoning` is what it thought, where the provider keeps that apart.
    structured: the object asked for by `InvokeModel.schema`, validated.
    message: the answer as it must be given back in the next round.
    provider, model, deployment: who answered in the end, after any failover.
    epoch: attempt of the effect that wrote it, from 1; deltas of earlier ones count no more.
    remembered: how many past messages were sent along.
    simulated: whether the answer is that of the fake provider.
    """

    text: str
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    structured: dict[str, JsonValue] | None = None
    files: tuple[dict[str, JsonValue], ...] = ()
    message: AssistantMessage
    finish: Finish = "stop"
    refusal: str | None = None
    usage: Usage = Usage()
    provider: str = ""
    model: str = ""
    deployment: str = ""
    epoch: int = 1
    remembered: int = 0
    simulated: bool = False

    def worth_keeping(self) -> bool:
        """Only whole answers that ask for nothing to be done."""
        return self.finish == "stop" and not self.tool_calls and self.refusal is None


class InvokeModel(Effect):
    """Ask a model. Times in seconds.

    provider, model: as the graph names them.
    mode: `completion` sends one text instead of messages, where the provider still has that.
    parameters: of the model, by the names of its declaration (`temperature`, `max_tokens`, ...).
    answer: what the answer must look like, where it is to be an object.
    think: how thinking is shown: `tagged` inside the text between think tags, `separated` only in `reasoning`.
    total_s: for one attempt, all providers it tries included.
    """

    activity = "invoke_model"
    effect_class = "model"
    reply = ModelAnswer

    provider: str
    model: str
    mode: Literal["chat", "completion"] = "chat"
    messages: tuple[Message, ...]
    remember: Remember | None = None
    parameters: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    stop: tuple[str, ...] = ()
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: Literal["auto", "none", "required"] = "auto"
    answer: AnswerSchema | None = None
    think: Literal["tagged", "separated"] = "separated"
    stream: StreamTo | None = None
    user: str = ""
    priority: Literal["interactive", "batch"] = "interactive"
    total_s: float = 600.0

    def may_be_kept(self) -> bool:
        """Not with tools, nor with files by URL, whose content may change, nor with a past that is not part of it."""
        if self.remember is not None or self.tools:
            return False
        files = [
            part
            for message in self.messages
            if not isinstance(message, SystemMessage)
            for part in message.content
            if isinstance(part, FilePart)
        ]
        return all(part.file.get("transfer_method") != "remote_url" for part in files)

    def identity(self) -> dict[str, Any]:
        """Without whoever asks, and where the answer goes."""
        return self.model_dump(mode="json", exclude={"meta", "user", "stream", "priority", "total_s"})

    def budget_s(self) -> float:
        """The call itself plus the store before and after it."""
        return self.total_s + 20.0
