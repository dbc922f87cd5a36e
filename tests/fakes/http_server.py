"""A tiny HTTP server on a real socket: it records what it is asked and misbehaves on request."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
BIG = 50 * 1024 * 1024

Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


@dataclass(frozen=True)
class Recorded:
    """One request as it came over the wire."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """Value of a header, None when it was not sent."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


@dataclass
class HttpServer:
    """What a test may look at. `release` lets `/wait` answer."""

    port: int = 0
    requests: list[Recorded] = field(default_factory=list)
    connections: int = 0
    sent: int = 0
    release: asyncio.Event = field(default_factory=asyncio.Event)
    server_names: list[str | None] = field(default_factory=list)

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        """URL of a path, under any spelling of the host."""
        return f"http://{host}:{self.port}{path}"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                request = await read_request(reader)
                self.requests.append(request)
                await self._answer(request, writer)
                await writer.drain()
        writer.close()

    async def _answer(self, request: Recorded, writer: asyncio.StreamWriter) -> None:
        parts = urlsplit(request.target)
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}

        def reply(body: bytes, status: int = 200, **headers: str) -> None:
            lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}"]
            lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
            head = "\r\n".join(lines) + "\r\n\r\n"
            writer.write(head.encode("latin-1") + (b"" if request.method == "HEAD" else body))

        match parts.path:
            case "/json":
                reply(b'{"ok":true}', Content_Type="application/json")
            case "/echo":
                echo = {"method": request.method, "target": request.target, "body": request.body.decode("latin-1")}
                reply(json.dumps(echo).encode(), Content_Type="application/json")
            case "/redirect":
                reply(b"moved", int(query.get("status", "302")), Location=query["to"])
            case "/big":
                await self._big(writer, declared=query.get("declared") == "yes")
            case "/bomb":
                reply(gzip.compress(bytes(BIG)), Content_Type="text/plain", Content_Encoding="gzip")
            case "/wait":
                await self.release.wait()
                reply(b"at last", Content_Type="text/plain")
            case "/broken":
                writer.write(b"this is not HTTP\r\n\r\n")
                await writer.drain()
                raise ConnectionResetError
            case "/attachment":
                reply(b"a,b\n1,2\n", Content_Type="text/csv", Content_Disposition='attachment; filename="../t.csv"')
            case "/picture.png":
                reply(PNG, Content_Type="image/png")
            case "/typed":
                reply(request.body or b'{"a": 1}', Content_Type=query.get("type", ""))
            case "/charset":
                reply("Grüße".encode(query["name"]), Content_Type=f"text/plain; charset={query['name']}")
            case path if path.startswith("/status/"):
                reply(b"said so", int(path.rpartition("/")[2]), Content_Type="text/plain")
            case _:
                reply(b"no such path", 404, Content_Type="text/plain")

    async def _big(self, writer: asyncio.StreamWriter, *, declared: bool) -> None:
        length = f"Content-Length: {BIG}" if declared else "Connection: close"
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n{length}\r\n\r\n".encode())
        block = b"x" * 65536
        for _ in range(BIG // len(block)):
            writer.write(block)
            await writer.drain()
            self.sent += len(block)
        if not declared:
            raise ConnectionResetError


async def read_request(reader: asyncio.StreamReader) -> Recorded:
    """Read one request."""
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("utf-8").rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = tuple((key, value.strip()) for key, _, value in (line.partition(":") for line in lines))
    length = next((int(value) for key, value in headers if key.lower() == "content-length"), 0)
    return Recorded(method, target, headers, await reader.readexactly(length))


@asynccontextmanager
async def listening(handle: Handle, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Have connections to a free port handled until the block ends; gives the port."""
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(handle(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, host, 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


@asynccontextmanager
async def http_server(host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> AsyncIterator[HttpServer]:
    """Serve on a free port until the block ends."""
    server = HttpServer()
    if tls is not None:
        tls.sni_callback = lambda _socket, name, _context: server.server_names.append(name)
    async with listening(server.handle, host, tls) as server.port:
        yield server
