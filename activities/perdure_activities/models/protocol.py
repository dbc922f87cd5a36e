"""The seams of the model runtime: what an adapter is given, what it yields, how it fails."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Literal, Protocol

from pydantic import JsonValue

from perdure_graph.models.effects import Finish
from perdure_graph.models.faults import RETRYABLE, FaultKind
from perdure_graph.models.messages import AnswerSchema, Message, ThinkingPart, ToolSpec
from perdure_graph.models.usage import Tokens

Wire = Literal["openai-chat", "openai-responses", "anthropic-messages"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where and as whom to call: one deployment, its secrets resolved.

    profile: which habits of servers to expect: `openai`, `anthropic`, `vllm`, `ollama`, `generic`.
    connect_s, first_token_s, between_s: longest wait for a connection, for the first bytes of an answer, between two.
    max_reply_bytes: an answer longer than this is a protocol error.
    allow_private: whether the base URL may lead to this machine or a private network.
    """

    deployment: str
    provider: str
    wire: Wire
    base_url: str
    api_key: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    profile: str = "generic"
    connect_s: float = 5.0
    first_token_s: float = 60.0
    between_s: float = 30.0
    max_reply_bytes: int = 10 * 1024 * 1024
    allow_private: bool = False


@dataclass(frozen=True, slots=True)
class LoadedFile:
    """The bytes of a file that a message holds, read before the call; or its URL, where the provider may fetch it."""

    media_type: str
    content: bytes | None = None
    url: str | None = None
    name: str = "file"


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One request, in the form that all adapters take; what the model cannot do is already gone from it.

    model: the provider's own name.
    features: those of the model's declaration.
    files: by `key_of` (`files`) the file object in the messages' file parts.
    answer_by: how structured output is asked for: `native`, by a forced `tool`, or by `text` in the prompt.
    max_tokens: most tokens of the answer; None leaves it to the provider, where it may be left out.
    streamed: whether the answer may come piece by piece; some servers give calls of tools in one piece only. Wires on
        which none do so take no note of it.
    """

    model: str
    messages: tuple[Message, ...]
    mode: Literal["chat", "completion"] = "chat"
    parameters: dict[str, JsonValue] = field(default_factory=dict[str, JsonValue])
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: Literal["auto", "none", "required"] = "auto"
    answer: AnswerSchema | None = None
    answer_by: Literal["native", "tool", "text"] = "native"
    features: frozenset[str] = frozenset()
    files: dict[str, LoadedFile] = field(default_factory=dict[str, LoadedFile])
    user: str = ""
    cache_key: str = ""
    streamed: bool = True


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the text."""

    text: str


@dataclass(frozen=True, slots=True)
class ThinkingDelta:
    """A piece of what the model thinks."""

    text: str


@dataclass(frozen=True, slots=True)
class ThinkingDone:
    """A finished block of thinking, as it must be given back."""

    part: ThinkingPart


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of a tool call. `slot` tells calls of one answer apart; id and name come once, arguments in pieces."""

    slot: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class RefusalDelta:
    """A piece of the reason why the model refuses."""

    text: str


@dataclass(frozen=True, slots=True)
class UsageDelta:
    """What the provider says was used so far; a later one replaces it."""

    tokens: Tokens


@dataclass(frozen=True, slots=True)
class Headers:
    """What the response's headers say, once, before anything else: of rate limits, and the provider's request id."""

    request_id: str = ""
    remaining_requests: int | None = None
    remaining_tokens: int | None = None
    reset_s: float | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """The model is done. Always the last; a stream that ends without it is broken.

    model: as the provider names the one that answered.
    simulated: whether the server says that it is a fake.
    """

    finish: Finish
    model: str = ""
    simulated: bool = False


Delta = TextDelta | ThinkingDelta | ThinkingDone | ToolCallDelta | RefusalDelta | UsageDelta | Headers | Finished


class ModelFault(Exception):
    """A call failed. Says what kind of failure it is; everything else follows from that.

    retry_after_s: how long the provider asks to wait.
    status: of the HTTP response, where there was one.
    provider_code: the provider's own word for it.
    parameter: that is wrong; a provider's fault names only one that it does not take, so that the call may work
        without it.
    maybe_billed: whether the provider may have charged for it: the request had reached it.
    """

    def __init__(
        self,
        kind: FaultKind,
        message: str,
        *,
        retry_after_s: float | None = None,
        status: int | None = None,
        provider_code: str = "",
        parameter: str = "",
        maybe_billed: bool = False,
    ) -> None:
        super().__init__(message)
        self.kind: FaultKind = kind
        self.message = message
        self.retry_after_s = retry_after_s
        self.status = status
        self.provider_code = provider_code
        self.parameter = parameter
        self.maybe_billed = maybe_billed

    @property
    def retryable(self) -> bool:
        """Whether the same call may work later."""
        return self.kind in RETRYABLE


class Adapter(Protocol):
    """Speaks one wire protocol. Holds pooled connections; safe to use by many calls at once."""

    def stream(self, endpoint: Endpoint, call: ModelCall) -> AsyncGenerator[Delta]:
        """Call the model and yield its answer as it comes. Closing the generator closes the connection at once.

        Raises:
            ModelFault: the call failed, before or after deltas were yielded.
        """
        ...

    async def warm(self, endpoint: Endpoint) -> None:
        """Open a connection that the first call finds open, and send no secret over it; failing is no matter."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors, in the order of the texts, and what they used."""

    vectors: tuple[tuple[float, ...], ...]
    tokens: Tokens


class Embedder(Protocol):
    """Turns texts into vectors."""

    async def embed(self, endpoint: Endpoint, model: str, texts: tuple[str, ...], dimensions: int | None) -> Embedded:
        """Embed texts.

        Raises:
            ModelFault: the call failed.
        """
        ...


@dataclass(frozen=True, slots=True)
class Ranked:
    """One document of a rerank: its place in the request, and its score, higher is better."""

    index: int
    score: float


class Reranker(Protocol):
    """Orders documents by how well they answer a query."""

    async def rerank(
        self, endpoint: Endpoint, model: str, query: str, documents: tuple[str, ...], top_n: int | None
    ) -> tuple[Ranked, ...]:
        """Rank documents, best first.

        Raises:
            ModelFault: the call failed.
        """
        ...
