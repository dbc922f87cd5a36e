"""What starts a run and what it answers: the public wire contract of the `GraphRun` workflow, plain JSON."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from .document import Document
from .effects import EffectClass
from .options import NodeOptions, ValueLimits

RunStatus = Literal["running", "pausing", "paused", "succeeded", "partial-succeeded", "failed", "stopped"]
_BESIDES = ("query", "files", "conversation", "sysvars", "pins", "options")
ENDED: frozenset[RunStatus] = frozenset({"succeeded", "partial-succeeded", "failed", "stopped"})


class Pin(BaseModel):
    """What a pinned node answers instead of performing its effect.

    `error` fails the node: on its first `fail_times` attempts, or on all of them when that is absent.
    `handle` selects the branch of a branch node; `chunks` are the pieces in which a text is streamed.
    """

    model_config = ConfigDict(frozen=True)

    outputs: dict[str, JsonValue] | None = None
    error: str | None = None
    error_type: str = "PinnedError"
    fail_times: int | None = Field(default=None, ge=0)
    handle: str | None = None
    chunks: tuple[str, ...] = ()


class RunOptions(BaseModel):
    """How a run behaves.

    max_parallel: effects in flight at once; 1 makes the order of a run independent of timing.
    max_steps: the run fails when it starts more nodes than this; None for no limit.
    queues: task queue per class of effect; the run's own queue where none is named.
    priority: `batch` gives way to `interactive` where both wait for the same workers, or the same limits of a model.
    on_failure: with `wait`, a failure that would end the run keeps its node for an operator (`retry`, `stop`).
    deadline_s: seconds from start to end, waits and pauses included; then the run fails.
    nodes: options by node id; they win over those drawn in the graph.
    window_items: an iteration with more items than this runs in child workflows of so many items each.
    continue_after_events: history events after which the run moves to a fresh history at the next quiet moment.
    max_value_bytes: largest request or reply of one effect, and largest result of the run, as JSON.
    limits: how much code and template nodes may give.
    """

    model_config = ConfigDict(frozen=True)

    max_parallel: int = Field(default=500, ge=1)
    max_steps: int | None = Field(default=None, ge=1)
    queues: dict[EffectClass, str] = {}
    priority: Literal["interactive", "batch"] = "interactive"
    on_failure: Literal["fail", "wait"] = "fail"
    deadline_s: float | None = Field(default=None, gt=0)
    nodes: dict[str, NodeOptions] = {}
    window_items: int = Field(default=50, ge=1)
    continue_after_events: int = Field(default=4_000, ge=10)
    max_value_bytes: int = Field(default=64 * 1024 * 1024, ge=1024)
    limits: ValueLimits = ValueLimits()


class Written(BaseModel):
    """A variable that a node wrote besides its outputs."""

    model_config = ConfigDict(frozen=True)

    selector: tuple[str, str]
    value: JsonValue = None


class Said(BaseModel):
    """What a response node inside a container gave to the run; `index` is the item or round at the top."""

    model_config = ConfigDict(frozen=True)

    node_id: str
    frame: str
    index: int
    text: str | None = None
    files: tuple[JsonValue, ...] = ()
    outputs: dict[str, JsonValue] = {}


class Reused(BaseModel):
    """How a node ended in an earlier run; it is taken over instead of running the node again.

    results: of an iteration, its items' results by index, where `outputs` do not tell them.
    items: an iteration with it is only partly taken over: so many first items, of which those without a result are
        left out of the output; the rest runs anew.
    said: what response nodes inside it gave to the run, in that order.
    exceptions: failed attempts in it.
    """

    model_config = ConfigDict(frozen=True)

    outputs: dict[str, JsonValue] = {}
    handle: str | None = None
    status: Literal["succeeded", "exception"] = "succeeded"
    writes: tuple[Written, ...] = ()
    results: dict[int, JsonValue] | None = None
    items: int | None = Field(default=None, ge=0)
    said: tuple[Said, ...] = ()
    exceptions: int = Field(default=0, ge=0)


class Asked(BaseModel):
    """What the caller gave a run, as it was given: what a fork asks again."""

    model_config = ConfigDict(frozen=True)

    inputs: dict[str, JsonValue] = {}
    query: str | None = None
    files: list[dict[str, JsonValue]] = []
    conversation: dict[str, JsonValue] = {}
    sysvars: dict[str, JsonValue] = {}
    user: str = "user"
    tenant: str = ""


class RunRequest(BaseModel):
    """Input of `GraphRun`. `pins` are keyed by node id or `type:<node type>`, for one item or round by `it[3].<id>`.

    graph: a normalised document, or a Dify document as JSON.
    reuse: what a fork takes over from the run `forked_from`, by node id.
    """

    model_config = ConfigDict(frozen=True)

    graph: Document | dict[str, Any] = Field(union_mode="left_to_right")
    inputs: dict[str, JsonValue] = {}
    query: str | None = None
    files: list[dict[str, JsonValue]] = []
    conversation: dict[str, JsonValue] = {}
    sysvars: dict[str, JsonValue] = {}
    user: str = "user"
    tenant: str = ""
    pins: dict[str, Pin] = {}
    reuse: dict[str, Reused] = {}
    forked_from: str | None = None
    options: RunOptions = RunOptions()

    def asked(self) -> Asked:
        """Give what is the caller's in it, apart from graph and options."""
        return Asked.model_construct(**{name: getattr(self, name) for name in Asked.model_fields})

    def besides(self) -> dict[str, JsonValue]:
        """Give what makes the run besides graph, inputs and caller, where it is not the default."""
        return self.model_dump(mode="json", include=set(_BESIDES), exclude_defaults=True)


class RunError(BaseModel):
    """Why a run failed; `node` is empty when no single node did."""

    model_config = ConfigDict(frozen=True)

    message: str
    type: str
    node: str = ""
    title: str = ""


class RunResult(BaseModel):
    """Output of `GraphRun`. `elapsed` in seconds; `conversation` holds the variables after the run."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    status: RunStatus
    outputs: dict[str, Any]
    error: RunError | None = None
    exceptions_count: int = 0
    steps: int = 0
    elapsed: float = 0.0
    conversation: dict[str, Any] = {}
