"""What a tool is, for those who write one and for those who run it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from perdure_graph.agents.config import Approval, ToolType, ToolUse
from perdure_graph.agents.tools import Interrupted, Runner, ToolErrorKind, ToolPart
from perdure_graph.errors import PerdureError
from perdure_graph.options import RetryClass

ParameterType = Literal[
    "string", "number", "integer", "boolean", "select", "array", "object", "any", "secret-input", "file", "files"
]


class ToolFault(PerdureError):
    """A tool gave nothing; the message is for the model and for people, and holds no secret.

    retryable: whether the same call may succeed soon, so that Temporal may try again, where the tool may be repeated.
    """

    code = "tool_fault"

    def __init__(self, kind: ToolErrorKind, message: str, *, retryable: bool = False) -> None:
        self.kind: ToolErrorKind = kind
        self.message = message
        self.again = retryable
        super().__init__(message)


class ToolParameter(BaseModel):
    """A parameter. form: `llm` ones come from the model, `form` ones from whoever set the agent up.

    schema_: JSON Schema of a value, where it says more than the type.
    """

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    name: str
    type: ParameterType = "string"
    form: Literal["llm", "form"] = "llm"
    required: bool = False
    description: str = ""
    options: tuple[str, ...] = ()
    default: JsonValue = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")


class ToolDeclaration(BaseModel):
    """A tool as it is known before it runs.

    retry: how a call may be repeated when its worker dies: `safe` changes nothing, `keyed` is told the call's key,
        `never` is not repeated: `interrupted` says whether an operator is asked what became of it, or an agent's model
        is told that nobody knows.
    approval: whether a person must say yes. sequential: not beside other calls of the same round.
    runner: what performs it; `flow` or agent of a child are in the `ToolUse` that the registry gives (`complete`).
    open: whether it takes arguments that are no parameters.
    """

    model_config = ConfigDict(frozen=True)

    provider_type: ToolType
    provider_id: str
    name: str
    label: str = ""
    description: str = ""
    parameters: tuple[ToolParameter, ...] = ()
    retry: RetryClass = "keyed"
    interrupted: Interrupted = "ask"
    approval: Approval = "never"
    sequential: bool = False
    timeout_s: float = Field(default=60.0, gt=0)
    runner: Runner = "activity"
    open: bool = False


@dataclass(frozen=True, slots=True)
class ToolCallContext:
    """What a call is given besides its arguments.

    key: the same for every attempt at the same call; send it where the other side knows such keys.
    folder: of the run; made when it is first written to. secrets: of the credential, never to be shown.
    attempt: from 1. user, tenant: for whom the run is.
    """

    key: str
    run_id: str
    folder: Path
    timeout_s: float
    secrets: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    attempt: int = 1
    user: str = ""
    tenant: str = ""


class Tool(Protocol):
    """A tool that is ready to run."""

    @property
    def declaration(self) -> ToolDeclaration:
        """What it is."""
        ...

    async def run(
        self, arguments: Mapping[str, JsonValue], settings: Mapping[str, JsonValue], context: ToolCallContext
    ) -> Sequence[ToolPart]:
        """Run it once. arguments: of the model, valid; settings: of its `form` parameters.

        Cancelling it ends what it does; it must not wait without awaiting.

        Raises:
            ToolFault: there is no result.
        """
        ...


class ToolSource(Protocol):
    """Where tools of one provider come from: a module, a specification, a server."""

    @property
    def provider_type(self) -> ToolType:
        """Kind of provider."""
        ...

    @property
    def provider_id(self) -> str:
        """Its name."""
        ...

    async def tools(self) -> Sequence[Tool]:
        """Give its tools.

        Raises:
            ToolFault: they cannot be known now: a server is away, a specification is wrong.
        """
        ...

    async def close(self) -> None:
        """Let go of what it holds."""
        ...


class Registry(Protocol):
    """Finds tools; one per worker."""

    async def find(self, use: ToolUse) -> Tool:
        """Find a tool.

        Raises:
            ToolFault: `unknown_tool`, with the names that there are; or its source does not answer.
        """
        ...

    def complete(self, use: ToolUse) -> ToolUse:
        """Put the graph, or the agent, of a `workflow` or `agent` into a use that only names it.

        Raises:
            ToolFault: `unknown_tool`, no such name; or its file is wrong.
        """
        ...

    def approval(self, use: ToolUse, declaration: ToolDeclaration) -> Approval:
        """Say whether calls wait for a person: the operator's rules win over the agent's, and those over the tool's."""
        ...

    def asks(self, use: ToolUse, arguments: Mapping[str, JsonValue]) -> bool:
        """Whether this call of a tool with approval `policy` waits for a person."""
        ...

    def rule_asks(self, use: ToolUse, declaration: ToolDeclaration, arguments: Mapping[str, JsonValue]) -> bool:
        """Whether a rule of the operator wants a person for this call, whatever anybody else says."""
        ...

    async def secrets(self, use: ToolUse) -> Mapping[str, str]:
        """Give the secrets of a tool's credential.

        Raises:
            ToolFault: `credentials`, they are missing; says where to put them.
        """
        ...

    async def close(self) -> None:
        """Close all sources."""
        ...
