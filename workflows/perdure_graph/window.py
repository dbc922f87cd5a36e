"""The contract between a run and the windows of its large iterations: what a child workflow is given and answers."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from .document import Document
from .request import Pin, RunError, RunOptions
from .values import ValueType


class WindowRequest(BaseModel):
    """Input of `IterationWindow`: items `first`, `first + 1`, ... of iteration `container`.

    scope: its own; `within` is that of the run whose items these are.
    graph: the document cut down to the body of the iteration.
    variables: what the body can see of the run, by node id.
    parallel: items at once.
    """

    model_config = ConfigDict(frozen=True)

    graph: Document
    graph_hash: str
    run_id: str
    scope: str
    within: str = ""
    container: str
    first: int
    items: list[Any]
    parallel: int
    variables: dict[str, dict[str, Any]]
    types: dict[str, dict[str, ValueType]]
    pins: dict[str, Pin] = {}
    options: RunOptions
    flow: str
    tenant: str
    paused: str | None = None


class WindowOutcome(BaseModel):
    """Output of `IterationWindow`. `results` and `dropped` by index in the whole iteration.

    error: what ended the iteration, when it ends at the first failure.
    """

    model_config = ConfigDict(frozen=True)

    results: dict[int, Any] = {}
    dropped: list[int] = []
    error: RunError | None = None
    exceptions_count: int = 0
    steps: int = 0


class WindowRest(BaseModel):
    """What a window tells its run: after a pause it is at rest, or it goes on."""

    model_config = ConfigDict(frozen=True)

    key: str
    paused: bool
