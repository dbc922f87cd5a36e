"""A store that is away: `no` at once, one caller at a time tries again, and afterwards everything is recorded."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from store.logs import meta
from structlog.testing import capture_logs

from fakes.postgres import Postgres
from perdure_store import migrate
from perdure_store.database import parse
from perdure_store.read import Store
from perdure_store.recorder import Recorder

# What a try may take, and what a busy machine adds.
LIMIT_S = 1.0
SLACK_S = 0.6


def event(seq: int) -> dict[str, Any]:
    return {"type": "text_chunk", "seq": seq, "at": seq, "node_id": "n", "text": "x"}


async def timed(recorder: Recorder, seq: int) -> tuple[str, float]:
    begun = time.monotonic()
    answer = await recorder.record(meta("r", "", [event(seq)]))
    return answer, time.monotonic() - begun


async def until_yes(recorder: Recorder, seq: int) -> None:
    async with asyncio.timeout(30):
        while await recorder.record(meta("r", "", [event(seq)])) != "yes":
            await asyncio.sleep(0.05)


@pytest.fixture
async def database(server: Postgres) -> str:
    url = await server.new_database()
    await migrate.upgrade(parse(url))
    return url


@pytest.fixture
async def recorder(database: str) -> AsyncIterator[Recorder]:
    made = Recorder(database)
    await until_yes(made, 1)
    yield made
    await made.close()


@pytest.fixture
def logs() -> Iterator[list[Any]]:
    structlog.reset_defaults()
    with capture_logs() as found:
        yield found


async def test_a_stopped_server_costs_nobody_time_and_nothing_is_lost(
    server: Postgres, database: str, recorder: Recorder, logs: list[Any]
) -> None:
    server.stop()
    try:
        answer, took = await timed(recorder, 2)
        assert answer == "no"
        assert took < LIMIT_S + SLACK_S
        # From now on nobody even tries, but for one in a second.
        answers = await asyncio.gather(*(timed(recorder, 2) for _ in range(50)))
        assert {answer for answer, _ in answers} == {"no"}
        assert max(took for _, took in answers) < 0.2
    finally:
        server.start()
    await until_yes(recorder, 2)
    async with Store.open(database) as store:
        assert [stored.seq for stored in await store.events("r")] == [1, 2]
    said = [line["event"] for line in logs if line["log_level"] == "warning"]
    assert said == ["the run store takes no events; runs go on and keep theirs", "the run store takes events again"]


async def test_a_server_that_hangs_delays_one_caller_by_the_limit(server: Postgres, recorder: Recorder) -> None:
    with server.hanging():
        answers = await asyncio.gather(*(timed(recorder, 2) for _ in range(5)))
        assert {answer for answer, _ in answers} == {"no"}
        assert max(took for _, took in answers) < LIMIT_S + SLACK_S
        await asyncio.sleep(1.1)
        answers = await asyncio.gather(*(timed(recorder, 2) for _ in range(50)))
        assert {answer for answer, _ in answers} == {"no"}
        slow = [took for _, took in answers if took > 0.3]
        assert len(slow) == 1
        assert slow[0] < LIMIT_S + SLACK_S
    await until_yes(recorder, 2)


async def test_a_recorder_may_start_before_its_database(server: Postgres, database: str) -> None:
    server.stop()
    late = Recorder(database)
    try:
        late.open()
        answer, took = await timed(late, 1)
        assert answer == "no"
        assert took < LIMIT_S + SLACK_S
    finally:
        server.start()
    await until_yes(late, 1)
    await late.close()


async def test_closing_does_not_wait_for_a_server_that_hangs(server: Postgres, database: str) -> None:
    recorder = Recorder(database)
    await until_yes(recorder, 1)
    with server.hanging():
        assert (await timed(recorder, 2))[0] == "no"
        async with asyncio.timeout(10):
            await recorder.close()
    assert await recorder.record(meta("r", "", [event(2)])) == "no"


async def test_a_database_that_is_not_migrated_is_refused_by_name_until_it_is(
    server: Postgres, logs: list[Any]
) -> None:
    url = await server.new_database()
    recorder = Recorder(url)
    assert await recorder.record(meta("r", "", [event(1)])) == "no"
    (line,) = [line for line in logs if line["log_level"] == "warning"]
    assert "has no tables. Run `perdure store migrate`" in line["reason"]
    await migrate.upgrade(parse(url))
    await until_yes(recorder, 1)
    await recorder.close()


async def test_an_sqlite_file_that_somebody_locks(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/runs.db"
    await migrate.upgrade(parse(url))
    recorder = Recorder(url)
    await until_yes(recorder, 1)
    locker = sqlite3.connect(tmp_path / "runs.db", isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")
    answer, took = await timed(recorder, 2)
    assert (answer, took < LIMIT_S + SLACK_S) == ("no", True)
    answer, took = await timed(recorder, 2)
    assert (answer, took < 0.2) == ("no", True)
    locker.execute("ROLLBACK")
    locker.close()
    await until_yes(recorder, 2)
    await recorder.close()


async def test_a_place_where_no_file_can_be_made(tmp_path: Path, logs: list[Any]) -> None:
    (tmp_path / "file").write_text("in the way")
    recorder = Recorder(f"sqlite:///{tmp_path}/file/runs.db")
    recorder.open()
    async with asyncio.timeout(10):
        while not logs:
            assert await recorder.record(meta("r", "", [event(1)])) == "no"
            await asyncio.sleep(0.02)
    assert str(tmp_path) in logs[0]["reason"]
    await recorder.close()
