"""Perdure: run Dify workflow graphs as durable Temporal workflows.

    from perdure import Client, Graph

    client = await Client.connect("127.0.0.1:7233")
    handle = await client.start(Graph.load("flow.yml"), {"question": "..."})
    async for event in handle.events():
        ...
    result = await handle.result()

    handle = await client.start_agent("assistant.yml", "What is due today?")

Path of a run: `Graph.load` validates the file, `Client.start` checks the inputs and starts the workflow `GraphRun`
(`Client.start_agent` checks an agent and starts `AgentRun`), workers perform its effects, `RunHandle` watches,
commands and waits.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perdure_graph.agents.agent_file_draft import LoadedAgent
    from perdure_graph.agents.config import (
        AgentConfig,
        AgentLimits,
        AgentModel,
        ApprovalPolicy,
        ConversationMemory,
        LongTermMemory,
        ToolUse,
    )
    from perdure_graph.errors import (
        CommandRefused,
        InvalidAgent,
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

    from .agents import read_agent
    from .approvals import Approval
    from .client import Client, RunSummary
    from .handle import RunHandle
    from .stack import embedded
    from .sync import Sync

__all__ = [
    "AgentConfig",
    "AgentLimits",
    "AgentModel",
    "Approval",
    "ApprovalPolicy",
    "Client",
    "CommandRefused",
    "ConversationMemory",
    "Graph",
    "InvalidAgent",
    "InvalidGraph",
    "InvalidInputs",
    "LoadedAgent",
    "LongTermMemory",
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
    "ToolUse",
    "embedded",
    "read_agent",
]

# Imported when first used: Temporal's client takes a second to import, and `perdure --help` needs none of it.
_AGENTS = "perdure_graph.agents.config"
_HOMES = {
    "AgentConfig": _AGENTS,
    "AgentLimits": _AGENTS,
    "AgentModel": _AGENTS,
    "Approval": "perdure.approvals",
    "ApprovalPolicy": _AGENTS,
    "Client": "perdure.client",
    "ConversationMemory": _AGENTS,
    "Graph": "perdure_graph.graph",
    "LoadedAgent": "perdure_graph.agents.agent_file_draft",
    "LongTermMemory": _AGENTS,
    "Pin": "perdure_graph.request",
    "RunHandle": "perdure.handle",
    "RunOptions": "perdure_graph.request",
    "RunResult": "perdure_graph.request",
    "RunSummary": "perdure.client",
    "Sync": "perdure.sync",
    "ToolUse": _AGENTS,
    "embedded": "perdure.stack",
    "read_agent": "perdure.agents",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "perdure_graph.errors")), name)
