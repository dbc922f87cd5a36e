"""One time-skipping server for all tests of long runs."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from fakes.time_skipping import Skipping, Unavailable, skipping


@pytest.fixture(scope="session")
async def time() -> AsyncIterator[Skipping]:
    """A server whose clock jumps, with a worker."""
    try:
        opened = skipping()
        running = await opened.__aenter__()
    except Unavailable as error:
        pytest.skip(str(error))
    try:
        yield running
    finally:
        await opened.__aexit__(None, None, None)
