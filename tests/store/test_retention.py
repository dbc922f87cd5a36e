"""Retention: what ended long ago goes with all its rows, what goes on stays, however old."""

from __future__ import annotations

import pytest
from store.logs import attended, meta, rows, windows

from perdure_store.database import connect, parse
from perdure_store.read import Store
from perdure_store.recorder import Recorder
from perdure_store.retention import DAY_MS, Removed, retain

WINDOWS, ATTENDED = windows(), attended()
END = 1009


@pytest.fixture
async def filled(recorder: Recorder) -> None:
    """Five runs that ended, one that goes on, one that ended a day later; kept replies and blobs."""
    for number in range(5):
        for scope in dict.fromkeys(scope for scope, _ in WINDOWS):
            events = [event for of, event in WINDOWS if of == scope]
            assert await recorder.record(meta(f"old-{number}", scope, events)) == "yes"
    assert await recorder.record(meta("open", "", [event for _, event in ATTENDED][:20])) == "yes"
    late = {"type": "run_finished", "seq": 1, "at": END + DAY_MS, "status": "failed", "outputs": {}}
    assert await recorder.record(meta("late", "", [late])) == "yes"
    for run_id in ("old-0", "late"):
        recorder.note_blob(run_id, "sha256:1", 10)
    assert await recorder.keep("s", "of old-1", "old-1", {"text": "x"}, 10_000)
    assert await recorder.keep("s", "of late", "late", {"text": "x"}, 10_000)
    assert await recorder.keep("s", "expired", "open", {"text": "x"}, -1)


@pytest.mark.parametrize("at_once", [2, 100])
@pytest.mark.usefixtures("filled")
async def test_old_runs_go_with_all_their_rows(url: str, store: Store, at_once: int) -> None:
    address = parse(url)
    nodes = len(await store.nodes("old-0"))
    expected = Removed(runs=5, events=5 * len(WINDOWS), nodes=5 * nodes, waits=0, blobs=1, results=1)
    now = END + DAY_MS + 10
    assert await retain(address, days=1, dry_run=True, now=now) == expected
    assert len(await store.runs()) == 7
    assert await retain(address, days=1, at_once=at_once, now=now) == expected
    assert {run.id for run in await store.runs()} == {"open", "late"}
    engine = connect(address)
    assert not any((await rows(engine, "old-3")).values())
    kept = await rows(engine, "open")
    await engine.dispose()
    assert (len(kept["events"]), len(kept["waits"])) == (20, 2)
    assert await retain(address, days=1, now=now) == Removed()


@pytest.mark.usefixtures("filled")
async def test_expired_replies_go_too(url: str, recorder: Recorder, store: Store) -> None:
    removed = await retain(parse(url), days=1e6)
    assert removed == Removed(results=1)
    assert len(await store.runs()) == 7
    assert await recorder.find("s", "of late") == {"text": "x"}
    assert await recorder.find("s", "expired") is None
