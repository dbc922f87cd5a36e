"""What a worker remembers of threads, and how much."""

from __future__ import annotations

from typing import Any

from perdure_store.thread_memory import ThreadMemory


def said(text: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text}]}


def test_what_is_put_is_picked_and_stays_as_it_was() -> None:
    memory = ThreadMemory()
    memory.put("t", {0: said("a"), 2: said("c")})
    memory.put("t", {0: said("another"), 1: said("b")})
    assert memory.pick("t", [0, 1, 2, 3]) == {0: said("a"), 1: said("b"), 2: said("c")}
    assert memory.pick("other", [0]) == {}


def test_the_threads_that_were_used_last_stay() -> None:
    memory = ThreadMemory(most_bytes=3500)
    for thread in "abc":
        memory.put(thread, {0: said("x" * 1000)})
    assert memory.pick("a", [0])
    memory.put("d", {0: said("x" * 1000)})
    assert [bool(memory.pick(thread, [0])) for thread in "abcd"] == [True, False, True, True]
    # One that is too large alone is not kept at all.
    memory.put("huge", {0: said("x" * 9000)})
    assert not memory.pick("huge", [0])


def test_half_characters_do_no_harm() -> None:
    memory = ThreadMemory()
    memory.put("t", {0: said("\ud83d")})
    assert memory.pick("t", [0]) == {0: said("\ud83d")}
