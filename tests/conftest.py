"""Session fixtures: one embedded stack per pytest process, on a task queue of its own, started when first asked for."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest
from hypothesis import settings
from temporalio.client import Client

from perdure_worker.embedded import EmbeddedStack, embedded
from perdure_worker.settings import WorkerSettings

# How long an example takes says how busy the machine is.
settings.register_profile("perdure", deadline=None)
settings.load_profile("perdure")


@pytest.fixture(scope="session")
def worker_settings() -> WorkerSettings:
    """Settings of the session's stack; nothing of the developer's own server is touched."""
    queue = f"perdure-test-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    return WorkerSettings(address=None, db=None, ui_port=None, task_queue=queue, graceful_shutdown_s=1.0)


@pytest.fixture(scope="session")
async def stack(worker_settings: WorkerSettings) -> AsyncIterator[EmbeddedStack]:
    """Server in memory, worker in its own process."""
    async with embedded(worker_settings) as running:
        yield running


@pytest.fixture(scope="session")
def client(stack: EmbeddedStack) -> Client:
    """The Temporal client of the stack."""
    return stack.client
