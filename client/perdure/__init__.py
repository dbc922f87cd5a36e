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
from .embedded import embedded
from .handle import RunHandle
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
