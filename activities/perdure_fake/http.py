"""HTTP/1.1 on a raw socket: a request read whole, bytes written as they are, and a client that leaves noticed."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

MAX_BODY = 64 * 1024 * 1024


class ClientGone(Exception):
    """The client closed the connection before it had the whole response."""


class BadRequest(Exception):
    """What came is not HTTP as we read it."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request. Header names are in small letters."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


class Connection(asyncio.Protocol):
    """One connection. Everything that waits on it is woken when the client goes away."""

    def __init__(
        self, serve: Callable[[Connection], Coroutine[Any, Any, None]], tasks: set[asyncio.Task[None]]
    ) -> None:
        self._serve = serve
        self._tasks = tasks
        self._buffer = bytearray()
        self._paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport
        self.gone = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start to serve."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        task = asyncio.get_running_loop().create_task(self._serve(self))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def data_received(self, data: bytes) -> None:
        """Keep what came."""
        self._buffer += data
        self._wake()

    def eof_received(self) -> bool:
        """Take the end of what the client sends as its leaving; no SDK keeps half a connection."""
        self.gone = True
        self._wake()
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Note that nobody is there any more."""
        self.gone = True
        self._wake()

    def pause_writing(self) -> None:
        """Wait before more is written."""
        self._paused = True

    def resume_writing(self) -> None:
        """Go on writing."""
        self._paused = False
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _woken(self, seconds: float | None = None) -> None:
        loop = asyncio.get_running_loop()
        waiter = self._waiter = loop.create_future()
        alarm = loop.call_later(seconds, self._wake) if seconds is not None else None
        try:
            await waiter
        finally:
            self._waiter = None
            if alarm is not None:
                alarm.cancel()

    async def _line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            await self._more()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    async def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            await self._more()
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    async def _more(self) -> None:
        if self.gone:
            raise ClientGone
        await self._woken()

    async def request(self) -> Request:
        """Read the next request.

        Raises:
            ClientGone: there is none any more.
            BadRequest: it cannot be read.
        """
        try:
            method, target, version = (await self._line()).decode("latin-1").split(" ")
        except ValueError as error:
            raise BadRequest("no request line") from error
        if version != "HTTP/1.1":
            raise BadRequest(f"{version} is not served")
        headers: dict[str, str] = {}
        while line := await self._line():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        if headers.get("expect", "").lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        return Request(method, unquote(parts.path), query, headers, await self._body(headers))

    async def _body(self, headers: dict[str, str]) -> bytes:
        try:
            if headers.get("transfer-encoding", "").lower() == "chunked":
                body = bytearray()
                while size := int((await self._line()).partition(b";")[0], 16):
                    if len(body) + size > MAX_BODY:
                        raise BadRequest("the body is too long")
                    body += await self._exactly(size)
                    await self._line()
                while await self._line():
                    pass
                return bytes(body)
            length = int(headers.get("content-length", "0"))
        except ValueError as error:
            raise BadRequest("no length of the body") from error
        if not 0 <= length <= MAX_BODY:
            raise BadRequest("the body is too long")
        return await self._exactly(length)

    async def pause(self, seconds: float | None) -> None:
        """Let time pass.

        Raises:
            ClientGone: the client left meanwhile.
        """
        loop = asyncio.get_running_loop()
        until = None if seconds is None else loop.time() + seconds
        while not self.gone:
            left = None if until is None else until - loop.time()
            if left is not None and left <= 0:
                return
            await self._woken(left)
        raise ClientGone

    async def write(self, data: bytes) -> None:
        """Send bytes, and let others have a turn.

        Raises:
            ClientGone: nobody reads them.
        """
        if self.gone:
            raise ClientGone
        self._transport.write(data)
        await asyncio.sleep(0)
        while self._paused and not self.gone:
            await self._woken()

    def close(self) -> None:
        """End the connection after what was written."""
        self._transport.close()

    def reset(self) -> None:
        """End the connection with RST, not FIN."""
        sock = self._transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()
