"""One connection to a server, held by a task of its own.

The SDK's client is made of anyio scopes, which must be left in the task that entered them. So one task enters it, waits
and leaves it; calls come from whatever task wants them and only pass messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import anyio
from pydantic import ValidationError

from .link import Link

if TYPE_CHECKING:
    from mcp.client.client import Client
    from mcp.client.session import IncomingMessage
    from mcp_types import CallToolResult, Tool

_T = TypeVar("_T")

_MOST_PAGES = 100
_CLOSE_S = 6.0
_LISTEN_AGAIN_S = (1.0, 60.0)
# How long to wait for what a session says of its end: of one that is ending, and of one that may be.
_REASON_S = 3.0
_UNWIND_S = 0.25


class SessionLost(Exception):
    """The session ended, or never began.

    cause: what ended it, where something did. refused: whether the server surely did not do what it was asked.
    """

    def __init__(self, said: str, cause: BaseException | None = None, *, refused: bool = False) -> None:
        self.said = said
        self.cause = cause
        self.refused = refused
        super().__init__(said)


class Session:
    """A connection that is opened once, used by many and closed once.

    users: calls in flight. doubted: a call got no answer in time, so that nobody knows whether the server lives.
    """

    def __init__(self, link: Link, *, name: str, legacy: bool = False) -> None:
        self._link = link
        self._name = name
        self._legacy = legacy
        self._end = asyncio.Event()
        self._stale = False
        self._changed = True
        self._listed: tuple[Tool, ...] = ()
        self._listing = asyncio.Lock()
        self._ready: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None
        self._cause: BaseException | None = None
        self.users = 0
        self.doubted = False

    @property
    def usable(self) -> bool:
        """Whether a new call may use it."""
        running = self._task is not None and not self._task.done()
        return running and not (self._stale or self._link.forgotten or self._end.is_set())

    @property
    def status(self) -> int | None:
        """HTTP status with which the server last refused a message, since it was opened."""
        return self._link.status

    @property
    def changed(self) -> bool:
        """Whether its tools may be others than those last listed."""
        return self._changed

    async def open(self) -> None:
        """Connect and agree on a version of the protocol; the caller bounds the time.

        Raises:
            SessionLost: it did not come about.
        """
        self._task = asyncio.create_task(self._hold(), name=f"perdure-mcp-{self._name}")
        try:
            await asyncio.shield(self._ready)
        except asyncio.CancelledError:
            await self.close()
            raise

    async def listed(self, *, anew: bool = False) -> tuple[Tool, ...]:
        """Give the server's tools; asks it where they may have changed, or where it is told to.

        Raises:
            SessionLost: the session is over.
        """
        async with self._listing:
            if self._changed or anew:
                # Before asking: what changes meanwhile must be asked for again.
                self._changed = False
                try:
                    self._listed = await self._within(self._pages())
                except BaseException:
                    self._changed = True
                    raise
            return self._listed

    async def answers(self) -> bool:
        """Ask for something small; any answer will do, an error too. The caller bounds the time."""
        from mcp import MCPError

        client = await asyncio.shield(self._ready)
        try:
            await self._within(client.list_tools())
        except SessionLost:
            return False
        except (MCPError, ValidationError):
            return True
        return True

    async def call(self, name: str, arguments: dict[str, Any], meta: dict[str, Any]) -> CallToolResult:
        """Call a tool. Cancelling tells the server to stop.

        Raises:
            SessionLost: the session ended meanwhile.
            MCPError, RuntimeError, ValidationError: of the SDK: the server refused, or its answer is wrong.
        """
        client = await asyncio.shield(self._ready)
        return await self._within(client.call_tool(name, arguments, meta=meta))  # pyright: ignore[reportArgumentType]

    async def close(self) -> None:
        """End it; calls in flight lose it."""
        self._end.set()
        if self._task is None or self._task.done():
            return
        done: set[asyncio.Task[None]] = set()
        if self._ready.done():
            done, _ = await asyncio.wait({self._task}, timeout=_CLOSE_S)
        if not done:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=_CLOSE_S)

    async def _within(self, asked: Awaitable[_T]) -> _T:
        """Wait for an answer; tell one that cannot come any more from one that is an error."""
        from mcp import MCPError
        from mcp_types import CONNECTION_CLOSED, INVALID_REQUEST

        try:
            return await asked
        except MCPError as error:
            if error.code == INVALID_REQUEST and self._link.forgotten:
                raise SessionLost(self._link.said(), refused=True) from None
            if error.code != CONNECTION_CLOSED:
                raise
            lost = error
        except (anyio.ClosedResourceError, anyio.BrokenResourceError) as error:
            lost = error
        # An answer may have broken off while others still come: these may end, but nothing new begins.
        self._stale = True
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=_REASON_S if self._end.is_set() else _UNWIND_S)
        said = self._link.said() or ("" if self._cause is not None else str(lost))
        raise SessionLost(said, self._cause) from None

    async def _pages(self) -> tuple[Tool, ...]:
        client = await asyncio.shield(self._ready)
        found: dict[str, Tool] = {}
        cursor: str | None = None
        for _ in range(_MOST_PAGES):
            page = await client.list_tools(cursor=cursor)
            found.update((tool.name, tool) for tool in page.tools)
            if not page.next_cursor or page.next_cursor == cursor:
                break
            cursor = page.next_cursor
        return tuple(found.values())

    async def _hold(self) -> None:
        from mcp.client.client import Client
        from mcp_types import Implementation

        try:
            async with Client(
                self._link.streams(self._end.set),
                mode="legacy" if self._legacy else "auto",
                message_handler=self._heard,
                client_info=Implementation(name="perdure", version="1"),
                cache=None,
            ) as client:
                # What was refused until here was the greeting of another version.
                self._link.status = None
                self._ready.set_result(client)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._listen, client)
                    await self._end.wait()
                    tasks.cancel_scope.cancel()
        except Exception as error:
            self._cause = _first_of(error)
        finally:
            self._end.set()
            if not self._ready.done():
                self._ready.set_exception(SessionLost(self._link.said(), self._cause))
                # Nobody may be waiting any more.
                self._ready.exception()

    async def _heard(self, message: IncomingMessage) -> None:
        from mcp_types import ToolListChangedNotification

        if isinstance(message, ToolListChangedNotification):
            self._changed = True

    async def _listen(self, client: Client) -> None:
        """Have the server tell when its tools change, where that must be asked for."""
        from mcp import MCPError
        from mcp.client.subscriptions import ListenNotSupportedError, SubscriptionLost

        tools = client.server_capabilities.tools
        if tools is None or not tools.list_changed:
            return
        wait, most = _LISTEN_AGAIN_S
        while True:
            try:
                async with client.listen(tools_list_changed=True) as events:
                    # Nobody told what changed before now.
                    self._changed = True
                    wait = _LISTEN_AGAIN_S[0]
                    async for _ in events:
                        self._changed = True
            except ListenNotSupportedError:
                return
            except (MCPError, SubscriptionLost):
                pass
            await asyncio.sleep(wait)
            wait = min(2 * wait, most)


def _first_of(error: Exception) -> BaseException:
    """Take the first error out of a group of them."""
    first: BaseException = error
    while isinstance(first, BaseExceptionGroup):
        first = cast("BaseExceptionGroup[BaseException]", first).exceptions[0]
    return first
