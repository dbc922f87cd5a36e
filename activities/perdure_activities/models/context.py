"""The model runtime of a worker, as its activities find it."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from perdure_graph.errors import PlatformError

if TYPE_CHECKING:
    from .runtime import Runtime

# The worker sets it around each activity: one process may run several workers, each with a runtime of its own.
RUNTIME: ContextVar[Runtime | None] = ContextVar("perdure_model_runtime", default=None)


def current() -> Runtime:
    """Give the runtime of the worker that runs this activity.

    Raises:
        PlatformError: the worker has none.
    """
    runtime = RUNTIME.get()
    if runtime is None:
        raise PlatformError(
            "This worker has no model runtime, so it cannot ask a model. Start it with `perdure worker`, or give "
            "`make_worker` a runtime."
        )
    return runtime
