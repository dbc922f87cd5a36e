"""What readers get of recorded runs, and how they follow a run that goes on."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from store.logs import Log, attended, meta, windows

from fakes.postgres import Postgres
from perdure_graph.errors import PlatformError, RunNotFound
from perdure_graph.events import RunFinished
from perdure_store import follow as following
from perdure_store.derived_ends import containers
from perdure_store.read import Store
from perdure_store.recorder import Recorder
from perdure_store.records import StoredEvent

WINDOWS, ATTENDED = windows(), attended()


async def record(recorder: Recorder, run_id: str, log: Log) -> None:
    for scope in dict.fromkeys(scope for scope, _ in log):
        assert await recorder.record(meta(run_id, scope, [event for of, event in log if of == scope])) == "yes"


def until(log: Log, kind: str, nth: int = 1) -> Log:
    """Cut a log after the nth event of a type."""
    ends = [at for at, (_, event) in enumerate(log) if event["type"] == kind]
    return log[: ends[nth - 1] + 1]


async def test_a_run_as_it_is_recorded(recorder: Recorder, store: Store) -> None:
    await record(recorder, "w", WINDOWS)
    run = await store.run("w")
    assert (run.status, run.graph, run.user, run.tenant) == ("partial-succeeded", "graph", "ann", "acme")
    assert run.inputs == {"n": 1, "items": {"l": [1, 2, 3, 4, 5]}}
    assert run.outputs == {"out": [0.0, 0.0, 4, 5, 6]}
    assert (run.started_at, run.finished_at, run.elapsed) == (1000, 1009, 0.009)
    assert (run.exceptions, run.last_seq, run.events) == (4, 12, len(WINDOWS))
    with pytest.raises(RunNotFound, match="has no run 'other'"):
        await store.run("other")


async def test_nodes_of_a_run_and_its_windows(recorder: Recorder, store: Store) -> None:
    await record(recorder, "w", WINDOWS)
    nodes = {(node.scope, node.frame, node.node_id): node for node in await store.nodes("w")}
    assert set(nodes) == {
        ("", "", "start"),
        ("", "", "it"),
        ("", "", "end"),
        *((f"it[{first}-{last}]", f"it[{item}].", "k") for first, last, item in ((0, 1, 0), (0, 1, 1), (4, 4, 4))),
        *(("it[2-3]", f"it[{item}].", "k") for item in (2, 3)),
    }
    failed, fine = nodes["it[0-1]", "it[0].", "k"], nodes["it[2-3]", "it[2].", "k"]
    assert (failed.status, failed.attempts, failed.error_type, failed.outputs["r"]) == ("exception", 2, "Luck", 0.0)
    assert (fine.status, fine.attempts, fine.inputs, fine.outputs) == ("succeeded", 1, {"x": 3}, {"r": 4})
    assert (fine.started_at, fine.finished_at, fine.elapsed) == (1000, 1008, 0.008)
    assert nodes["", "", "it"].outputs == {"output": [0.0, 0.0, 4, 5, 6]}


async def test_what_was_open_when_a_run_ended_is_cancelled(recorder: Recorder, store: Store) -> None:
    await record(recorder, "a", ATTENDED)
    nodes = {node.frame + node.node_id: node.status for node in await store.nodes("a")}
    assert (nodes["k"], nodes["it"], nodes["it[0].ask"], nodes["it[1].ask"]) == (
        "succeeded",
        "cancelled",
        "cancelled",
        "succeeded",
    )
    assert await store.waits() == []
    closed = {(wait.key, wait.kind): wait.how for wait in await store.waits("a", open_only=False)}
    assert closed == {
        ("first", "form"): "submitted",
        ("k", "held"): "retried",
        ("it[0].ask", "form"): "ended",
        ("it[1].ask", "form"): "submitted",
        ("it[2].ask", "form"): "ended",
        ("it[3].ask", "form"): "ended",
    }


async def test_open_waits_say_what_is_asked(recorder: Recorder, store: Store) -> None:
    await record(recorder, "form", until(ATTENDED, "human_input_required"))
    await record(recorder, "held", until(ATTENDED, "node_held", 2))
    waits = await store.waits()
    assert [(wait.run_id, wait.key, wait.kind) for wait in waits] == [("form", "first", "form"), ("held", "k", "held")]
    form, held = waits
    assert [action["id"] for action in form.asked["actions"]] == ["go", "no"]
    assert (form.opened_at, form.expires_at) == (1000, 1000 + 2 * 3600 * 1000)
    assert held.asked == {"reason": "failed", "error": "no luck", "error_type": "Luck"}
    assert [wait.key for wait in await store.waits("held")] == ["k"]


async def test_a_form_goes_with_the_iteration_around_it(recorder: Recorder, store: Store) -> None:
    asked = until(ATTENDED, "human_input_required", 4)
    seq = asked[-1][1]["seq"] + 1
    end: dict[str, Any] = {"type": "iteration_completed", "seq": seq, "at": 2000, "node_id": "it", "title": "it"}
    end |= {"node_type": "iteration", "frame": "", "status": "failed", "outputs": {}, "elapsed": 1.0}
    # The end is recorded before what it ended.
    assert await recorder.record(meta("r", "", [end])) == "yes"
    await record(recorder, "r", asked)
    assert await store.waits() == []
    dropped = [wait for wait in await store.waits("r", open_only=False) if wait.how == "dropped"]
    assert {(wait.key, wait.closed_at) for wait in dropped} == {
        ("it[0].ask", 2000),
        ("it[1].ask", 2000),
        ("it[2].ask", 2000),
    }
    assert {node.status for node in await store.nodes("r") if node.frame} == {"cancelled"} | {"succeeded"}


def test_containers_around_a_frame() -> None:
    assert list(containers("", "it[3].in[0].")) == [("", "it[3].", "in"), ("", "", "it")]
    assert list(containers("it[0-9]", "it[3].in[0].")) == [("it[0-9]", "it[3].", "in"), ("", "", "it")]
    assert list(containers("", "a.b[12].")) == [("", "", "a.b")]
    assert list(containers("", "")) == []


async def test_runs_are_listed_newest_first_by_page_status_and_flow(recorder: Recorder, store: Store) -> None:
    for number in range(5):
        started = {"type": "run_started", "seq": 1, "at": 100 + number // 2, "graph": f"g{number % 2}", "inputs": {}}
        assert await recorder.record(meta(f"r{number}", "", [started | {"graph_hash": "h"}])) == "yes"
    assert await recorder.record(meta("r1", "", [{"type": "run_paused", "seq": 2, "at": 200, "reasons": []}])) == "yes"
    everything = [run.id for run in await store.runs()]
    assert everything == ["r4", "r3", "r2", "r1", "r0"]
    first = await store.runs(limit=2)
    rest = await store.runs(before=first[-1].id)
    assert [run.id for run in (*first, *rest)] == everything
    assert [run.id for run in await store.runs(status="paused")] == ["r1"]
    assert [run.id for run in await store.runs(flow="g1")] == ["r3", "r1"]


async def test_one_cursor_reads_a_run_and_its_windows(recorder: Recorder, store: Store) -> None:
    await record(recorder, "w", WINDOWS)
    read: list[StoredEvent] = []
    while page := await store.events("w", read[-1].position if read else 0, 5):
        read += page
    assert [stored.position for stored in read] == list(range(1, len(WINDOWS) + 1))
    assert sorted((stored.scope, stored.seq) for stored in read) == sorted((s, e["seq"]) for s, e in WINDOWS)
    inside = await store.events("w", scope="it[2-3]")
    assert {stored.scope for stored in inside} == {"it[2-3]"}
    later = await store.events_of_scope("w", "it[2-3]", 3, 2)
    assert [stored.seq for stored in later] == [4, 5]
    assert isinstance(read[11].event, RunFinished)


async def test_a_follower_sees_everything_and_ends_with_the_log(recorder: Recorder, store: Store) -> None:
    scopes = {scope: [event for of, event in WINDOWS if of == scope] for scope in ("", "it[0-1]", "it[2-3]", "it[4-4]")}
    seen: list[StoredEvent] = []

    async def follow() -> None:
        async for stored in store.follow("w"):
            seen.append(stored)

    task = asyncio.create_task(follow())
    await asyncio.sleep(0.1)
    # The run's own end comes before its middle, and before the end of a window.
    for scope, events in (("", scopes[""][:4]), ("it[0-1]", scopes["it[0-1]"]), ("", scopes[""][8:])):
        assert await recorder.record(meta("w", scope, events)) == "yes"
    await asyncio.sleep(0.3)
    assert not task.done()
    assert len(seen) == 4 + len(scopes["it[0-1]"]) + 4
    for scope, events in (("", scopes[""]), ("it[2-3]", scopes["it[2-3]"]), ("it[4-4]", scopes["it[4-4]"])):
        assert await recorder.record(meta("w", scope, events)) == "yes"
    await asyncio.wait_for(task, 5)
    assert [stored.position for stored in seen] == list(range(1, len(WINDOWS) + 1))
    assert [stored.position async for stored in store.follow("w", 30)] == list(range(31, len(WINDOWS) + 1))


async def test_a_follower_does_not_wait_for_ever_for_a_window(
    recorder: Recorder, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "LINGER_S", 0.2)
    own = [(scope, event) for scope, event in WINDOWS if not scope]
    await record(recorder, "w", own)
    async with asyncio.timeout(5):
        assert len([stored async for stored in store.follow("w")]) == len(own)


async def test_postgresql_tells_followers(server: Postgres) -> None:
    from perdure_store import migrate
    from perdure_store.database import parse

    url = await server.new_database()
    await migrate.upgrade(parse(url))
    recorder = Recorder(url, limit_s=10.0)
    own = [event for scope, event in ATTENDED if not scope]
    # No looking within the time of this test: only NOTIFY can wake the follower.
    async with Store.open(url, poll_s=60) as store:
        came: list[float] = []

        async def follow() -> None:
            async for _ in store.follow("a"):
                came.append(time.monotonic())

        task = asyncio.create_task(follow())
        await asyncio.sleep(0.5)
        sent: list[float] = []
        for at in range(0, len(own), 10):
            sent.append(time.monotonic())
            assert await recorder.record(meta("a", "", own[at : at + 10])) == "yes"
            await asyncio.sleep(0.1)
        await asyncio.wait_for(task, 5)
        assert len(came) == len(own)
        assert came[-1] - sent[-1] < 1.0
    await recorder.close()


async def test_followers_outlive_an_outage_of_postgresql(server: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    from perdure_store import migrate
    from perdure_store.database import parse

    monkeypatch.setattr(following, "SPARE_POLL_S", 60.0)
    url = await server.new_database()
    await migrate.upgrade(parse(url))
    recorder = Recorder(url, limit_s=10.0)
    own = [event for scope, event in ATTENDED if not scope]
    assert await recorder.record(meta("a", "", own[:10])) == "yes"
    async with Store.open(url, poll_s=60) as store:
        events = store.follow("a")
        seen = [await anext(events) for _ in range(10)]
        following_on = asyncio.create_task(anext(events))
        await asyncio.sleep(0.3)
        server.stop()
        await asyncio.sleep(0.3)
        assert not following_on.done()
        server.start()
        while await recorder.record(meta("a", "", own)) != "yes":
            await asyncio.sleep(0.1)
        seen.append(await asyncio.wait_for(following_on, 10))
        async for stored in events:
            seen.append(stored)
        assert [stored.seq for stored in seen] == list(range(1, len(own) + 1))
    await recorder.close()


async def test_no_store_is_an_error_with_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match=r"There is no run store .* PERDURE_STORE"):
        async with Store.open(str(tmp_path / "no.db")):
            pass
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "other.db").write_bytes(b"this is no database at all, but long enough to be read" * 9)
    with pytest.raises(PlatformError, match=r"cannot be read: .*not a database"):
        async with Store.open(str(tmp_path / "other.db")):
            pass
    with pytest.raises(PlatformError, match="cannot be read"):
        async with Store.open("postgresql://perdure@127.0.0.1:1/none"):
            pass
