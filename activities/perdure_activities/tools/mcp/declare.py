"""What a server says of a tool, as a declaration. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, TypeVar

from perdure_graph.agents.config import Approval
from perdure_graph.options import RetryClass

from ..protocol import ToolDeclaration
from ..schema import declared
from .config import McpServer

if TYPE_CHECKING:
    from mcp_types import Tool

_T = TypeVar("_T", bound=str)


def allowed(name: str, globs: Sequence[str]) -> bool:
    """Whether the tools file lets a tool be used: a glob fits, and none that begins with `!` does."""
    if any(fnmatchcase(name, glob[1:]) for glob in globs if glob.startswith("!")):
        return False
    wanted = [glob for glob in globs if not glob.startswith("!")]
    return not wanted or any(fnmatchcase(name, glob) for glob in wanted)


def declaration_of(tool: Tool, server: McpServer) -> ToolDeclaration:
    """Declare a tool. What the server hints at counts where the tools file says nothing."""
    hints = tool.annotations
    return ToolDeclaration(
        provider_type="mcp",
        provider_id=server.id,
        name=tool.name,
        label=tool.title or (hints.title if hints is not None and hints.title else ""),
        description=tool.description or "",
        parameters=declared(tool.input_schema),
        retry=_said(server.retry, tool.name) or _retry(tool),
        # The session is lost with the worker; an agent can find out by itself what became of the call.
        interrupted=_said(server.interrupted, tool.name) or "tell",
        approval=_said(server.approval, tool.name) or _approval(tool),
        sequential=server.sequential,
        timeout_s=server.timeout_s,
        # Without a word most servers mean: no others.
        open=tool.input_schema.get("additionalProperties", False) is not False,
    )


def _said(setting: _T | Mapping[str, _T] | None, name: str) -> _T | None:
    if isinstance(setting, Mapping):
        return next((value for glob, value in setting.items() if fnmatchcase(name, glob)), None)
    return setting


def _retry(tool: Tool) -> RetryClass:
    # A tool that says nothing may do anything, by the protocol: doing that twice is for a person to decide.
    hints = tool.annotations
    if hints is None:
        return "never"
    if hints.read_only_hint:
        return "safe"
    return "keyed" if hints.idempotent_hint else "never"


def _approval(tool: Tool) -> Approval:
    hints = tool.annotations
    return "policy" if hints is not None and hints.destructive_hint and not hints.read_only_hint else "never"
