"""Retention: what ended long ago goes with all its rows, what goes on stays, however old."""

from __future__ import annotations

from dataclasses import replace

import pytest
from store.ledger_calls import call, over
from store.logs import attended, meta, rows, windows

from perdure_store.database import connect, parse
from perdure_store.ledger import Ledger
from perdure_store.ledger_records import Claim, Spent
from perdure_store.read import Store
from perdure_store.recorder import Recorder
from perdure_store.retention import BUDGETS_AT_ONCE, DAY_MS, Removed, retain

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


SPENDING = {
    "run/run:old-1": Claim("run/run:old-1", run_id="old-1"),
    "run/run:open": Claim("run/run:open", run_id="open"),
    "run/run:late": Claim("run/run:late", run_id="late"),
    "run/run:unrecorded": Claim("run/run:unrecorded", run_id="unrecorded"),
    "day/tenant:t/1970-01-01": Claim("day/tenant:t/1970-01-01", ends_at=DAY_MS),
    "day/tenant:t/1970-01-02": Claim("day/tenant:t/1970-01-02", ends_at=2 * DAY_MS),
    # Whose name looks like a day, or a run: it counts for good.
    "total/user:run:old-1/1970-01-01": Claim("total/user:run:old-1/1970-01-01"),
}
GO = {"run/run:old-1", "run/run:unrecorded", "day/tenant:t/1970-01-01"}


async def spend(ledger: Ledger, id: str, *claims: Claim) -> None:
    await ledger.admit(call(id, claims=claims, if_lost=None))
    await ledger.settle(over(id, usage=None))


@pytest.mark.usefixtures("filled")
async def test_budgets_go_when_they_cannot_count_any_more(url: str, recorder: Recorder) -> None:
    address, now = parse(url), 2 * DAY_MS + 1
    ledger = Ledger(recorder, clock=lambda: 1)
    await spend(ledger, "first/1", *SPENDING.values())
    before = await ledger.spent(SPENDING)
    assert all(one.tokens == 100 for one in before.values())
    assert (await retain(address, days=1, dry_run=True, now=now)).spending == len(GO)
    assert await ledger.spent(SPENDING) == before
    assert (await retain(address, days=1, now=now)).spending == len(GO)
    after = await ledger.spent(SPENDING)
    assert after == {scope: Spent() if scope in GO else one for scope, one in before.items()}
    assert await retain(address, days=1, now=now) == Removed()
    # Nobody knows when a run began that is not recorded: it is given its days.
    later = Ledger(recorder, clock=lambda: DAY_MS + 2)
    await spend(later, "second/1", SPENDING["run/run:unrecorded"])
    assert await retain(address, days=1, now=now) == Removed()


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(("money", "tokens"), [(1, 0), (0, 1)])
async def test_a_budget_stays_while_a_call_holds_some_of_it(
    url: str, recorder: Recorder, money: int, tokens: int
) -> None:
    address, now = parse(url), 2 * DAY_MS + 1
    ledger = Ledger(recorder, clock=lambda: 1)
    held = call("held/1", claims=tuple(SPENDING.values()), if_lost=None, money=money, tokens=tokens)
    await ledger.admit(replace(held, lasts_s=3 * DAY_MS / 1000))
    before = await ledger.spent(SPENDING)
    assert (await retain(address, days=1, dry_run=True, now=now)).spending == 0
    assert (await retain(address, days=1, now=now)).spending == 0
    assert await ledger.spent(SPENDING) == before
    await ledger.settle(over("held/1", usage=None))
    assert await retain(address, days=1, now=now) == Removed(spending=len(GO))


async def test_many_budgets_go_in_parts(url: str, recorder: Recorder) -> None:
    ledger = Ledger(recorder, clock=lambda: 1)
    count = BUDGETS_AT_ONCE + 1
    for start in range(0, count, 500):
        claims = (Claim(f"day/user:{n}/1970-01-01", ends_at=DAY_MS) for n in range(start, min(count, start + 500)))
        await spend(ledger, f"{start}/1", *claims)
    assert await retain(parse(url), days=1, now=3 * DAY_MS) == Removed(spending=count)
