"""What happened in a run, numbered from 1 without gaps: the log that clients, viewers and stores read.

`at` is milliseconds since the epoch (workflow time). `frame` is the path of containers around a node, for example
`it[3].` for the fourth item of iteration `it`, empty at the top.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

from .nodes.base import Form

NodeStatus = Literal["succeeded", "exception", "failed"]
HoldReason = Literal["failed", "interrupted", "refused"]


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True)

    seq: int
    at: int


class _NodeEvent(_Event):
    node_id: str
    title: str
    node_type: str
    frame: str = ""


class RunStarted(_Event):
    """The run began. `asked` is what else the caller gave: `RunRequest.besides`."""

    type: Literal["run_started"] = "run_started"
    run_id: str
    graph_hash: str
    inputs: dict[str, Any]
    asked: dict[str, JsonValue] = {}
    graph: str = ""
    user: str = ""
    tenant: str = ""
    forked_from: str | None = None


class NodeStarted(_NodeEvent):
    """A node began its first attempt."""

    type: Literal["node_started"] = "node_started"


class NodeRetry(_NodeEvent):
    """An attempt failed and the node will be tried again; `retry_index` counts from 1."""

    type: Literal["node_retry"] = "node_retry"
    retry_index: int
    error: str
    error_type: str


class NodeFinished(_NodeEvent):
    """A node ended. `exception` is a failure that its error strategy handled. `elapsed` in seconds.

    cached: its effects were not performed, their replies were kept from before. `reused`: the node did not run at
    all, a fork took it over.
    """

    type: Literal["node_finished"] = "node_finished"
    status: NodeStatus
    inputs: dict[str, Any] = {}
    process_data: dict[str, Any] = {}
    outputs: dict[str, Any] = {}
    handle: str | None = None
    error: str | None = None
    error_type: str | None = None
    attempts: int = 1
    elapsed: float = 0.0
    cached: bool = False
    reused: bool = False


class NodeHeld(_NodeEvent):
    """A node waits for an operator: answer with `retry(key)` or `stop`.

    reason: it `failed`, or it was `interrupted` in an effect that must not be repeated blindly, or an effect was
        `refused`: a budget is used up.
    """

    type: Literal["node_held"] = "node_held"
    key: str
    reason: HoldReason
    error: str
    error_type: str


class NodeReleased(_NodeEvent):
    """An operator let a held node run again, or gave its outputs."""

    type: Literal["node_released"] = "node_released"
    key: str
    given: bool = False


class ContainerStarted(_NodeEvent):
    """An iteration (`length` items) or a loop (at most `length` rounds) began."""

    type: Literal["iteration_started", "loop_started"]
    length: int


class ContainerNext(_NodeEvent):
    """Item or round `index` (from 0) begins."""

    type: Literal["iteration_next", "loop_next"]
    index: int


class WindowFinished(_NodeEvent):
    """A child workflow has run items `first` to `first + count - 1` of an iteration; its events are under `scope`.

    exceptions: failed attempts in it.
    """

    type: Literal["iteration_window"] = "iteration_window"
    scope: str
    first: int
    count: int
    exceptions: int = 0


class ContainerCompleted(_NodeEvent):
    """An iteration or a loop ended. `steps` is the number of items, or of rounds at most."""

    type: Literal["iteration_completed", "loop_completed"]
    status: NodeStatus
    outputs: dict[str, Any] = {}
    steps: int = 0
    error: str | None = None
    error_type: str | None = None
    elapsed: float = 0.0
    reason: str | None = None


class VariableUpdated(_NodeEvent):
    """An assigner wrote a variable."""

    type: Literal["variable_updated"] = "variable_updated"
    selector: tuple[str, str]
    value: Any


class VariablesSet(_Event):
    """An operator overwrote variables, by node id and name."""

    type: Literal["variables_set"] = "variables_set"
    variables: dict[str, dict[str, JsonValue]]


class TextChunk(_Event):
    """A piece of the answer, in reading order. `selector` is the variable it comes from, empty for plain text.

    live: read from the run store while it is written, so neither recorded nor numbered: `seq` is that of the event
        before it, and `offset` counts the characters of the answer before it.
    """

    type: Literal["text_chunk"] = "text_chunk"
    node_id: str
    text: str
    selector: tuple[str, ...] = ()
    frame: str = ""
    live: bool = False
    offset: int = 0


class TextStream(_Event):
    """From here on the answer is what an effect of a node writes; its whole text follows as a `TextChunk`.

    key: of the effect; a later `TextStream` of the same variable replaces it.
    start: characters of the answer before it.
    """

    type: Literal["text_stream"] = "text_stream"
    node_id: str
    selector: tuple[str, ...]
    frame: str = ""
    key: str
    start: int = 0


class TextRewind(_Event):
    """What was shown live of a variable does not count: keep the first `to` characters of the answer.

    Made for a reader, so neither recorded nor numbered: `seq` is that of the event before it.
    """

    type: Literal["text_rewind"] = "text_rewind"
    node_id: str
    selector: tuple[str, ...]
    frame: str = ""
    to: int


class FormRequired(_NodeEvent):
    """A person is asked; answer with `submit(key, action, values)`."""

    type: Literal["human_input_required"] = "human_input_required"
    key: str
    form: Form
    expires_at: int | None = None


class FormFilled(_NodeEvent):
    """The form was submitted."""

    type: Literal["human_input_form_filled"] = "human_input_form_filled"
    key: str
    action: str
    values: dict[str, JsonValue]


class FormTimeout(_NodeEvent):
    """Nobody answered in time."""

    type: Literal["human_input_form_timeout"] = "human_input_form_timeout"
    key: str


class AgentThought(_NodeEvent):
    """One round of an agent. Told when its model has answered, and again when its calls are over: the last one counts.

    thread: names the run of the agent. id, position: of the round, position from 1.
    thought: what the model said besides its calls; `answer` where it is the last round.
    calls: in order: {id, name, label, provider, provider_type, arguments, status: asked|waiting|running|done|failed,
        observation (its beginning), size, error, error_kind, elapsed, files}.
    usage: as Dify's nodes put it out.
    """

    type: Literal["agent_thought"] = "agent_thought"
    thread: str
    id: str
    position: int
    thought: str = ""
    reasoning: str = ""
    answer: str = ""
    calls: list[dict[str, Any]] = []
    usage: dict[str, Any] = {}
    model_provider: str = ""
    model_name: str = ""
    simulated: bool = False


class AgentLog(_NodeEvent):
    """An entry of the tree that Dify shows of an agent: `ROUND n`, in it `<model> Thought` and `CALL <tool>`.

    metadata: started_at, finished_at (seconds since the epoch), elapsed_time, provider, total_price, currency,
        total_tokens, where they are known.
    """

    type: Literal["agent_log"] = "agent_log"
    id: str
    parent_id: str | None = None
    label: str
    status: Literal["start", "success", "error"]
    error: str | None = None
    data: dict[str, Any] = {}
    metadata: dict[str, Any] = {}


class AgentLimit(_NodeEvent):
    """An agent met one of its limits: `reason` is that of `agents.limits.EndReason`, `note` what its model was told."""

    type: Literal["agent_limit"] = "agent_limit"
    thread: str
    reason: str
    note: str
    rounds: int


class RunPaused(_Event):
    """Nothing is in flight and nothing will start: a pause command or open forms."""

    type: Literal["run_paused"] = "run_paused"
    reasons: list[dict[str, Any]]


class RunResumed(_Event):
    """The run goes on."""

    type: Literal["run_resumed"] = "run_resumed"


class RunFinished(_Event):
    """The run ended. `elapsed` in seconds."""

    type: Literal["run_finished"] = "run_finished"
    status: Literal["succeeded", "partial-succeeded", "failed", "stopped"]
    outputs: dict[str, Any]
    error: str | None = None
    error_type: str | None = None
    node_id: str = ""
    exceptions_count: int = 0
    steps: int = 0
    elapsed: float = 0.0


Event = Annotated[
    RunStarted
    | NodeStarted
    | NodeRetry
    | NodeFinished
    | NodeHeld
    | NodeReleased
    | ContainerStarted
    | ContainerNext
    | WindowFinished
    | ContainerCompleted
    | VariableUpdated
    | VariablesSet
    | TextChunk
    | TextStream
    | TextRewind
    | FormRequired
    | FormFilled
    | FormTimeout
    | AgentThought
    | AgentLog
    | AgentLimit
    | RunPaused
    | RunResumed
    | RunFinished,
    Field(discriminator="type"),
]

# What a node may tell (`nodes.base.News`).
NEWS: dict[str, type[AgentThought | AgentLog | AgentLimit]] = {
    "agent_thought": AgentThought,
    "agent_log": AgentLog,
    "agent_limit": AgentLimit,
}

EVENTS: TypeAdapter[list[Event]] = TypeAdapter(list[Event])
