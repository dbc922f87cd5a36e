"""What the activities of agents need, as they find it in their worker."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from perdure_graph.errors import PlatformError

if TYPE_CHECKING:
    from perdure_store.memories import Memories
    from perdure_store.threads import Threads

    from ..models.runtime import Runtime
    from ..tools.protocol import Registry


@dataclass(frozen=True, slots=True)
class AgentSupport:
    """What a worker has for agents and tools.

    threads, memories: in the run store. runs_dir: where each run has a folder for the files of its tools.
    """

    models: Runtime
    registry: Registry
    threads: Threads
    memories: Memories
    runs_dir: Path


# The worker sets it around each activity, as it does the runtime of models.
AGENTS: ContextVar[AgentSupport | None] = ContextVar("perdure_agents", default=None)


def current() -> AgentSupport:
    """Give the support of the worker that runs this activity.

    Raises:
        PlatformError: the worker has none.
    """
    support = AGENTS.get()
    if support is None:
        raise PlatformError(
            "This worker has nothing to run agents and tools with. Start it with `perdure worker`, or give "
            "`make_worker` what they need."
        )
    return support
