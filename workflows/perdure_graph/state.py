"""The state of a run: plain serialisable data, everything a run needs to go on elsewhere.

`RunState` is owned by `step`, which changes it in place so that one step touches only what the event changes; it
survives a JSON round trip at any moment with the same future.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Literal

from pydantic import BaseModel, Field, JsonValue

from .events import Event, HoldReason
from .models.effects import StreamTo
from .nodes.base import Form
from .request import Asked, Pin, Reused, RunError, RunOptions, RunStatus, Said, Written
from .values import ValueType

Scope = dict[str, dict[str, Any]]
# How deep runs may lie in runs.
MOST_DEPTH = 5
Progress = Literal["running", "waiting", "retrying", "held", "released", "succeeded", "exception", "failed", "skipped"]


class IterationRun(BaseModel):
    """Where an iteration is. `results` holds finished items, `dropped` the indices left out of the output.

    first: index of `items[0]` in the whole iteration (not 0 in a window).
    windows: open child workflows, key -> (first index, number of items).
    """

    kind: Literal["iteration"] = "iteration"
    items: list[Any]
    next: int = 0
    active: int = 0
    results: dict[int, Any] = {}
    answers: dict[int, list[str]] = {}
    dropped: list[int] = []
    error: RunError | None = None
    first: int = 0
    windows: dict[str, tuple[int, int]] = {}


class LoopRun(BaseModel):
    """Where a loop is: the round that runs (from 0)."""

    kind: Literal["loop"] = "loop"
    round: int = 0


class NodeRun(BaseModel):
    """Where one node is inside one frame.

    effects: asked for, over all attempts; `asked`: in this attempt. `group` counts an operator's retries.
    once: an effect of this attempt must not be repeated blindly, so the graph's own retries do not apply.
    handle, writes, results: how it ended, for forks; `results` only where the outputs do not tell them.
    said, exceptions: what response nodes inside it gave to the run, and failed attempts in it; at the top only.
    ended: number of the last event before it ended, which orders the ends of nodes; 0 while it lasts.
    turned: whether it had a `Turn`, whose memo it then finds when it is retried.
    under: what a `Turn` has under way (effects in flight, held back or refused, open forms), name -> key; `forms` are
        its open forms by name, `form` is that of a node that waits for one alone.
    """

    status: Progress = "running"
    attempt: int = 1
    started_at: int = 0
    effects: int = 0
    asked: int = 0
    group: int = 1
    once: bool = False
    cached: bool = False
    handle: str | None = None
    writes: list[Written] = []
    results: dict[int, Any] | None = None
    said: list[Said] = []
    exceptions: int = 0
    ended: int = 0
    inputs: dict[str, Any] = {}
    memo: JsonValue = None
    form: Form | None = None
    turned: bool = False
    under: dict[str, str] = {}
    forms: dict[str, Form] = {}
    container: IterationRun | LoopRun | None = None


class Frame(BaseModel):
    """One pass over a graph or over the inside of a container.

    scope: variables that belong to the frame; None shares the parent's (loops).
    arrived: per node, how many incoming edges are decided and how many of them were taken.
    open: nodes that are ready, running or waiting; the frame is finished when none is left.
    ready_by: per node, whose end made it ready; nodes with the same one run side by side.
    """

    id: str = ""
    parent: str | None = None
    container: str = ""
    index: int = 0
    scope: Scope | None = None
    arrived: dict[str, tuple[int, int]] = {}
    nodes: dict[str, NodeRun] = {}
    open: int = 0
    ready_by: dict[str, str] = {}
    loop_end: bool = False
    answers: list[str] = []


class Place(BaseModel):
    """A node in a frame.

    due: when its timer fires, in milliseconds since the epoch.
    takes: effects that it may have in flight at once; more than one only for windows.
    name: which effect or form of its `Turn`; empty where it has only one.
    """

    frame: str
    node: str
    name: str = ""
    due: int = 0
    takes: int = 1


class Held(BaseModel):
    """An effect that is not performed yet: a pause keeps it from starting, or it was refused.

    activity: what performs it, the type of the workflow for child effects. name: of an effect of a `Turn`.
    """

    frame: str
    node: str
    activity: str
    request: dict[str, Any]
    name: str = ""


class Failure(BaseModel):
    """Why a node waits for an operator. again: only this effect of the node waits, and is then performed."""

    frame: str
    node: str
    reason: HoldReason
    message: str
    error_type: str
    again: Held | None = None


class ChildState(BaseModel):
    """What is known of a child workflow, by its last news.

    number: of the news. forms, failures: what it waits for, by key as the child has it; `nodes`: titles of their nodes.
    """

    number: int = 0
    status: RunStatus = "running"
    forms: dict[str, Form] = {}
    nodes: dict[str, str] = {}
    failures: dict[str, Failure] = {}

    @property
    def rests(self) -> bool:
        """Whether nothing goes on in it."""
        return self.status == "paused"

    @property
    def asks(self) -> bool:
        """Whether it waits for somebody."""
        return bool(self.forms or self.failures)


class StreamState(BaseModel):
    """Which response nodes stream, in which order, and how far (see `stream`).

    writers: the last effect that writes a variable of the answer, by `node.name`; `told`: the one that readers follow.
    said: characters of the answer so far.
    """

    reached: dict[str, set[str]] = {}
    queue: deque[str] = deque()
    known: set[str] = set()
    segment: int = 0
    chunks: dict[str, list[str]] = {}
    writers: dict[str, str] = {}
    told: str = ""
    said: int = 0


class RunState(BaseModel):
    """Everything about a run.

    ready: nodes to start, first come first served, as (frame, node).
    tasks: effects in flight; timers: nodes between two attempts; deadlines: timers of open forms; limits: deadlines
        of nodes; windows: child workflows in flight; failures: nodes that wait for an operator; each by its key.
    expires_at: when the deadline of the run is, in milliseconds since the epoch.
    seen: ids of the last commands (see `operate`).
    asked: what the caller gave; the pool no longer tells it once variables are written.
    reuse: what is still to be taken over from another run.
    scope: which child workflow this is; empty for a run that stands alone. `width`: items at once in a window.
    within: scope of the run that this is, or is a window of.
    called: key of the effect of another run that this one performs; `told`: what that run was told last.
    children: child workflows that perform effects in flight, by key of the effect.
    depth: runs around this one, itself included; `deepest`: how deep those below it may be.
    reads: where the text of a child's model is read while it is written.
    """

    run_id: str
    graph_hash: str
    started_at: int
    options: RunOptions
    pins: dict[str, Pin]
    frames: dict[str, Frame]
    types: dict[str, dict[str, ValueType]]
    ready: deque[tuple[str, str]] = deque()
    tasks: dict[str, Place] = {}
    timers: dict[str, Place] = {}
    deadlines: dict[str, Place] = {}
    held: list[Held] = []
    waiting: dict[str, Place] = {}
    limits: dict[str, Place] = {}
    windows: dict[str, Place] = {}
    resting: set[str] = set()
    failures: dict[str, Failure] = {}
    expires_at: int | None = None
    seen: deque[str] = deque()
    scope: str = ""
    within: str = ""
    called: str = ""
    told: ChildState | None = None
    children: dict[str, ChildState] = {}
    depth: int = 1
    deepest: int = MOST_DEPTH
    reads: StreamTo | None = None
    width: int = 1
    flow: str = ""
    tenant: str = ""
    asked: Asked = Asked()
    reuse: dict[str, Reused] = {}
    stream: StreamState = Field(default_factory=StreamState)
    events: list[Event] = []
    seq: int = 0
    status: RunStatus = "running"
    pause: str | None = None
    draining: bool = False
    outputs: dict[str, Any] = {}
    files: list[Any] = []
    error: RunError | None = None
    exceptions_count: int = 0
    steps: int = 0
    finished_at: int | None = None

    @property
    def ended(self) -> bool:
        """Whether the run is over."""
        return self.finished_at is not None

    @property
    def halted(self) -> bool:
        """Whether nothing new may start."""
        return self.draining or self.pause is not None

    @property
    def is_window(self) -> bool:
        """Whether these are items of an iteration, and no run."""
        return self.scope != self.within

    @property
    def in_flight(self) -> int:
        """Count what holds a place: effects, and nodes between two attempts, so that a retry keeps its turn."""
        rest = sum(child.rests for child in self.children.values())
        return len(self.tasks) - rest + len(self.timers) + sum(place.takes for place in self.windows.values())

    @property
    def busy(self) -> bool:
        """Whether anything is in flight that is not at rest itself."""
        if any(key not in self.resting for key in self.windows):
            return True
        return any((child := self.children.get(key)) is None or not child.rests for key in self.tasks)

    @property
    def asks(self) -> bool:
        """Whether it waits for somebody, here or in a child."""
        return bool(self.waiting or self.failures) or any(child.asks for child in self.children.values())

    @property
    def root(self) -> Frame:
        """The frame of the whole graph."""
        return self.frames[""]

    @property
    def elapsed(self) -> float:
        """Seconds from start to end; 0 while the run lasts."""
        return 0.0 if self.finished_at is None else (self.finished_at - self.started_at) / 1000

    @property
    def conversation(self) -> dict[str, Any]:
        """Conversation variables as they are now."""
        return (self.root.scope or {}).get("conversation", {})
