"""Start and steer a fake provider from Python."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import quote

from pydantic import TypeAdapter

from .journal import Entry
from .script import Script
from .server import FakeServer

_ENTRIES = TypeAdapter(list[Entry])
_STARTS_S = 20.0
_ENDS_S = 5.0


@dataclass(frozen=True)
class FakeProvider:
    """A running fake provider.

    url: of the server; `openai_url` and `anthropic_url` are the base URLs that the SDKs take.
    pid: of its process.
    refused_url: where every connection is refused, as long as this runs.
    """

    url: str
    pid: int
    refused_url: str

    @property
    def openai_url(self) -> str:
        """Base URL for OpenAI's SDK and those that are compatible with it."""
        return f"{self.url}/v1"

    @property
    def anthropic_url(self) -> str:
        """Base URL for Anthropic's SDK."""
        return self.url

    @staticmethod
    @asynccontextmanager
    async def start_here(script: Script | None = None, port: int = 0) -> AsyncGenerator[FakeProvider]:
        """Serve from the running loop until the block ends."""
        server = FakeServer(script)
        await server.start(port)
        try:
            with _refusing() as refused:
                yield FakeProvider(server.base, os.getpid(), refused)
        finally:
            await server.stop()

    @staticmethod
    @asynccontextmanager
    async def start_process(script: Script | None = None, port: int = 0) -> AsyncGenerator[FakeProvider]:
        """Serve from a process of its own until the block ends; it dies with this one, too.

        Raises:
            RuntimeError: it does not start.
            ValueError: the script has a fault that there is not.
        """
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "perdure_fake", "--port", str(port), "--until-stdin-closes"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        try:
            line = await asyncio.wait_for(process.stdout.readline(), _STARTS_S)
            if not line:
                raise RuntimeError(f"the fake provider ended at once, with {await process.wait()}")
            with _refusing() as refused:
                fake = FakeProvider(json.loads(line)["url"], process.pid, refused)
                if script is not None:
                    await fake.script(script)
                yield fake
        finally:
            await _ended(process)

    async def script(self, script: Script) -> None:
        """Give it another script; nothing of that is used up.

        Raises:
            ValueError: it names a fault that there is not.
        """
        await self._control("POST", "/__script", script.model_dump_json().encode())

    async def journal(self, since: int = 0, model: str = "*") -> list[Entry]:
        """Give the requests so far, without the first `since`; of models whose name is like `model` (`*`, `?`).

        Of very many, or very large ones, it has only the newest.
        """
        asked = f"/__journal?since={since}&model={quote(model)}"
        return _ENTRIES.validate_json(await self._control("GET", asked))

    async def reset(self) -> None:
        """Empty the journal, and take the script from its start."""
        await self._control("POST", "/__reset")

    async def _control(self, method: str, path: str, body: bytes = b"") -> bytes:
        host, _, port = self.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            lines = (f"{method} {path} HTTP/1.1", f"host: {host}", f"content-length: {len(body)}", "", "")
            writer.write("\r\n".join(lines).encode() + body)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = int(head.partition("content-length:")[2].partition("\r\n")[0])
            answer = await reader.readexactly(length)
        finally:
            writer.close()
        if " 200 " not in head.partition("\r\n")[0]:
            raise ValueError(json.loads(answer)["error"])
        return answer


@contextmanager
def _refusing() -> Generator[str]:
    """Hold a port on which nothing listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


async def _ended(process: asyncio.subprocess.Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _ENDS_S)
    except TimeoutError:
        process.kill()
        await process.wait()
