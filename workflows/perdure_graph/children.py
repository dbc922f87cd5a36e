"""Effects that child workflows perform: agents and graphs that a node or an agent runs.

A child has a state of its own and does what its run is told: it pauses, goes on and stops with it. What it waits for
(forms, nodes that are held) is shown in the run, under keys that begin with its own, and commands for these are passed
on to it.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from .document import Document
from .effects import Effect, Reply
from .nodes.base import Form
from .request import RunOptions, RunStatus
from .state import MOST_DEPTH, Failure

SEPARATOR = "/"


class ChildEffect(Effect):
    """An effect that a child workflow performs. What is not the asker's own to say is filled in when it starts.

    workflow: name of its type. meta.scope is then that of the child: the key of the effect behind that of its run.
    paused: why the child begins at rest. depth: how many runs are around it, itself included; `deepest`: how many may
        be around those below it.
    """

    activity = ""
    effect_class = "child"
    workflow: ClassVar[str]

    paused: str | None = None
    options: RunOptions = RunOptions()
    flow: str = ""
    tenant: str = ""
    user: str = ""
    depth: int = 1
    deepest: int = MOST_DEPTH


class FlowAnswer(Reply):
    """What a graph gave that ran as a tool. A run that failed fails its effect instead."""

    outputs: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    files: tuple[dict[str, JsonValue], ...] = ()
    run_id: str = ""


class RunFlow(ChildEffect):
    """Run a graph to its end, as a run of its own."""

    workflow = "GraphRun"
    reply = FlowAnswer

    graph: Document
    inputs: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    query: str | None = None


class ChildNews(BaseModel):
    """What a child tells its run when its status changes, or what it waits for.

    number: counts the news of one child; older ones that come late are ignored.
    forms, failures: by key, as the child knows them; `nodes`: titles of their nodes.
    """

    model_config = ConfigDict(frozen=True)

    key: str
    number: int
    status: RunStatus
    forms: dict[str, Form] = {}
    nodes: dict[str, str] = {}
    failures: dict[str, Failure] = {}


def inputs_of(effect: ChildEffect) -> dict[str, Any]:
    """Give a child's request as the input of its workflow."""
    return effect.model_dump(mode="json")
