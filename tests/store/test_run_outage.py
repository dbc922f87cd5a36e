"""Real runs while their store is away: they end as ever, and once it is back their log is complete."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from itertools import pairwise
from pathlib import Path

from store.conftest import Crew, HireCrew

from fakes.graphs import code, document, end, start
from fakes.moments import ask
from fakes.postgres import Postgres
from perdure import Graph, RunHandle
from perdure_store import migrate
from perdure_store.database import parse
from perdure_store.read import Store

STEPS = 6
SLOW = "import time\ndef main(x):\n    time.sleep(0.2)\n    return {'r': x + 1}"


def steps() -> Graph:
    """start -> ask -> c0 -> c1 -> ... -> end."""
    chain = [code(f"c{n}", SLOW, {"r": "number"}, x=[f"c{n - 1}", "r"] if n else ["start", "x"]) for n in range(STEPS)]
    names = [f"c{n}" for n in range(STEPS)] + ["end"]
    edges = [("start", "ask"), ("ask", "go", "c0"), *pairwise(names)]
    return Graph.from_document(document([start(x="number"), ask("ask"), *chain, end(r=[names[-2], "r"])], edges))


async def waiting(own: Crew) -> RunHandle:
    """Start a run and wait until it asks, and that is recorded."""
    handle = await own.client.start(steps(), {"x": 1})
    async with Store.open(own.store_url, wait_s=30) as store, asyncio.timeout(30):
        while not await store.waits():
            await asyncio.sleep(0.1)
    return handle


async def complete(own: Crew, handle: RunHandle) -> None:
    """Check that the log of a run becomes complete, and is what the run itself says."""
    async with Store.open(own.store_url, wait_s=30) as store:
        async with asyncio.timeout(60):
            while await store.is_complete(handle.run_id) != (True, True):
                await asyncio.sleep(0.2)
        recorded = [stored.event for stored in await store.events_of_scope(handle.run_id)]
        assert [event.seq for event in recorded] == list(range(1, len(recorded) + 1))
        assert recorded == [event async for event in handle.events()]
        assert (await store.run(handle.run_id)).status == "succeeded"
        assert {each.status for each in await store.nodes(handle.run_id)} == {"succeeded"}


async def answered(handle: RunHandle) -> float:
    """Let a run go on to its end; give the seconds that took."""
    begun = time.monotonic()
    await handle.submit("ask", "go")
    async with asyncio.timeout(60):
        assert await handle.outputs() == {"r": 1 + STEPS}
    return time.monotonic() - begun


async def test_postgresql_goes_away_in_the_middle_of_runs(server: Postgres, crew: HireCrew) -> None:
    url = await server.new_database()
    await migrate.upgrade(parse(url))
    async with crew(url, 1.0) as own:
        before, during = await waiting(own), await waiting(own)
        server.stop()
        try:
            await answered(before)
            # Nobody but one caller in a second waits for what does not answer.
            assert await answered(during) < 30
            late = await own.client.start(steps(), {"x": 1})
            async with asyncio.timeout(30):
                while not (await late.status()).forms:
                    await asyncio.sleep(0.1)
        finally:
            server.start()
        await complete(own, before)
        await complete(own, during)
        await answered(late)
        await complete(own, late)


async def test_a_server_that_hangs_holds_no_run_up(server: Postgres, crew: HireCrew) -> None:
    url = await server.new_database()
    await migrate.upgrade(parse(url))
    async with crew(url, 1.0) as own:
        handle = await waiting(own)
        with server.hanging():
            await answered(handle)
        await complete(own, handle)


async def test_an_sqlite_file_that_somebody_locks(tmp_path: Path, crew: HireCrew) -> None:
    async with crew(f"sqlite:///{tmp_path}/runs.db", 1.0) as own:
        handle = await waiting(own)
        locker = sqlite3.connect(tmp_path / "runs.db", isolation_level=None)
        locker.execute("BEGIN IMMEDIATE")
        try:
            await answered(handle)
            async with Store.open(own.store_url) as store:
                assert (await store.run(handle.run_id)).status != "succeeded"
        finally:
            locker.execute("ROLLBACK")
            locker.close()
        await complete(own, handle)


async def test_a_store_whose_place_appears_later(tmp_path: Path, crew: HireCrew) -> None:
    place = tmp_path / "unmounted"
    place.write_text("no folder yet")
    async with crew(f"sqlite:///{place}/runs.db", 1.0) as own:
        handle = await own.client.start(steps(), {"x": 1})
        async with asyncio.timeout(30):
            while not (await handle.status()).forms:
                await asyncio.sleep(0.1)
        await answered(handle)
        place.unlink()
        place.mkdir()
        await complete(own, handle)


async def test_a_worker_killed_with_events_on_their_way_loses_none(tmp_path: Path, crew: HireCrew) -> None:
    async with crew(f"sqlite:///{tmp_path}/runs.db", 1.0) as own:
        handle = await waiting(own)
        await handle.submit("ask", "go")
        await asyncio.sleep(0.3)
        await own.restart()
        async with asyncio.timeout(60):
            assert await handle.outputs() == {"r": 1 + STEPS}
        await complete(own, handle)
