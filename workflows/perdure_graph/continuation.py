"""What a workflow hands to its successor when it moves to a fresh history: everything, as plain data."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from .document import Document
from .outbox import Outbox
from .state import RunState


class Continuation(BaseModel):
    """Input of a run, or of a window, that goes on. `histories` counts those before."""

    kind: Literal["continuation"] = "continuation"
    graph: Document
    state: RunState
    outbox: Outbox
    histories: int = 1
