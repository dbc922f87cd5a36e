"""What the fake provider is told to do: steps that match requests, and how each is answered."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator

Wire = Literal[
    "openai-chat",
    "openai-responses",
    "anthropic-messages",
    "openai-completions",
    "openai-embeddings",
    "rerank",
    "models",
    "count-tokens",
]
GENERATING: frozenset[Wire] = frozenset({"openai-chat", "openai-responses", "anthropic-messages", "openai-completions"})

Finish = Literal["stop", "stop_sequence", "length", "tool_calls", "content_filter", "refusal", "pause", "window"]


def key_hash(key: str) -> str:
    """Give what the journal and `Match.key` know of an API key."""
    return hashlib.sha256(key.encode()).hexdigest()[:12]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Match(_Frozen):
    """Which requests a step is for; what is not given matches all.

    model: a name, with `*` and `?` as in file names.
    nth: only the nth request, from 1, of those that the rest of this matches.
    turn: the how manyth answer in its conversation this is, from 1; asked again, it is the same one.
    contains: in the last user message or the system text.
    has_tool: the name of a tool that the request offers.
    has_schema: whether the request asks for an object by a schema.
    wire: one or more; without it, all those that generate text.
    key: `key_hash` of the API key.
    """

    model: str | None = None
    nth: int | None = Field(default=None, ge=1)
    turn: int | None = Field(default=None, ge=1)
    contains: str | None = None
    has_tool: str | None = None
    has_schema: bool | None = None
    wire: Wire | tuple[Wire, ...] | None = None
    key: str | None = None
    stream: bool | None = None


class Call(_Frozen):
    """A tool call. `arguments` as text is sent as it is, valid or not."""

    name: str
    arguments: dict[str, JsonValue] | str = Field(default_factory=dict[str, JsonValue])
    id: str | None = None


class Used(_Frozen):
    """Tokens to report instead of the counted ones; `cache_read` and `cache_write` are parts of `prompt`."""

    prompt: int | None = None
    completion: int | None = None
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int | None = None


class Reply(_Frozen):
    """An answer.

    chunks: the text in the pieces it is streamed in; without it, in words.
    thinking: shown the way the wire has it; `redacted` sends it in encrypted form only (Messages).
    structured: an object: the text is its JSON, or the input of the tool that the request forces.
    finish: without it, what follows from the rest.
    """

    text: str = ""
    chunks: tuple[str, ...] = ()
    thinking: str = ""
    redacted: bool = False
    tool_calls: tuple[Call, ...] = ()
    refusal: str | None = None
    structured: JsonValue = None
    finish: Finish | None = None
    usage: Used | None = None

    @model_validator(mode="after")
    def _one_text(self) -> Reply:
        if self.chunks and self.text and "".join(self.chunks) != self.text:
            raise ValueError("`chunks` and `text` say different things: give one of them")
        return self


class Fault(_Frozen):
    """A row of the fault table by number or name, and its parameters (see `faults`)."""

    row: int | str
    params: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])


def _as_reply(value: Any) -> Any:
    return {"text": value} if isinstance(value, str) else value


def _as_fault(value: Any) -> Any:
    return {"row": value} if isinstance(value, int | str) else value


class Step(_Frozen):
    """How requests that match are answered. With a fault, `reply` is what the fault distorts.

    times: so often; then the step is used up.
    """

    match: Match = Match()
    reply: Annotated[Reply | None, BeforeValidator(_as_reply)] = None
    fault: Annotated[Fault | None, BeforeValidator(_as_fault)] = None
    times: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _does_something(self) -> Step:
        if self.reply is None and self.fault is None:
            raise ValueError("a step needs a `reply` or a `fault`")
        return self


class Delay(_Frozen):
    """A time in seconds: the median, and the sigma of a lognormal spread around it (0 is always the median)."""

    median: float = Field(default=0.0, ge=0)
    sigma: float = Field(default=0.0, ge=0)


def _as_delay(value: Any) -> Any:
    return {"median": value} if isinstance(value, int | float) else value


Wait = Annotated[Delay, BeforeValidator(_as_delay)]


class Latency(_Frozen):
    """How long answers take, in seconds: to the first token, and between two pieces of a stream.

    tokens_per_s: instead of `chunk`: a piece takes its tokens' time.
    """

    first: Wait = Delay()
    chunk: Wait = Delay()
    tokens_per_s: float | None = Field(default=None, gt=0)


class Rates(_Frozen):
    """Limits per API key: token buckets that hold a minute's worth, and requests in flight."""

    requests_per_min: float | None = Field(default=None, gt=0)
    tokens_per_min: float | None = Field(default=None, gt=0)
    concurrent: int | None = Field(default=None, ge=1)


class Script(_Frozen):
    """All of it. The first step that matches and is not used up answers; without one, a simulated answer is made up.

    strict: refuse what the real APIs refuse: unknown fields, broken pairing of tool calls, thinking without signature.
    models: the only models there are; without it, every name is one.
    seed: of the spread of times. The same seed and the same request give the same times.
    """

    steps: tuple[Step, ...] = ()
    latency: Latency = Latency()
    rates: Rates = Rates()
    strict: bool = True
    models: tuple[str, ...] | None = None
    seed: int = 0

    @classmethod
    def read(cls, path: Path) -> Script:
        """Read a YAML file.

        Raises:
            ValueError: it is no script; says where.
        """
        try:
            return cls.model_validate(yaml.safe_load(path.read_text("utf-8")) or {})
        except (OSError, yaml.YAMLError, ValueError) as error:
            raise ValueError(f"cannot read the script {str(path)!r}: {error}") from error
