"""A fresh store of each kind, with its tables made; and workers of the session's server with a store of their own."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from fakes.http_server import HttpServer, http_server
from fakes.postgres import Postgres, binaries, postgres
from perdure import Client
from perdure_store import migrate
from perdure_store.database import parse
from perdure_store.read import Store
from perdure_store.recorder import Recorder
from perdure_worker.embedded import EmbeddedStack, embedded
from perdure_worker.settings import WorkerSettings

KINDS = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def server() -> Iterator[Postgres]:
    """One PostgreSQL server for the session."""
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed here, or there is no user to run it as")
    with postgres() as running:
        yield running


@pytest.fixture(params=KINDS)
async def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a store without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/runs.db"
    return await request.getfixturevalue("server").new_database()


@pytest.fixture
async def url(empty_url: str) -> str:
    """The URL of a store."""
    await migrate.upgrade(parse(empty_url))
    return empty_url


@pytest.fixture
async def recorder(url: str) -> AsyncIterator[Recorder]:
    """A recorder of that store."""
    # Patient: a busy machine is no outage.
    made = Recorder(url, limit_s=10.0)
    yield made
    await made.close()


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    """That store, open for reading."""
    async with Store.open(url, poll_s=0.05) as opened:
        yield opened


@dataclass(frozen=True)
class Crew:
    """A worker with a run store of its own, its client, and a counting HTTP server that its runs may call."""

    client: Client
    stack: EmbeddedStack
    server: HttpServer

    @property
    def store_url(self) -> str:
        """Where it records."""
        return self.stack.store_url

    async def restart(self) -> None:
        """Kill the worker and start another."""
        await self.stack.kill_worker()
        await self.stack.restart_worker()

    def asked(self) -> int:
        """How many requests came since the last time."""
        count = len(self.server.requests)
        self.server.requests.clear()
        return count


HireCrew = Callable[..., AbstractAsyncContextManager[Crew]]


@pytest.fixture(scope="session")
def crew(stack: EmbeddedStack, worker_settings: WorkerSettings) -> HireCrew:
    """Start a worker on the session's server for the length of a block; `store` as in the settings."""

    @asynccontextmanager
    async def hire(store: str | None = None, limit_s: float = 4.0) -> AsyncIterator[Crew]:
        queue = f"store-{uuid.uuid4()}"
        # Patient: a busy machine is no outage.
        given = {"address": stack.address, "task_queue": queue, "store": store, "store_limit_s": limit_s}
        given |= {"blobs": stack.blobs, "blobs_create": False}
        async with http_server() as server:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("PERDURE_HTTP_ALLOW", f"127.0.0.1:{server.port}")
                async with embedded(worker_settings.model_copy(update=given)) as own:
                    client = Client(own.client, own.task_queue, task_timeout=own.task_timeout, store=own.store_url)
                    if store is None:
                        async with Store.open(own.store_url, wait_s=30):
                            pass
                    yield Crew(client, own, server)

    return hire
