"""Perdure: run Dify workflow graphs as durable Temporal workflows.

    from perdure import Client, Graph

    client = await Client.connect("127.0.0.1:7233")
    handle = await client.start(Graph.load("flow.yml"), {"question": "..."})
    async for event in handle.events():
        ...
    result = await handle.result()

Path of a run: `Graph.load` validates the file, `Client.start` checks the inputs and starts the workflow `GraphRun`,
workers perform its effects, `RunHandle` watches, commands and waits.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perdure_graph.errors import (
        CommandRefused,
        InvalidGraph,
        InvalidInputs,
        NodeError,
        PerdureError,
        PlatformError,
        RunFailed,
        RunNotFound,
    )
    from perdure_graph.graph import Graph
    from perdure_graph.request import Pin, RunOptions, RunResult

    from .client import Client, RunSummary
    from .handle import RunHandle
    from .stack import embedded
    from .sync import Sync

__all__ = [
    "Client",
    "CommandRefused",
    "Graph",
    "InvalidGraph",
    "InvalidInputs",
    "NodeError",
    "PerdureError",
    "Pin",
    "PlatformError",
    "RunFailed",
    "RunHandle",
    "RunNotFound",
    "RunOptions",
    "RunResult",
    "RunSummary",
    "Sync",
    "embedded",
]

# Imported when first used: Temporal's client takes a second to import, and `perdure --help` needs none of it.
_HOMES = {
    "Client": "perdure.client",
    "Graph": "perdure_graph.graph",
    "Pin": "perdure_graph.request",
    "RunHandle": "perdure.handle",
    "RunOptions": "perdure_graph.request",
    "RunResult": "perdure_graph.request",
    "RunSummary": "perdure.client",
    "Sync": "perdure.sync",
    "embedded": "perdure.stack",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "perdure_graph.errors")), name)
