"""Threads of agents: each place is written once, lost ones are told, and they go with their run."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from store.logs import meta

from perdure_graph.errors import PlatformError
from perdure_store.database import parse
from perdure_store.ledger_records import LedgerAway
from perdure_store.read import Store
from perdure_store.recorder import Recorder
from perdure_store.retention import DAY_MS, Removed, retain
from perdure_store.threads import OPENING, ThreadLost, Threads


@pytest.fixture
def threads(recorder: Recorder) -> Threads:
    return Threads(recorder)


def said(text: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text}]}


async def test_a_thread_is_read_as_it_was_written(threads: Threads) -> None:
    strange = said("ä\0\ud83d 👍" * 50_000)
    assert await threads.write("t", "r", {1: said("b"), 0: strange}, {"strategy": "react"}) == {}
    assert await threads.write("t", "r", {2: said("c")}) == {}
    assert await threads.write("other", "r", {0: said("x")}) == {}
    assert await threads.read("t", 3) == [strange, said("b"), said("c")]
    assert await threads.read("t", 2) == [strange, said("b")]
    assert await threads.read("t", 1, OPENING) == [{"strategy": "react"}, strange]
    assert await threads.read("t", 0) == []
    assert await threads.read("unknown", 0) == []
    assert await threads.write("t", "r", {}) == {}


async def test_the_first_that_is_written_at_a_place_stays_and_is_told(threads: Threads) -> None:
    assert await threads.write("t", "r", {0: said("a"), 1: said("b")}, {"o": 1}) == {}
    assert await threads.write("t", "r", {0: said("a"), 1: said("b")}, {"o": 1}) == {}
    there = await threads.write("t", "r", {0: said("a"), 1: said("other"), 2: said("c")}, {"o": 2})
    assert there == {1: said("b"), OPENING: {"o": 1}}
    assert await threads.read("t", 3, OPENING) == [{"o": 1}, said("a"), said("b"), said("c")]


async def test_of_many_writers_one_is_first(threads: Threads) -> None:
    told = await asyncio.gather(
        *(threads.write("t", "r", {place: said(f"{n}") for place in range(5)}) for n in range(8))
    )
    kept = await threads.read("t", 5)
    assert len({message["content"][0]["text"] for message in kept}) == 1
    assert sorted(len(there) for there in told) == [0, *[5] * 7]
    assert all(there == dict(enumerate(kept)) for there in told if there)


async def turn(recorder: Recorder, number: int) -> None:
    """Record a turn of the conversation `c`."""
    asked = {"query": f"q{number}", "sysvars": {"conversation_id": "c"}}
    begun = {"type": "run_started", "seq": 1, "at": number, "graph": "g", "tenant": "acme", "asked": asked}
    ended = {"type": "run_finished", "seq": 2, "at": number, "status": "succeeded", "outputs": {"answer": f"a{number}"}}
    assert await recorder.record(meta(f"r{number}", "", [begun, ended])) == "yes"


async def test_turns_of_a_conversation_come_with_what_was_said(
    threads: Threads, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        await turn(recorder, number)
    await threads.write("r0/agent/1", "r0", {0: said("q0"), 1: said("a0")}, {"strategy": "react"})
    # Begun anew: what counts is the last.
    await threads.write("r1/agent/9", "r1", {0: said("given up")})
    await threads.write("r1/agent/10", "r1", {0: said("q1"), 1: said("b1"), 3: said("behind a gap")})
    # Of another agent, and of one within this one.
    await threads.write("r2/other/1", "r2", {0: said("q2")})
    await threads.write("r3/agent/x/agent/1", "r3", {0: said("q3")})

    async def told(**given: Any) -> list[tuple[str, str, str, int]]:
        asked: dict[str, Any] = {"most": None, "tenant": "acme", "part": "/agent"} | given
        found = await threads.turns("c", "new", asked["most"], tenant=asked["tenant"], part=asked["part"])
        return [(turn.query, turn.answer, told.thread, len(told.messages)) for turn, told in found]

    without = [("q2", "a2", "", 0), ("q3", "a3", "", 0), ("q4", "a4", "", 0)]
    assert await told() == [("q0", "a0", "r0/agent/1", 2), ("q1", "a1", "r1/agent/10", 2), *without]
    assert await told(most=3) == without
    assert await told(part=None, most=4) == [("q1", "a1", "", 0), *without]
    assert await told(tenant="evil") == []
    monkeypatch.setattr("perdure_store.threads.AT_ONCE", 4)
    assert (await told())[0] == ("q0", "a0", "r0/agent/1", 2)
    monkeypatch.setattr("perdure_store.threads.MOST_BYTES", 10)
    assert (await told())[:2] == [("q0", "a0", "", 0), ("q1", "a1", "r1/agent/10", 2)]


async def test_what_the_store_lost_is_named(threads: Threads) -> None:
    await threads.write("t", "r", {0: said("a"), 2: said("c")})
    with pytest.raises(ThreadLost, match=r"message 1 of the thread 't'.*Restore"):
        await threads.read("t", 3)
    with pytest.raises(PlatformError, match="its opening of the thread") as lost:
        await threads.read("t", 1, OPENING)
    assert not lost.value.retryable


async def test_a_long_name_is_one_of_its_own(threads: Threads) -> None:
    long = "run/" + "iteration[12]." * 200
    await threads.write(long + "a", "r", {0: said("a")})
    await threads.write(long + "b", "r", {0: said("b")})
    assert await threads.read(long + "a", 1) == [said("a")]
    assert await threads.read(long + "b", 1) == [said("b")]


async def test_a_thread_goes_with_its_run(url: str, recorder: Recorder, threads: Threads, store: Store) -> None:
    for run_id, at in (("old", 0), ("late", 2 * DAY_MS)):
        event = {"type": "run_finished", "seq": 1, "at": at, "status": "succeeded", "outputs": {}}
        assert await recorder.record(meta(run_id, "", [event])) == "yes"
    for run_id in ("old", "late", "never recorded"):
        await threads.write(f"{run_id}/agent", run_id, {0: said("a"), 1: said("b")}, {})
    expected = Removed(runs=1, events=1, messages=3)
    assert await retain(parse(url), days=1, dry_run=True, now=3 * DAY_MS - 1) == expected
    assert await retain(parse(url), days=1, now=3 * DAY_MS - 1) == expected
    with pytest.raises(ThreadLost):
        await Threads(recorder).read("old/agent", 1)
    assert await threads.read("late/agent", 2) == [said("a"), said("b")]
    assert (await store.contents()).messages == 6
    # Much later: what belongs to no run goes, too.
    assert await retain(parse(url), days=1, now=10**14) == Removed(runs=1, events=1, messages=6)


async def test_a_store_that_is_off_or_away_is_said_to_be() -> None:
    off = Threads(Recorder("off"))
    assert off.is_off
    with pytest.raises(LedgerAway, match="PERDURE_STORE=off"):
        await off.read("t", 1)
    recorder = Recorder("sqlite:////proc/nowhere/runs.db")
    async with asyncio.timeout(8):
        with pytest.raises(LedgerAway, match="does not serve threads"):
            await Threads(recorder).write("t", "r", {0: said("a")})
    await recorder.close()
