"""A fresh store of each kind, with its tables made."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from fakes.postgres import Postgres, binaries, postgres
from perdure_store import migrate
from perdure_store.database import parse
from perdure_store.read import Store
from perdure_store.recorder import Recorder

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
