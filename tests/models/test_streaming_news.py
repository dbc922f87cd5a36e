"""Text on its way through the store: from the sink beside a model's stream to whoever watches the run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from fakes.postgres import Postgres, binaries, postgres
from perdure_activities.models import deltas
from perdure_activities.models.deltas import DeltaSink
from perdure_graph.effects import EffectMeta
from perdure_graph.models.effects import InvokeModel, StreamTo
from perdure_store import migrate
from perdure_store.database import parse
from perdure_store.ledger import Ledger
from perdure_store.ledger_records import DeltaRow
from perdure_store.news import Watch, board_of
from perdure_store.recorder import Recorder


@pytest.fixture(scope="session")
def database() -> Iterator[Postgres]:
    """One PostgreSQL server for the session."""
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed here, or there is no user to run it as")
    with postgres() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a fresh store."""
    made = f"sqlite:///{tmp_path}/runs.db"
    if request.param == "postgresql":
        made = await request.getfixturevalue("database").new_database()
    await migrate.upgrade(parse(made))
    return made


@pytest.fixture
async def ledger(url: str) -> AsyncIterator[Ledger]:
    """The ledger of a worker that records there."""
    recorder = Recorder(url, limit_s=10.0)
    yield Ledger(recorder)
    await recorder.close()


def effect(run_id: str = "run", key: str = "a", *, stream: bool = True) -> InvokeModel:
    target = StreamTo(node_id="a", selector=("a", "text")) if stream else None
    meta = EffectMeta(run_id=run_id, key=key, idempotency_key=f"{run_id}/a#1/1")
    return InvokeModel(meta=meta, provider="p", model="m", messages=(), stream=target)


class Known:
    """Stands in for a ledger: keeps rows, or refuses them."""

    def __init__(self, *answers: bool) -> None:
        self.is_off = False
        self.answers = list(answers)
        self.calls: list[tuple[DeltaRow, ...]] = []

    async def write_deltas(self, rows: Sequence[DeltaRow]) -> bool:
        self.calls.append(tuple(rows))
        await asyncio.sleep(0.001)
        return self.answers.pop(0) if self.answers else True

    def text(self) -> str:
        rows = {row.n: row for call in self.calls for row in call}
        assert [row.offset for _, row in sorted(rows.items())] == [
            sum(len(rows[m].text) for m in range(n)) for n in sorted(rows)
        ]
        return "".join(rows[n].text for n in range(len(rows)))


async def test_the_first_piece_is_written_at_once_and_the_others_in_batches() -> None:
    known = Known()
    sink = DeltaSink(known, effect(), 3)
    await sink.text("first")
    await asyncio.sleep(0.005)
    assert [row.text for call in known.calls for row in call] == ["first"]
    for index in range(100):
        await sink.text(f" {index}")
        await asyncio.sleep(0.001)
    await sink.done()
    rows = [row for call in known.calls for row in call]
    assert known.text() == "first" + "".join(f" {index}" for index in range(100))
    assert {row.epoch for row in rows} == {3}
    assert 3 <= len(rows) <= 20
    assert [row.done for row in rows] == [False] * (len(rows) - 1) + [True]


async def test_much_text_does_not_wait_for_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deltas, "BATCH_S", 60.0)
    known = Known()
    sink = DeltaSink(known, effect(), 1)
    await sink.text("first")
    await asyncio.sleep(0.01)
    await sink.text("x" * deltas.BATCH_CHARS)
    await asyncio.sleep(0.01)
    await sink.text("y")
    await asyncio.sleep(0.01)
    assert [len(row.text) for call in known.calls for row in call] == [5, deltas.BATCH_CHARS]


async def test_a_batch_whose_answer_was_lost_is_sent_again_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deltas, "AGAIN_S", 0.01)
    known = Known(True, False, False)
    sink = DeltaSink(known, effect(), 1)
    for piece in "abcdefgh":
        await sink.text(piece)
        await asyncio.sleep(0.03)
    await sink.done()
    assert known.text() == "abcdefgh"
    by_number: dict[int, set[DeltaRow]] = {}
    for call in known.calls:
        for row in call:
            by_number.setdefault(row.n, set()).add(row)
    assert all(len(same) == 1 for same in by_number.values())
    assert len(known.calls) > len(by_number)


