"""The contract of a node type: one file with a data model, declared outputs and pure functions.

    NODE = NodeType(name="word-count", data=WordCount, start=start, outputs=outputs)

`start(data, ctx)` and, after an effect, `resume(data, ctx, reply)` return an outcome: `Done` (outputs are final),
`Perform` (ask for an effect), `WaitForm` (wait for a person) or `Turn` (several of both at once). They raise
`NodeError` to fail the node. They are pure: same arguments, same outcome; no clock, no randomness, no I/O.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from ..effects import Effect, Reply
from ..options import NodeOptions, RetryClass, ValueLimits
from ..values import ValueType, is_number, matches

D = TypeVar("D", bound="NodeData")
Selector = Sequence[str]


class Missing:
    """The one value that means "no such variable"; `None` is a value."""

    def __bool__(self) -> bool:
        """Be false, so that `ctx.get(...) or default` reads well."""
        return False

    def __repr__(self) -> str:
        """Name it."""
        return "MISSING"


MISSING = Missing()


class RetryConfig(BaseModel):
    """Engine-level retries of a node (Dify `retry_config`); `retry_interval` in milliseconds."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    retry_enabled: bool = False
    max_retries: int = Field(default=0, ge=0)
    retry_interval: int = Field(default=0, ge=0)

    @field_validator("*", mode="before")
    @classmethod
    def _null_is_default(cls, value: object) -> object:
        return 0 if value is None else value


DefaultType = Literal["string", "number", "object", "array[number]", "array[string]", "array[object]", "array[file]"]


class DefaultValue(BaseModel):
    """One output that a failed node gives instead (`error_strategy: default-value`).

    Editors write text for every type: it is read as JSON for all but strings, and numbers become floats.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    key: str
    type: DefaultType
    value: JsonValue = None

    @model_validator(mode="after")
    def _typed(self) -> Self:
        kind, value = ValueType(self.type), self.value
        if kind is not ValueType.STRING and isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError as error:
                raise ValueError(f"{self.value!r} is not {self.type}") from error
            if kind is ValueType.NUMBER and is_number(value):
                value = float(value)
        if not matches(kind, value):
            raise ValueError(f"{self.value!r} is not {self.type}")
        object.__setattr__(self, "value", value)
        return self


class NodeData(BaseModel):
    """What every node's `data` may hold. Unknown keys are kept by the document and ignored here."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    type: Any  # each node type narrows it to its own Literal
    title: str = ""
    desc: str | None = ""
    version: str = "1"
    error_strategy: Literal["fail-branch", "default-value"] | None = None
    default_value: tuple[DefaultValue, ...] = ()
    retry_config: RetryConfig = RetryConfig()
    iteration_id: str | None = None
    loop_id: str | None = None
    perdure: NodeOptions = NodeOptions()

    @field_validator("title", mode="before")
    @classmethod
    def _title_text(cls, value: object) -> object:
        return "" if value is None else str(value)

    @field_validator("version", mode="before")
    @classmethod
    def _version_text(cls, value: object) -> object:
        return "1" if value is None else str(value)

    @field_validator("error_strategy", mode="before")
    @classmethod
    def _no_strategy(cls, value: object) -> object:
        return None if value in ("", "none") else value

    @field_validator("default_value", mode="before")
    @classmethod
    def _no_defaults(cls, value: object) -> object:
        return () if value is None else value

    @field_validator("retry_config", mode="before")
    @classmethod
    def _no_retry(cls, value: object) -> object:
        return RetryConfig() if value is None else value


class Context(Protocol):
    """What a node may read while it starts or resumes."""

    @property
    def node_id(self) -> str:
        """Id of the node in the graph."""
        ...

    @property
    def thread(self) -> str:
        """Name of this piece of work, the same wherever and whenever it goes on: what it keeps outside is under it."""
        ...

    @property
    def tenant(self) -> str:
        """On whose behalf the run is."""
        ...

    @property
    def depth(self) -> int:
        """How many runs are around the node, from 1."""
        ...

    @property
    def now(self) -> int:
        """What time it is, in milliseconds since the epoch: that of what the run takes just now, also in a replay."""
        ...

    @property
    def memo(self) -> JsonValue:
        """What the node left for itself in `Perform.memo` or `Turn.memo`."""
        ...

    @property
    def limits(self) -> ValueLimits:
        """How much the node may give."""
        ...

    def get(self, selector: Selector) -> Any | Missing:
        """Read a variable; `MISSING` when there is none (a present null is `None`)."""
        ...

    def type_of(self, selector: Selector) -> ValueType:
        """Declared type of a variable, else the type of its value."""
        ...

    def render(self, template: str) -> str:
        """Fill `{{#node.var#}}` references, text rendering; unknown references stay as their inner text."""
        ...

    def render_markdown(self, template: str) -> str:
        """Fill references with the markdown rendering (answers)."""
        ...

    def all_variables(self, scope: str) -> Mapping[str, Any]:
        """All variables of `sys`, `env`, `conversation` or a node."""
        ...


def system(ctx: Context, name: str) -> Any:
    """Read a system variable; None where there is none."""
    value = ctx.get(("sys", name))
    return None if isinstance(value, Missing) else value


