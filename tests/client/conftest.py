"""A worker that may call a counting HTTP target; it lives on the session's server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import pytest

from fakes.command_line import COMMAND, Done
from fakes.http_server import HttpServer, http_server
from perdure import Client
from perdure_worker.embedded import EmbeddedStack, embedded
from perdure_worker.settings import WorkerSettings


@dataclass
class Outside:
    """A client whose runs may call `server`."""

    client: Client
    stack: EmbeddedStack
    server: HttpServer

    def url(self, who: str) -> str:
        """A URL that answers with what it was asked, and is counted under a name (which may hold a variable)."""
        return self.server.url(f"/echo?of={who}")

    async def cli(self, *arguments: object) -> Done:
        """Run a command of the real command line against the stack."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PERDURE_")}
        environment |= {"PERDURE_ADDRESS": self.stack.address, "PERDURE_TASK_QUEUE": self.stack.task_queue}
        environment["PERDURE_STORE"] = self.stack.store_url
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            *map(str, arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
        )
        async with asyncio.timeout(90):
            out, err = await process.communicate()
        return Done(process.returncode or 0, out.decode(), err.decode())

    def asked(self) -> list[str]:
        """Who was asked for since the last time, in order."""
        found = [parse_qs(urlsplit(request.target).query)["of"][0] for request in self.server.requests]
        self.server.requests.clear()
        return found


@pytest.fixture(scope="session")
async def _outside(stack: EmbeddedStack, worker_settings: WorkerSettings) -> AsyncIterator[Outside]:
    async with http_server() as server:
        chosen = worker_settings.model_copy(update={"address": stack.address, "task_queue": "outside"})
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PERDURE_HTTP_ALLOW", f"127.0.0.1:{server.port}")
            async with embedded(chosen) as own:
                yield Outside(Client(own.client, own.task_queue, store=own.store_url), own, server)


@pytest.fixture
def outside(_outside: Outside) -> Outside:
    """The worker and its target, with nothing counted yet."""
    _outside.server.requests.clear()
    return _outside
