"""What the ledger keeps for readers: deltas, usage, turns of conversations, credentials; and how it fails."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from store.ledger_calls import call, over, usage
from store.logs import attended, meta

from fakes.postgres import Postgres
from perdure_store import migrate
from perdure_store.database import connect, parse
from perdure_store.ledger import Ledger
from perdure_store.ledger_records import NANOS, CredentialRow, DeltaRow, LedgerAway
from perdure_store.read import Store
from perdure_store.recorder import Recorder
from perdure_store.retention import DAY_MS, Removed, retain


@pytest.fixture
def ledger(recorder: Recorder) -> Ledger:
    return Ledger(recorder)


def delta(n: int, text: str = "x", *, epoch: int = 1, key: str = "llm", run_id: str = "r") -> DeltaRow:
    return DeltaRow(run_id, "", key, "llm", "", "llm.text", epoch, n, n * 10, text)


async def test_deltas_come_in_their_order_from_where_a_reader_is(ledger: Ledger, store: Store) -> None:
    strange = "ä\0\ud83d 👍"
    batches = [[delta(2), delta(0, strange)], [delta(1), delta(0, "again")], [delta(0, "new", epoch=2)]]
    assert await asyncio.gather(*(ledger.write_deltas(rows) for rows in batches)) == [True] * 3
    assert await ledger.write_deltas([delta(0, "other", key="other"), delta(0, "other", run_id="s")])
    assert await ledger.write_deltas([delta(1, "too late")])
    for source in (ledger, store):
        found = await source.deltas("r", "", "llm")
        assert [(row.epoch, row.n) for row in found] == [(1, 0), (1, 1), (1, 2), (2, 0)]
        assert found[1].text == "x"
        assert found[0] in (delta(0, strange), delta(0, "again"))
        assert [row.n for row in await source.deltas("r", "", "llm", 1, 1)] == [2, 0]
        assert await source.deltas("r", "", "llm", 2) == [delta(0, "new", epoch=2)]
        assert await source.deltas("r", "", "llm", 2, 0) == []


async def test_postgresql_tells_of_deltas(server: Postgres) -> None:
    url = await server.new_database()
    await migrate.upgrade(parse(url))
    recorder = Recorder(url, limit_s=10.0)
    async with Store.open(url, poll_s=60) as store:
        with store._wakes.of("r") as news:
            await asyncio.sleep(0.5)
            news.clear()
            assert await Ledger(recorder).write_deltas([delta(0)])
            await asyncio.wait_for(news.wait(), 5)
    await recorder.close()


async def test_usage_is_summed_and_listed(ledger: Ledger, store: Store) -> None:
    rows = [
        usage("a", at=1),
        usage("b", at=2, outcome="wasted", fault="stream_broken", run_id="s"),
        usage("c", at=3, tenant="evil", currency="EUR"),
        usage("d", at=4),
    ]
    for row in rows:
        await ledger.settle(over(row.id, usage=row, money=NANOS))
    for source in (ledger, store):
        everything = await source.usage()
        assert everything.rows == tuple(reversed(rows))
        assert [(total.outcome, total.currency, total.calls) for total in everything.totals] == [
            ("answer", "EUR", 1),
            ("answer", "USD", 2),
            ("wasted", "USD", 1),
        ]
        of_run = await source.usage(run_id="r", tenant="acme", since=2)
        assert of_run.rows == (rows[3],)
        (total,) = of_run.totals
        assert (total.money, total.prompt_tokens, total.completion_tokens) == (NANOS, 70, 30)
        assert len((await source.usage(limit=2)).rows) == 2


def turn(number: int, conversation: str = "c", **fields: Any) -> dict[str, Any]:
    asked = {"query": f"q{number}", "sysvars": {"conversation_id": conversation}}
    return {"type": "run_started", "seq": 1, "at": number, "graph": "g", "tenant": "acme", "asked": asked} | fields


def ended(number: int, **fields: Any) -> dict[str, Any]:
    outputs = {"answer": f"a{number}"}
    return {"type": "run_finished", "seq": 2, "at": number, "status": "succeeded", "outputs": outputs} | fields


async def test_turns_of_a_conversation(recorder: Recorder, ledger: Ledger, store: Store) -> None:
    runs = {
        "r1": [turn(1), ended(1)],
        "r2": [turn(2), ended(2, status="failed")],
        "r3": [turn(3), ended(3, outputs={})],
        "r4": [turn(4), ended(4)],
        "r5": [turn(5, "other"), ended(5)],
        "r6": [turn(6, tenant="evil"), ended(6)],
        "r7": [turn(7), ended(7, status="partial-succeeded")],
        "r8": [turn(8)],
        "r9": [turn(9), ended(9)],
    }
    for run_id, events in runs.items():
        assert await recorder.record(meta(run_id, "", events)) == "yes"
    assert await ledger.turns("c", "r8") == [("q1", "a1"), ("q4", "a4"), ("q7", "a7")]
    assert await ledger.turns("c", "r8", 2) == [("q4", "a4"), ("q7", "a7")]
    assert await ledger.turns("c", "r8", 0) == []
    assert await ledger.turns("c", "r1") == []
    # Nothing is told of a conversation to a run of somebody else, nor to one that is not known.
    assert await ledger.turns("c", "r6") == []
    assert await ledger.turns("c", "unknown") == []
    assert await ledger.turns("c", "unknown", 1, tenant="acme") == [("q9", "a9")]


async def test_a_run_that_names_no_conversation_begins_one(recorder: Recorder, ledger: Ledger) -> None:
    first = turn(1) | {"asked": {"query": "hello"}}
    assert await recorder.record(meta("first", "", [first, ended(1)])) == "yes"
    assert await recorder.record(meta("second", "", [turn(2, "first")])) == "yes"
    assert await recorder.record(meta("third", "", [turn(3) | {"asked": {"sysvars": "cut off"}}, ended(3)])) == "yes"
    assert await ledger.turns("first", "second") == [("hello", "a1")]
    assert await ledger.turns("", "second") == []


async def test_a_conversation_may_have_any_name(recorder: Recorder, ledger: Ledger) -> None:
    name = "ä\0" * 9000
    assert await recorder.record(meta("r1", "", [turn(1, name), ended(1)])) == "yes"
    assert await recorder.record(meta("r2", "", [turn(2, name)])) == "yes"
    assert await ledger.turns(name, "r2") == [("q1", "a1")]
    assert await ledger.turns(name + "x", "r2") == []


async def test_credentials(ledger: Ledger) -> None:
    secret = bytes(range(256))
    await ledger.put_credential(CredentialRow("main", "openai", b"old", "sk-...1"))
    first = await ledger.credential("main")
    await ledger.put_credential(CredentialRow("main", "openai", secret, "sk-...2"))
    await ledger.put_credential(CredentialRow("aux", "anthropic", b"x"))
    found = await ledger.credential("main")
    assert first is not None
    assert found is not None
    assert (found.secret, found.shown, found.created_at) == (secret, "sk-...2", first.created_at)
    assert found.updated_at >= first.updated_at
    assert "secret" not in repr(found)
    assert [row.name for row in await ledger.credentials()] == ["aux", "main"]
    assert [row.name for row in await ledger.credentials("openai")] == ["main"]
    assert await ledger.delete_credential("main") is True
    assert await ledger.delete_credential("main") is False
    assert await ledger.credential("main") is None


async def test_a_store_that_is_off_is_said_to_be() -> None:
    ledger = Ledger(Recorder("off"))
    assert ledger.is_off
    assert await ledger.write_deltas([delta(0)]) is False
    with pytest.raises(LedgerAway, match="PERDURE_STORE=off"):
        await ledger.answer("k")


@pytest.mark.parametrize("url", ["sqlite:////proc/nowhere/runs.db", "postgresql://perdure:hunter2@127.0.0.1:1/none"])
async def test_a_store_that_is_away_is_said_to_be(url: str) -> None:
    recorder = Recorder(url)
    ledger = Ledger(recorder)
    async with asyncio.timeout(8):
        for _ in range(2):
            with pytest.raises(LedgerAway, match="does not serve the ledger") as away:
                await ledger.admit(call("x/1"))
            assert "hunter2" not in str(away.value)
        assert await ledger.write_deltas([delta(0)]) is False
    await recorder.close()
    with pytest.raises(LedgerAway, match="it is closed"):
        await ledger.answer("k")


async def test_a_store_that_hangs_costs_the_limit_and_comes_back(server: Postgres) -> None:
    url = await server.new_database()
    await migrate.upgrade(parse(url))
    recorder = Recorder(url, limit_s=1.0)
    ledger = Ledger(recorder)
    await ledger.admit(call("x/1"))
    loop = asyncio.get_running_loop()
    with server.hanging():
        began = loop.time()
        with pytest.raises(LedgerAway, match="in time"):
            await ledger.settle(over("x/1"))
        assert 1.5 < loop.time() - began < 5
    async with asyncio.timeout(20):
        while True:
            try:
                await ledger.settle(over("x/1"))
                break
            except LedgerAway:
                await asyncio.sleep(0.2)
    assert len((await ledger.usage()).rows) == 1
    await recorder.close()


async def test_what_belongs_to_a_run_goes_with_it_and_usage_stays(
    url: str, recorder: Recorder, ledger: Ledger, store: Store
) -> None:
    for run_id in ("old", "late"):
        at = 0 if run_id == "old" else 2 * DAY_MS
        assert await recorder.record(meta(run_id, "", [ended(1, at=at)])) == "yes"
    now = 10**14
    for run_id in ("old", "late", "never recorded"):
        assert await ledger.write_deltas([delta(0, run_id=run_id)])
        row = usage(run_id, run_id=run_id)
        await ledger.settle(over(run_id, usage=row, answer_key=run_id, answer={"text": "x"}))
    await ledger.admit(call("dead/1"))
    expected = Removed(runs=1, events=1, answers=1, deltas=1)
    assert await retain(parse(url), days=1, dry_run=True, now=3 * DAY_MS - 1) == expected
    assert await retain(parse(url), days=1, now=3 * DAY_MS - 1) == expected
    assert (await ledger.answer("old"), await ledger.answer("late")) == (None, {"text": "x"})
    assert len((await store.usage()).rows) == 3
    # Much later: the last run, what belongs to none, and the call that lost its worker.
    assert await retain(parse(url), days=1, now=now) == Removed(runs=1, events=1, answers=2, deltas=2)
    assert {total.outcome: total.calls for total in (await store.usage()).totals} == {"answer": 3, "wasted": 1}
    assert (await ledger.spent(["run:r"]))["run:r"].reserved_money == 0
    contents = await store.contents()
    assert (contents.runs, contents.answers, contents.deltas, contents.calls) == (0, 0, 0, 4)


async def test_migrations_keep_what_is_recorded(empty_url: str) -> None:
    """Up from the first revision, down and up again: runs, and all that refers to them, stay."""
    address = parse(empty_url)
    await migrate.upgrade(address)
    recorder = Recorder(empty_url, limit_s=10.0)
    events = [event for scope, event in attended() if not scope]
    assert await recorder.record(meta("r", "", events)) == "yes"
    await recorder.close()

    async def counts() -> dict[str, int]:
        engine = connect(address)
        async with engine.connect() as connection:
            found = {
                table: (await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one()
                for table in ("runs", "events", "node_executions", "waits")
            }
        await engine.dispose()
        return found

    before = await counts()
    assert all(before.values())
    await migrate.downgrade(address, "0001")
    assert await counts() == before
    await migrate.upgrade(address)
    assert await counts() == before
    async with Store.open(empty_url) as store:
        run = await store.run("r")
        assert (run.status, run.events, run.user) == ("stopped", len(events), "ann")
    recorder = Recorder(empty_url, limit_s=10.0)
    assert await recorder.record(meta("r", "", events)) == "yes"
    ledger = Ledger(recorder)
    await ledger.settle(over("x/1", answer_key="k", answer={"text": "x"}))
    # Still one database of runs with rows that go with them.
    assert await retain(address, days=0, now=10**15) == Removed(
        runs=1, events=before["events"], nodes=before["node_executions"], waits=before["waits"], answers=1
    )
    await recorder.close()
    await migrate.downgrade(address, "0001")
    assert await migrate.revision_of(address) == "0001"


async def test_a_worker_brings_an_sqlite_store_up_and_keeps_its_rows(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/runs.db"
    await migrate.upgrade(parse(url), "0001")
    with closing(sqlite3.connect(tmp_path / "runs.db")) as old:
        columns = [row[1] for row in old.execute("PRAGMA table_info(runs)")]
        values = {"id": "r", "finished_at": None, "graph": "g", "status": "succeeded"}
        marks = ", ".join("?" for _ in columns)
        old.execute(f"INSERT INTO runs VALUES ({marks})", [values.get(name, 0) for name in columns])
        old.execute("INSERT INTO events VALUES ('r', '', 1, 1, 1, 't', '', '', '{}')")
        old.commit()
    recorder = Recorder(url, limit_s=10.0)
    assert await recorder.record(meta("s", "", [turn(1)])) == "yes"
    await recorder.close()
    async with Store.open(url) as store:
        assert {run.id for run in await store.runs()} == {"r", "s"}
        assert len(await store.events("r")) == 1
    with closing(sqlite3.connect(tmp_path / "runs.db")) as now:
        assert now.execute("PRAGMA foreign_key_check").fetchall() == []
