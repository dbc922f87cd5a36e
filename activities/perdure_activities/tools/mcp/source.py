"""An MCP server as a source of tools."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import JsonValue, ValidationError

from perdure_graph.agents.config import ToolType
from perdure_graph.agents.tools import ToolPart

from ...files import FileStore
from ...net import Resolver, resolve
from ..protocol import Tool, ToolCallContext, ToolDeclaration, ToolFault
from .commands import AllowedCommands
from .config import McpServer
from .declare import allowed, declaration_of
from .faults import failed_call, lost_in_call
from .keeper import Keeper
from .results import parts_of
from .secret_values import Credentials
from .session import SessionLost

if TYPE_CHECKING:
    import mcp_types

# Where a call's key stands in `_meta` of its request, for servers that know what to do with it.
KEY_IN_META = "perdure/idempotency-key"
# For so long the tools of a server are taken to be what they were, unless it says otherwise: not all servers do.
_KNOWN_S = 300.0


@dataclass(frozen=True, slots=True)
class McpTool:
    """A tool of a server."""

    declaration: ToolDeclaration
    source: McpSource

    async def run(
        self, arguments: Mapping[str, JsonValue], settings: Mapping[str, JsonValue], context: ToolCallContext
    ) -> Sequence[ToolPart]:
        """Call it once. Its server has the credentials that the tools file gives it, and no others.

        Raises:
            ToolFault: there is no result.
        """
        return await self.source.call(self.declaration, {**arguments, **settings}, context)


class McpSource:
    """The tools of one server."""

    provider_type: ToolType = "mcp"

    def __init__(
        self,
        server: McpServer,
        allowed_commands: AllowedCommands,
        store: FileStore,
        *,
        credentials: Credentials | None = None,
        environ: Mapping[str, str] | None = None,
        resolver: Resolver = resolve,
        after_failure_s: float = 2.0,
    ) -> None:
        self.server = server
        self._store = store
        self._keeper = Keeper(
            server,
            allowed_commands,
            credentials=credentials,
            environ=environ,
            resolver=resolver,
            after_failure_s=after_failure_s,
        )
        self._listed: tuple[mcp_types.Tool, ...] | None = None
        self._tools: tuple[Tool, ...] = ()
        self._known_until = 0.0

    @property
    def provider_id(self) -> str:
        """Name of the server in the tools file."""
        return self.server.id

    async def tools(self) -> Sequence[Tool]:
        """Give its tools that may be used; asks the server when they may have changed.

        Raises:
            ToolFault: it does not answer.
        """
        now = asyncio.get_running_loop().time()
        session = self._keeper.session
        old = now >= self._known_until
        if self._listed is not None and not old and (session is None or not session.changed):
            return self._tools
        async with self._keeper.use() as session:
            try:
                async with asyncio.timeout(self.server.connect_s):
                    listed = await session.listed(anew=old and self._listed is not None)
            except TimeoutError:
                session.doubted = True
                raise ToolFault(
                    "timeout", f"the MCP server {self.provider_id!r} did not list its tools in time", retryable=True
                ) from None
            except SessionLost as lost:
                raise lost_in_call(self.provider_id, "tools/list", lost, "safe", self._keeper.secrets) from None
            except Exception as error:
                raise failed_call(self.provider_id, "tools/list", error, session.status, self._keeper.secrets) from None
        self._known_until = now + _KNOWN_S
        if listed is not self._listed:
            self._listed, self._tools = listed, self._declared(listed)
        return self._tools

    async def call(
        self, tool: ToolDeclaration, arguments: dict[str, JsonValue], context: ToolCallContext
    ) -> Sequence[ToolPart]:
        """Call a tool of the server.

        Raises:
            ToolFault: there is no result.
        """
        if not allowed(tool.name, self.server.tools):
            raise ToolFault("refused", f"{tool.name!r} of the MCP server {self.provider_id!r} is not allowed")
        limit = min(context.timeout_s, self.server.timeout_s)
        try:
            async with asyncio.timeout(limit):
                result = await self._asked(tool, arguments, context)
        except TimeoutError:
            raise ToolFault(
                "timeout",
                f"the MCP server {self.provider_id!r} gave no result for {tool.name!r} within {limit:g} s",
                retryable=tool.retry == "safe",
            ) from None
        return await parts_of(result, tool=tool.name, store=self._store, secrets=self._keeper.secrets)

    async def close(self) -> None:
        """End its session."""
        await self._keeper.close()

    def _declared(self, listed: Sequence[mcp_types.Tool]) -> tuple[Tool, ...]:
        found: list[Tool] = []
        for tool in listed:
            if allowed(tool.name, self.server.tools):
                try:
                    found.append(McpTool(declaration_of(tool, self.server), self))
                except (ValidationError, TypeError, ValueError, RecursionError):
                    # One that cannot be declared leaves the others alone.
                    continue
        return tuple(found)

    async def _asked(
        self, tool: ToolDeclaration, arguments: dict[str, JsonValue], context: ToolCallContext
    ) -> mcp_types.CallToolResult:
        for again in (False, True):
            async with self._keeper.use() as session:
                try:
                    return await session.call(tool.name, arguments, {KEY_IN_META: context.key})
                except SessionLost as lost:
                    # A server that was started anew refuses sessions of its past before it does anything.
                    if lost.refused and not again:
                        continue
                    secrets = self._keeper.secrets
                    raise lost_in_call(self.provider_id, tool.name, lost, tool.retry, secrets) from None
                except asyncio.CancelledError:
                    session.doubted = True
                    raise
                except Exception as error:
                    secrets = self._keeper.secrets
                    raise failed_call(self.provider_id, tool.name, error, session.status, secrets) from None
        raise AssertionError("it is tried twice at most")
