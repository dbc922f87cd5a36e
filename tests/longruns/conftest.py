"""One time-skipping server for all tests of long runs."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from fakes.time_skipping import Skipping, skipping_or_skip


@pytest.fixture(scope="session")
async def time() -> AsyncIterator[Skipping]:
    """A server whose clock jumps, with a worker."""
    async with skipping_or_skip() as running:
        yield running
