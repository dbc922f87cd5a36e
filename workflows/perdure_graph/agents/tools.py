"""Tools as the core knows them: what a model is shown, what the loop must know, what a call gave."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from ..models.messages import ToolSpec
from ..options import RetryClass
from .config import Approval, ToolUse

Runner = Literal["activity", "agent", "workflow"]
Interrupted = Literal["ask", "tell"]
ToolErrorKind = Literal[
    "unknown_tool",
    "bad_arguments",
    "credentials",
    "invoke",
    "timeout",
    "session_lost",
    "refused",
    "denied",
    "not_run",
    "internal",
]
# Of these the agent's limits count as failures; the others are somebody's decision.
FAILURES: frozenset[ToolErrorKind] = frozenset(
    {"unknown_tool", "bad_arguments", "credentials", "invoke", "timeout", "session_lost", "internal"}
)


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True)


class ToolFacts(_Data):
    """What the loop must know of a tool. name: as the model calls it; `use` says which tool that is.

    runner: what performs a call: the activity `run_tool`, or a child workflow.
    interrupted: of a call that must not be repeated and whose worker was lost, an operator is asked what became of it,
        or the model is told that nobody knows.
    sequential: calls of one round run one after the other. timeout_s: of one attempt.
    """

    name: str
    use: ToolUse
    runner: Runner = "activity"
    retry: RetryClass = "keyed"
    interrupted: Interrupted = "ask"
    approval: Approval = "never"
    sequential: bool = False
    timeout_s: float = 60.0
    label: str = ""


class Toolset(_Data):
    """All tools of an agent, in order. `facts[i]` belongs to `specs[i]`; `skipped` names those that did not load."""

    facts: tuple[ToolFacts, ...] = ()
    specs: tuple[ToolSpec, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()


class TextOut(_Data):
    """Text, for the model as it is."""

    type: Literal["text"] = "text"
    text: str


class JsonOut(_Data):
    """A JSON value. shown: whether the model sees it."""

    type: Literal["json"] = "json"
    value: JsonValue
    shown: bool = True


class LinkOut(_Data):
    """A URL for the user. image: whether it is one of an image."""

    type: Literal["link"] = "link"
    url: str
    image: bool = False


class FileOut(_Data):
    """A file object (`values`), an image where its type is one."""

    type: Literal["file"] = "file"
    file: dict[str, JsonValue]


class VariableOut(_Data):
    """A named output of a tool node; the model does not see it."""

    type: Literal["variable"] = "variable"
    name: str
    value: JsonValue


ToolPart = Annotated[TextOut | JsonOut | LinkOut | FileOut | VariableOut, Field(discriminator="type")]


class ReadCall(_Data):
    """A call that a model asked for, read against the tool's schema.

    id: as the model gave it, or made by us. given: its arguments as they came, cut.
    arguments: converted and valid; None where `problem` says what is wrong, in words for the model.
    asks: whether it waits for a person where the tool's approval is `policy`.
    """

    id: str
    name: str
    given: str = ""
    arguments: dict[str, JsonValue] | None = None
    problem: str = ""
    problem_kind: ToolErrorKind = "bad_arguments"
    asks: bool = True
