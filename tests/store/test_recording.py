"""Recording real logs: whatever the splits, repeats and order in which batches arrive, the tables come out the same."""

from __future__ import annotations

import asyncio
import random
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store.logs import Log, attended, meta, rows, windows

from perdure_graph.effects import EffectMeta
from perdure_store import migrate
from perdure_store.database import connect, parse
from perdure_store.read import Store
from perdure_store.recorder import Recorder

LOGS = {"windows": windows(), "attended": attended()}


def batches(run_id: str, log: Log, size: int = 3) -> list[EffectMeta]:
    """Cut a log into batches per scope, in the order in which runs send them."""
    found: list[EffectMeta] = []
    for scope in dict.fromkeys(scope for scope, _ in log):
        events = [event for of, event in log if of == scope]
        found += [meta(run_id, scope, events[at : at + size]) for at in range(0, len(events), size)]
    return found


async def positions(store: Store, run_id: str) -> list[int]:
    return [stored.position for stored in await store.events(run_id, limit=10_000)]


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
@pytest.mark.parametrize("name", LOGS)
async def test_batches_in_any_order_and_repetition_give_the_same_tables(
    name: str, url: str, recorder: Recorder, store: Store, data: st.DataObject
) -> None:
    log = LOGS[name]
    run_id = f"run-{uuid.uuid4()}"
    sent = batches(run_id, log, data.draw(st.integers(1, 9), label="size"))
    sent += data.draw(st.lists(st.sampled_from(sent), max_size=4), label="repeated")
    # A batch that was lost on the way is sent again with what came after it.
    sent += batches(run_id, log, data.draw(st.integers(2, 40), label="cut anew"))
    sent = data.draw(st.permutations(sent), label="order")
    cut = data.draw(st.integers(1, len(sent)), label="at once")
    assert set(await asyncio.gather(*map(recorder.record, sent[:cut]))) == {"yes"}
    for each in sent[cut:]:
        assert await recorder.record(each) == "yes"

    for whole in batches("whole", log, 10_000):
        assert await recorder.record(whole) == "yes"
    engine = connect(parse(url))
    expected, found = await rows(engine, "whole"), await rows(engine, run_id)
    await engine.dispose()
    assert len(expected["events"]) == len(log)
    assert found == expected
    assert await positions(store, run_id) == list(range(1, len(log) + 1))


async def test_a_run_that_ended_is_never_downgraded(recorder: Recorder, store: Store) -> None:
    log = LOGS["attended"]
    events = [event for _, event in log]
    assert await recorder.record(meta("r", "", events)) == "yes"
    late = {"type": "run_resumed", "seq": events[-1]["seq"] + 1, "at": 99_999}
    again = dict(events[-1]) | {"seq": late["seq"] + 1, "status": "failed"}
    window = {"type": "run_finished", "seq": 1, "at": 5, "status": "failed", "outputs": {}}
    for scope, event in (("", late), ("", again), ("it[0-49]", window)):
        assert await recorder.record(meta("r", scope, [event])) == "yes"
    run = await store.run("r")
    assert (run.status, run.finished_at) == ("stopped", events[-1]["at"])


async def test_a_window_heard_of_first_belongs_to_the_run(recorder: Recorder, store: Store) -> None:
    *inside, _ = [event for scope, event in LOGS["windows"] if scope == "it[0-1]"]
    assert await recorder.record(meta("early", "it[0-1]", inside)) == "yes"
    run = await store.run("early")
    assert (run.status, run.graph, run.tenant, run.events) == ("running", "graph", "acme", len(inside))


async def test_events_hold_whatever_text_there_is(recorder: Recorder, store: Store) -> None:
    odd = 'nul \0 half \ud800 quote " ünï 🙂'
    started = {"type": "run_started", "seq": 1, "at": 1, "run_id": "odd", "graph_hash": "h", "graph": odd * 99}
    started |= {"inputs": {"x": odd, "n": float("nan"), "big": 10**30}, "user": odd, "tenant": ""}
    failed = {"type": "run_finished", "seq": 2, "at": 2, "status": "failed", "outputs": {}, "error": odd}
    assert await recorder.record(meta("odd", "", [started, failed])) == "yes"
    run = await store.run("odd")
    assert run.inputs == {"x": odd, "n": None, "big": 10**30}
    assert run.error == 'nul \ufffd half ? quote " ünï 🙂'
    assert (await store.events("odd"))[0].data["user"] == odd