async def test_a_store_that_is_away_costs_no_time_and_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deltas, "MOST_CHARS", 1000)
    away = Known(*[False] * 1000)
    sink = DeltaSink(away, effect(), 1)
    begun = time.monotonic()
    for _ in range(50):
        await sink.text("x" * 100)
        await asyncio.sleep(0)
    await sink.done()
    assert time.monotonic() - begun < 0.5
    assert sum(len(row.text) for row in away.calls[-1]) <= 1000
    count = len(away.calls)
    await asyncio.sleep(0.3)
    assert len(away.calls) == count, "nothing goes on after the end"


async def test_an_attempt_that_failed_leaves_nothing_running(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deltas, "AGAIN_S", 0.01)
    for answers, wait_s in (([], 0.0), ([False] * 1000, 0.0), ([False] * 1000, 0.05)):
        known = Known(*answers)
        sink = DeltaSink(known, effect(), 1)
        await sink.text("half")
        await asyncio.sleep(wait_s)
        sink.leave()
        await asyncio.sleep(0.05)
        count = len(known.calls)
        await asyncio.sleep(0.05)
        assert len(known.calls) == count
        assert known.calls[0][0].text == "half"


async def test_without_a_reader_nothing_is_written() -> None:
    known = Known()
    for sink in (DeltaSink(known, effect(stream=False), 1), DeltaSink(Ledger(Recorder("off")), effect(), 1)):
        await sink.text("x")
        await sink.done()
    assert known.calls == []


async def gathered(watch: Watch, most_s: float = 10.0) -> list[DeltaRow]:
    """Follow one effect to the end of its text."""
    rows: list[DeltaRow] = []
    async with asyncio.timeout(most_s):
        while not rows or not rows[-1].done:
            for row in (await watch.news()).deltas:
                if not rows or (row.epoch, row.n) > (rows[-1].epoch, rows[-1].n):
                    rows.append(row)
            watch.want("a", rows[-1].epoch, rows[-1].n) if rows else None
    return rows


async def test_watchers_get_all_of_their_run_and_nothing_else(url: str, ledger: Ledger) -> None:
    text = [f"wört {index} \0\ud800 " for index in range(30)]
    board = board_of(url)

    async def write(run_id: str, epoch: int) -> None:
        sink = DeltaSink(ledger, effect(run_id), epoch)
        for piece in text:
            await sink.text(f"{run_id}{epoch}{piece}")
            await asyncio.sleep(0.002)
        await sink.done()

    @contextmanager
    def watching(run_id: str) -> Iterator[Watch]:
        with board.watch(run_id) as watch:
            watch.want("a")
            yield watch

    with watching("one") as one, watching("one") as also, watching("two") as two:
        await asyncio.gather(write("one", 1), write("two", 1))
        for watch, run_id in ((one, "one"), (also, "one"), (two, "two")):
            rows = await gathered(watch)
            assert "".join(row.text for row in rows) == "".join(f"{run_id}1{piece}" for piece in text)
            assert {row.run_id for row in rows} == {run_id}
        one.want("a", 1, 10**6)
        await write("one", 2)
        assert {row.epoch for row in await gathered(one)} == {2}
    async with asyncio.timeout(5):
        while board.serving:
            await asyncio.sleep(0.01)


async def test_a_delta_is_seen_within_milliseconds(url: str, ledger: Ledger) -> None:
    def row(n: int) -> DeltaRow:
        return DeltaRow("run", "", "a", "a", "", "a.text", 1, n, n, "x", False)

    took: list[float] = []
    with board_of(url).watch("run") as watch:
        watch.want("a")
        assert await ledger.write_deltas([row(0)])
        await watch.news()
        for n in range(1, 30):
            watch.want("a", 1, n - 1)
            await asyncio.sleep(0.017)
            assert await ledger.write_deltas([row(n)])
            committed = time.perf_counter()
            async with asyncio.timeout(5):
                while not any(found.n == n for found in (await watch.news()).deltas):
                    pass
            took.append(time.perf_counter() - committed)
    # The middle one: a busy machine is no defect.
    assert sorted(took)[len(took) // 2] < 0.04, took


async def test_a_store_that_comes_later_is_found(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/later.db"
    with board_of(url).watch("run") as watch:
        watch.want("a")
        await asyncio.sleep(0.2)
        recorder = Recorder(url, limit_s=10.0)
        sink = DeltaSink(Ledger(recorder), effect(), 1)
        await sink.text("here")
        await sink.done()
        assert "".join(row.text for row in await gathered(watch)) == "here"
        await recorder.close()
