"""A client of the session's stack; the activity that is iterated over is that of the benchmarks' plug-in."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from perdure import Client
from perdure_worker.embedded import EmbeddedStack


@pytest.fixture(scope="session")
def perdure(stack: EmbeddedStack) -> Client:
    if find_spec("perdure_bench_nodes") is None:
        pytest.skip("perdure-bench-nodes is not installed; `make setup` installs it")
    return Client(stack.client, stack.task_queue, task_timeout=stack.task_timeout)
