"""What goes wrong between us and a server, as faults for a model and for people. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2
from pydantic import ValidationError

from perdure_graph.agents.tools import ToolErrorKind
from perdure_graph.options import RetryClass

from ...models.stream.faults import cut
from ...net_errors import AddressBlocked
from ..protocol import ToolFault
from .secret_values import Resolved

if TYPE_CHECKING:
    from .session import SessionLost

_MOST_BYTES = 2000
_REFUSED_STATUS = frozenset({401, 403, 407})


def not_opened(server: str, lost: SessionLost, status: int | None, secrets: Resolved) -> ToolFault:
    """Say why a session did not come about."""
    kind: ToolErrorKind = "invoke"
    match lost.cause:
        case AddressBlocked():
            # Says itself what to allow.
            return ToolFault("refused", f"the MCP server {server!r} cannot be asked: {lost.cause}")
        case httpx2.TransportError() | OSError():
            why = f"{_said_by(lost.cause)}. Start it, or correct it in the worker's tools file."
        case _ if status in _REFUSED_STATUS:
            kind = "credentials"
            why = f"it answers with HTTP status {status}. Check its `headers` in the worker's tools file."
        case None:
            why = lost.said or "it ended"
        case _:
            why = lost.said or _said_by(lost.cause)
            why += f" (HTTP status {status})" if status is not None else ""
    told = secrets.hide(cut(f"the MCP server {server!r} did not start a session: {why}", _MOST_BYTES))
    return ToolFault(kind, told, retryable=kind == "invoke")


def not_in_time(server: str, seconds: float, said: str, secrets: Resolved) -> ToolFault:
    """Say that a session did not come about in time."""
    why = f"the MCP server {server!r} did not get ready within {seconds:g} s (`connect_s`)"
    return ToolFault("timeout", secrets.hide(cut(f"{why}; {said}" if said else why, _MOST_BYTES)), retryable=True)


def lost_in_call(server: str, tool: str, lost: SessionLost, retry: RetryClass, secrets: Resolved) -> ToolFault:
    """Say that a session ended while a call was under way: nobody knows whether the call was carried out."""
    why = lost.said or (_said_by(lost.cause) if lost.cause is not None else "the connection ended")
    told = (
        f"the MCP server {server!r} was lost while {tool!r} ran: {why.rstrip('.')}. It is not known whether the call "
        "was carried out. The next call starts a new session; what the server held in memory may be gone."
    )
    return ToolFault("session_lost", secrets.hide(cut(told, _MOST_BYTES)), retryable=retry == "safe")


def failed_call(server: str, tool: str, error: Exception, status: int | None, secrets: Resolved) -> ToolFault:
    """Say why a server gave no result. status: with which it last refused a message."""
    from mcp import MCPError
    from mcp_types import INTERNAL_ERROR, INVALID_PARAMS, REQUEST_TIMEOUT

    kind: ToolErrorKind = "invoke"
    match error:
        case MCPError() if error.code == INTERNAL_ERROR and status in _REFUSED_STATUS:
            kind = "credentials"
            why = (
                f"the MCP server {server!r} refused {tool!r} with HTTP status {status}. Check its `headers` in the "
                "worker's tools file."
            )
        case MCPError():
            kinds: dict[int, ToolErrorKind] = {INVALID_PARAMS: "bad_arguments", REQUEST_TIMEOUT: "timeout"}
            kind = kinds.get(error.code, kind)
            why = f"the MCP server {server!r} refused {tool!r}: {error.message or f'error {error.code}'}"
        case ValidationError():
            places = sorted({".".join(str(part) for part in one["loc"]) or "all of it" for one in error.errors()})
            why = f"the MCP server {server!r} answered {tool!r} with what is no MCP result (in {', '.join(places[:5])})"
        case _:
            why = f"the MCP server {server!r} gave no result for {tool!r}: {_said_by(error)}"
    return ToolFault(kind, secrets.hide(cut(why, _MOST_BYTES)))


def _said_by(error: BaseException) -> str:
    match error:
        case httpx2.ConnectError() | httpx2.ConnectTimeout():
            return f"no connection ({str(error) or 'refused'})"
        case OSError() if error.strerror:
            return f"{error.strerror} ({error.filename})" if error.filename else error.strerror
        case ValidationError():
            return "what it said is no MCP message"
        case _:
            return str(error) or type(error).__name__
