"""The session of one server: opened when it is first needed, shared, closed when idle, opened anew when it was lost."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

from ...net import Resolver, resolve
from ..protocol import ToolFault
from .commands import AllowedCommands, environment
from .config import McpServer
from .faults import not_in_time, not_opened
from .http import HttpLink, door_to
from .link import Link
from .secret_values import Credentials, Resolved, resolved
from .session import Session, SessionLost
from .stdio import StdioLink

_MODULES = ("mcp.client.client", "jsonschema.validators")
# A server that does not start is left alone for a moment: an agent asks for each of its tools.
_AFTER_FAILURE_S = 2.0
_PROBE_S = 5.0


class Keeper:
    """Keeps the session of a server.

    Sessions belong to the event loop that uses them. `secrets` are those of the session that was opened last.
    """

    def __init__(
        self,
        server: McpServer,
        allowed: AllowedCommands,
        *,
        credentials: Credentials | None = None,
        environ: Mapping[str, str] | None = None,
        resolver: Resolver = resolve,
        after_failure_s: float = _AFTER_FAILURE_S,
    ) -> None:
        self._server = server
        self._allowed = allowed
        self._credentials = credentials
        self._environ = os.environ if environ is None else environ
        self._resolver = resolver
        self._after_failure_s = after_failure_s
        self._session: Session | None = None
        self._opening: asyncio.Task[Session] | None = None
        self._failed: tuple[float, ToolFault] | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False
        self.secrets = Resolved()

    @property
    def session(self) -> Session | None:
        """The session that there is now, if it may be used."""
        return self._session if self._session is not None and self._session.usable else None

    @asynccontextmanager
    async def use(self) -> AsyncGenerator[Session]:
        """Lend the session, opened where there is none.

        Raises:
            ToolFault: there is none, and it cannot be opened.
        """
        session = await self._current()
        session.users += 1
        try:
            yield session
        finally:
            session.users -= 1
            if not session.users:
                self._rest(session)

    async def close(self) -> None:
        """End the session, and open none any more."""
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait({self._opening})
        self._drop()
        if self._ending:
            await asyncio.wait(self._ending)

    async def _current(self) -> Session:
        while True:
            session = self.session
            if session is None:
                session = await self._opened()
            if self._idle is not None:
                self._idle.cancel()
                self._idle = None
            if not session.doubted or await self._answers(session):
                return session
            self._drop()

    async def _opened(self) -> Session:
        if self._closed:
            raise ToolFault("session_lost", f"the worker that asks the MCP server {self._server.id!r} is closing")
        now = asyncio.get_running_loop().time()
        if self._failed is not None and now < self._failed[0]:
            raise self._failed[1].with_traceback(None)
        if self._opening is None:
            self._drop()
            self._opening = asyncio.create_task(self._open(), name=f"perdure-mcp-open-{self._server.id}")
            self._opening.add_done_callback(self._was_opened)
        # A caller that is cancelled leaves it to the others.
        return await asyncio.shield(self._opening)

    def _was_opened(self, task: asyncio.Task[Session]) -> None:
        self._opening = None
        if task.cancelled():
            return
        if (error := task.exception()) is None:
            self._session, self._failed = task.result(), None
            self._rest(self._session)
        elif isinstance(error, ToolFault):
            self._failed = (task.get_loop().time() + self._after_failure_s, error)

    async def _open(self) -> Session:
        server = self._server
        await load()
        given = server.env if server.url is None else server.headers
        self.secrets = await resolved(server.id, given, self._environ, self._credentials)
        link = self._link(self.secrets)
        session = Session(link, name=server.id, legacy=server.protocol == "legacy")
        try:
            async with asyncio.timeout(server.connect_s):
                await session.open()
                # Asked for here, the tools are known to the SDK, which checks results by them.
                await session.listed()
        except TimeoutError:
            await session.close()
            raise not_in_time(server.id, server.connect_s, link.said(), self.secrets) from None
        except SessionLost as lost:
            await session.close()
            raise not_opened(server.id, lost, link.status, self.secrets) from None
        except asyncio.CancelledError:
            await session.close()
            raise
        except Exception as error:
            await session.close()
            raise not_opened(server.id, SessionLost(link.said(), error), link.status, self.secrets) from None
        return session

    def _link(self, secrets: Resolved) -> Link:
        server = self._server
        if server.url is None:
            command = self._allowed.command_of(server)
            env = environment(secrets.values, self._environ)
            return StdioLink(command, env, server.cwd, max_bytes=server.max_bytes)
        for name, value in secrets.values.items():
            if not value.isprintable() or not value.isascii():
                raise ToolFault("credentials", f"the header {name!r} of the MCP server {server.id!r} cannot be sent.")
        try:
            door = door_to(server.url, allow_private=server.allow_private)
        except ValueError as error:
            raise ToolFault(
                "refused",
                f"the `url` of the MCP server {server.id!r} cannot be requested: {error}. Correct it in the worker's "
                "tools file.",
            ) from None
        return HttpLink(
            server.url,
            secrets.values,
            settings=door,
            max_bytes=server.max_bytes,
            connect_s=server.connect_s,
            resolver=self._resolver,
        )

    async def _answers(self, session: Session) -> bool:
        """Ask a server that let a call pass its limit whether it is still there."""
        try:
            async with asyncio.timeout(_PROBE_S):
                session.doubted = not await session.answers()
        except TimeoutError:
            return False
        return not session.doubted

    def _rest(self, session: Session) -> None:
        """Close a session that nobody uses: now, where it is of no use any more, else when it stays idle."""
        if session is not self._session:
            if not session.users:
                self._end(session)
            return
        if not session.usable:
            self._drop()
            return
        if self._idle is not None:
            self._idle.cancel()
        loop = asyncio.get_running_loop()
        self._idle = loop.call_later(self._server.idle_s, self._drop_if_idle, session)

    def _drop_if_idle(self, session: Session) -> None:
        if session is self._session and not session.users:
            self._drop()

    def _drop(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        session, self._session = self._session, None
        # Calls whose answers still come end first; the last of them closes it.
        if session is not None and (self._closed or session.doubted or not session.users):
            self._end(session)

    def _end(self, session: Session) -> None:
        task = asyncio.create_task(session.close(), name=f"perdure-mcp-close-{self._server.id}")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


async def load() -> None:
    """Import the SDK, away from the event loop: it takes a second."""
    if _MODULES[0] not in sys.modules or _MODULES[-1] not in sys.modules:
        # It logs what servers send; what matters of it is in our own faults.
        logging.getLogger("mcp").setLevel(logging.CRITICAL)
        for name in _MODULES:
            await asyncio.to_thread(importlib.import_module, name)
