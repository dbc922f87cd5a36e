"""A worker that may call a counting HTTP target; it lives on the session's server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import pytest

from fakes.command_line import Done, against
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
        return await against(self.stack, *arguments)

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