@dataclass(frozen=True, slots=True)
class Write:
    """A change of a variable outside the node's own outputs (assigner)."""

    selector: tuple[str, str]
    value: Any


@dataclass(frozen=True, slots=True)
class News:
    """Something a node tells those who watch: the fields of an event (`events.NEWS`)."""

    kind: Literal["agent_thought", "agent_log", "agent_limit"]
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Done:
    """The node is finished. `handle` selects the branch of a branch node."""

    outputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    handle: str | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    process_data: Mapping[str, Any] = field(default_factory=dict[str, Any])
    writes: tuple[Write, ...] = ()
    tell: tuple[News, ...] = ()


@dataclass(frozen=True, slots=True)
class Perform:
    """Perform an effect and call `resume` with its reply. `memo` is kept for that call."""

    effect: Effect
    inputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    memo: JsonValue = None


class FormInput(BaseModel):
    """One field of a form."""

    model_config = ConfigDict(frozen=True)

    name: str
    type: str = "text_input"
    default: JsonValue = None


class FormAction(BaseModel):
    """One button of a form: its id is the handle the run goes on with."""

    model_config = ConfigDict(frozen=True)

    id: str
    title: str
    style: str = "default"


class Form(BaseModel):
    """What a person is asked. `timeout_s` is None for "wait for ever". call: id of the tool call that it is about."""

    model_config = ConfigDict(frozen=True)

    content: str
    inputs: tuple[FormInput, ...] = ()
    actions: tuple[FormAction, ...] = ()
    timeout_s: float | None = None
    call: str = ""


@dataclass(frozen=True, slots=True)
class WaitForm:
    """Wait until somebody submits the form; then `resume` gets a `FormReply`."""

    form: Form
    inputs: Mapping[str, Any] = field(default_factory=dict[str, Any])


class FormReply(Reply):
    """What the person did; `action` is None when the form timed out."""

    action: str | None
    values: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])


@dataclass(frozen=True, slots=True)
class Turn:
    """Go on with several things at once, each under a name that is its own; `resume` hears of each as `Came`.

    perform, wait: what begins now, in this order; what began before goes on. With both empty the node waits for that.
    memo: replaces what the node left for itself. A node that fails and is retried finds it when it starts.
    """

    perform: tuple[tuple[str, Effect], ...] = ()
    wait: tuple[tuple[str, Form], ...] = ()
    tell: tuple[News, ...] = ()
    memo: JsonValue = None
    inputs: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Failed:
    """An effect of a `Turn` that failed for good. interrupted: nobody knows whether it was done."""

    message: str
    error_type: str
    interrupted: bool = False


@dataclass(frozen=True, slots=True)
class Came:
    """What became of one thing of a `Turn`."""

    name: str
    reply: Reply | Failed


Outcome = Done | Perform | WaitForm | Turn


def no_outputs(_data: Any) -> dict[str, ValueType]:
    """Declare nothing: the node has no outputs of its own."""
    return {}


def one_handle(_data: Any) -> tuple[str, ...]:
    """Name the only handle of a node that does not branch."""
    return ("source",)


def nothing_differs(_data: Any) -> tuple[str, ...]:
    """Say that the node behaves as in Dify."""
    return ()


def lacks_nothing(_data: Any) -> str:
    """Say that the node can run, whatever its data is."""
    return ""


def repeatable(_data: Any) -> RetryClass:
    """Say that performing the node's effects again changes nothing."""
    return "safe"


@dataclass(frozen=True)
class NodeType(Generic[D]):
    """One node type: how its data looks, what it puts out, what it does.

    role: `root` starts a graph, `response` contributes to the outputs of the run, `container` runs inner nodes,
        `branch` selects one of `handles`, `plain` is all else.
    start: None for types whose effect is not built; such a node runs only with pinned outputs (`needs` says why).
    lacks: what a node with this data needs and this version does not have; with such data too it runs only pinned.
    segments: what a response node streams: texts and selectors in reading order.
    streams: outputs whose text can be read while an effect of the node writes it.
    writes: variables of others that the node changes (assigner); streams that print one wait for it.
    retries: whether Dify honours `retry_config` on it.
    repeats: how its effects may be repeated where `perdure.retry` does not say; replies of `safe` ones may be kept.
    waits: whether it may wait for a person.
    """

    name: str
    data: type[D]
    start: Callable[[D, Context], Outcome] | None = None
    resume: Callable[[D, Context, Any], Outcome] | None = None
    outputs: Callable[[D], Mapping[str, ValueType]] = no_outputs
    handles: Callable[[D], Sequence[str]] = one_handle
    differs: Callable[[D], Sequence[str]] = nothing_differs
    segments: Callable[[D], Sequence[str | tuple[str, ...]]] | None = None
    streams: tuple[str, ...] = ()
    writes: Callable[[D], Sequence[tuple[str, ...]]] | None = None
    role: Literal["root", "response", "container", "branch", "plain"] = "plain"
    effects: tuple[type[Effect], ...] = ()
    retries: bool = False
    repeats: Callable[[D], RetryClass] = repeatable
    waits: bool = False
    hidden: bool = False
    needs: str = ""
    lacks: Callable[[D], str] = lacks_nothing
    default_pin: Mapping[str, Any] | None = None
    pinned_handle: str | None = None