async def test_what_cannot_be_recorded_keeps_nothing_else_out(recorder: Recorder, store: Store) -> None:
    good = [meta(f"good-{n}", "", [{"type": "run_paused", "seq": 1, "at": 1, "reasons": []}]) for n in range(3)]
    bad = meta("bad", "", [{"type": "run_paused", "seq": 10**30, "at": 1, "reasons": []}])
    answers = await asyncio.gather(*map(recorder.record, [good[0], bad, good[1], good[2]]))
    assert answers == ["yes", "no", "yes", "yes"]
    assert {run.id for run in await store.runs()} == {"good-0", "good-1", "good-2"}
    assert await recorder.record(good[0]) == "yes"


async def test_concurrent_writers_number_without_gaps(url: str, store: Store) -> None:
    recorders = [Recorder(url) for _ in range(3)]
    log = LOGS["windows"]
    sent = [each for _ in range(2) for each in batches("shared", log, 2)]
    random.Random(4).shuffle(sent)

    async def send(recorder: Recorder, share: list[EffectMeta]) -> None:
        for each in share:
            while await recorder.record(each) != "yes":
                await asyncio.sleep(0.05)

    await asyncio.gather(*(send(each, sent[at::3]) for at, each in enumerate(recorders)))
    assert await positions(store, "shared") == list(range(1, len(log) + 1))
    for each in recorders:
        await each.close()


PROGRAM = """
import asyncio, json, sys
from perdure_graph.effects import EffectMeta
from perdure_store.recorder import Recorder

async def main(url, name):
    recorder = Recorder(url)
    said = []
    for seq in range(1, 41):
        for run in ("shared", name):
            event = {"type": "text_chunk", "seq": seq, "at": seq, "node_id": "n", "text": name}
            scope = name if run == "shared" else ""
            meta = EffectMeta(run_id=run, scope=scope, key="k", idempotency_key="k", events=(event,))
            while (answer := await recorder.record(meta)) != "yes":
                said.append(answer)
                await asyncio.sleep(0.02)
    await recorder.close()
    print(json.dumps(said))

asyncio.run(main(*sys.argv[1:]))
"""


async def test_processes_share_a_store(url: str, store: Store) -> None:
    argv = [sys.executable, "-c", PROGRAM, url]
    started = [await asyncio.create_subprocess_exec(*argv, name, stdout=-1, stderr=-1) for name in ("a", "b")]
    for process, (_, error) in zip(started, [await each.communicate() for each in started], strict=True):
        assert process.returncode == 0, error.decode()
    assert await positions(store, "shared") == list(range(1, 81))
    for name in ("a", "b"):
        seqs = [stored.seq for stored in await store.events_of_scope("shared", name)]
        assert seqs == list(range(1, 41))
        assert (await store.run(name)).events == 40


async def test_off_records_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recorder = Recorder("off")
    assert await recorder.record(meta("r", "", [{"type": "run_resumed", "seq": 1, "at": 1}])) == "off"
    assert await recorder.record(meta("r", "", [])) == "off"
    await recorder.close()
    assert list(tmp_path.iterdir()) == []


async def test_a_recorder_makes_the_tables_of_an_sqlite_store(tmp_path: Path) -> None:
    path = tmp_path / "a folder" / "runs.db"
    recorder = Recorder(str(path))
    recorder.open()
    event: dict[str, Any] = {"type": "run_resumed", "seq": 1, "at": 1}
    while await recorder.record(meta("r", "", [event])) != "yes":
        pass
    await recorder.close()
    assert migrate.revision_of_file(parse(str(path))) == migrate.HEAD
    async with Store.open(f"sqlite:///{path}") as store:
        assert [stored.data for stored in await store.events("r")] == [event]
