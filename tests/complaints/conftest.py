"""Workers that may call the target; they live on the session's server, each group on a task queue of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from complaints.flows import Target, client_of, reached, serving

from perdure import Client
from perdure_worker.embedded import EmbeddedStack, embedded

OwnWorker = Callable[..., AbstractAsyncContextManager[EmbeddedStack]]


@pytest.fixture(scope="session")
async def outside() -> AsyncIterator[Target]:
    """The target of the session."""
    async with serving() as target:
        yield target


@pytest.fixture
async def target(outside: Target) -> AsyncIterator[Target]:
    """The target with nothing counted yet; what a test has not let go is let go after it."""
    outside.requests.clear()
    outside.release.clear()
    outside.peak = 0
    yield outside
    outside.release.set()
    await reached(lambda: outside.busy == 0)


@pytest.fixture(scope="session")
def own_worker(stack: EmbeddedStack, outside: Target) -> OwnWorker:
    """Starts a worker of one's own on the session's server, to be killed: `async with own_worker("queue") as mine`."""

    @asynccontextmanager
    async def start(queue: str, *, workers: int = 1, **settings: Any) -> AsyncIterator[EmbeddedStack]:
        chosen = stack.settings.model_copy(update={"task_queue": queue, **settings})
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PERDURE_HTTP_ALLOW", f"127.0.0.1:{outside.port}")
            async with embedded(chosen, workers=workers) as mine:
                yield mine

    return start


@pytest.fixture(scope="session")
async def shared_mortal(own_worker: OwnWorker) -> AsyncIterator[EmbeddedStack]:
    """The worker that is killed again and again."""
    async with own_worker("complaints-mortal") as shared:
        yield shared


@pytest.fixture
async def mortal(shared_mortal: EmbeddedStack) -> EmbeddedStack:
    """A worker to be killed, alive whatever the test before has left behind."""
    if not shared_mortal.worker_pids:
        await shared_mortal.restart_worker()
    return shared_mortal


@pytest.fixture(scope="session")
async def place(own_worker: OwnWorker) -> AsyncIterator[EmbeddedStack]:
    """The worker that all tests share which kill nothing."""
    async with own_worker("complaints") as shared:
        yield shared


@pytest.fixture(scope="session")
def perdure(place: EmbeddedStack) -> Client:
    """A client of the shared worker."""
    return client_of(place)
