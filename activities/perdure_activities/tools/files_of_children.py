"""Graphs and agents that the tools file names, read when a tool first needs them, and again when they change."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from perdure_graph.agents.config import AgentConfig
from perdure_graph.errors import PerdureError
from perdure_graph.graph import Document, Graph

from .config import ToolsConfig
from .protocol import ToolFault


def flow_file(config: ToolsConfig, name: str) -> Document:
    """Read the graph that the tools file knows under a name.

    Raises:
        ToolFault: `unknown_tool`, no such name; or its file is wrong.
    """
    path = _path(config, config.workflows, name, "workflows")
    return _flow(path, _changed(path, name))


def agent_file(config: ToolsConfig, name: str) -> AgentConfig:
    """Read the agent that the tools file knows under a name.

    Raises:
        ToolFault: `unknown_tool`, no such name; or its file is wrong.
    """
    path = _path(config, config.agents, name, "agents")
    return _agent(path, _changed(path, name))


def _path(config: ToolsConfig, known: dict[str, Path], name: str, section: str) -> Path:
    if name in known:
        return config.beside(known[name])
    there = f"there are: {', '.join(sorted(known))}" if known else "there are none"
    raise ToolFault("unknown_tool", f"{name!r} is not under `{section}` of {config.source}; {there}.")


def _changed(path: Path, name: str) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError as error:
        raise ToolFault("unknown_tool", f"the file of {name!r} cannot be read: {path} ({error.strerror}).") from None


@lru_cache(maxsize=64)
def _flow(path: Path, _changed_at: int) -> Document:
    try:
        return Graph.load(path).document
    except PerdureError as error:
        raise ToolFault("unknown_tool", f"{path}: {error}") from None


@lru_cache(maxsize=64)
def _agent(path: Path, _changed_at: int) -> AgentConfig:
    from perdure_graph.agents.agent_file import load

    try:
        return load(path).config
    except PerdureError as error:
        raise ToolFault("unknown_tool", f"{path}: {error}") from None
