"""Long-term memory: facts of one owner, found by their words, forgotten when asked to."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure_store import memories as module
from perdure_store.ledger_records import LedgerAway
from perdure_store.memories import MOST_CHARS, Memories, Owner
from perdure_store.ranking import ranked, words
from perdure_store.recorder import Recorder

ANN = Owner("acme", "ann", "helper")


class Clock:
    """Goes on by one with each look."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        self.now += 1
        return self.now


@pytest.fixture
def memories(recorder: Recorder) -> Memories:
    return Memories(recorder, clock=Clock())


async def test_facts_are_told_once_newest_first(memories: Memories) -> None:
    first = await memories.add(ANN, "  Ann lives in Paris. ")
    await memories.add(ANN, "Ann is allergic to nuts.\0")
    again = await memories.add(ANN, "Ann lives in Paris.")
    assert again.id == first.id
    facts = await memories.facts(ANN)
    assert [fact.text for fact in facts] == ["Ann lives in Paris.", "Ann is allergic to nuts.\ufffd"]
    assert facts[0].told_at > facts[1].told_at
    assert [fact.text for fact in await memories.facts(ANN, 1)] == ["Ann lives in Paris."]
    assert len((await memories.add(ANN, "x" * 9000)).text) == MOST_CHARS
    with pytest.raises(ValueError, match="empty"):
        await memories.add(ANN, " \n")


async def test_nobody_else_is_told(memories: Memories) -> None:
    fact = await memories.add(ANN, "The code is 1234.")
    others = (Owner("acme", "bob", "helper"), Owner("evil", "ann", "helper"), Owner("acme", "ann", "other"))
    for other in others:
        assert await memories.facts(other) == []
        assert await memories.search(other, "code", 5) == []
        assert await memories.delete(other, fact.id) is False
        assert (await memories.add(other, "The code is 1234.")).id != fact.id
    assert [each.id for each in await memories.facts(ANN)] == [fact.id]


async def test_facts_are_found_by_their_words(memories: Memories) -> None:
    for text in ("Likes hiking in the Alps.", "Has two cats.", "用户住在北京", "Prefers short answers."):
        await memories.add(ANN, text)
    assert (await memories.search(ANN, "What should I feed my cat?", 1))[0].text == "Has two cats."
    assert (await memories.search(ANN, "我住在哪里", 1))[0].text == "用户住在北京"
    assert (await memories.search(ANN, "hike", 2))[0].text == "Likes hiking in the Alps."
    # Where nothing fits, the newest may.
    assert [fact.text for fact in await memories.search(ANN, "zzz", 2)] == ["Prefers short answers.", "用户住在北京"]


async def test_facts_are_forgotten(memories: Memories) -> None:
    fact = await memories.add(ANN, "one")
    for owner in (ANN, Owner("acme", "ann", "other"), Owner("acme", "bob", "helper")):
        await memories.add(owner, "two")
    assert await memories.delete(ANN, fact.id) is True
    assert await memories.delete(ANN, fact.id) is False
    assert await memories.delete_user("acme", "ann", "other") == 1
    await memories.add(Owner("acme", "ann", "other"), "three")
    assert await memories.delete_user("acme", "ann") == 2
    assert await memories.facts(ANN) == []
    assert len(await memories.facts(Owner("acme", "bob", "helper"))) == 1


async def test_the_oldest_go(memories: Memories, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_FACTS", 3)
    for n in range(9):
        await memories.add(ANN, f"fact {n}")
    assert [fact.text for fact in await memories.facts(ANN, 100)] == [f"fact {n}" for n in range(8, 2, -1)]


async def test_a_store_that_is_off_is_said_to_be() -> None:
    with pytest.raises(LedgerAway, match="nothing is remembered"):
        await asyncio.wait_for(Memories(Recorder("off")).facts(ANN), 1)


@given(query=st.text(), texts=st.lists(st.text(), max_size=8))
def test_a_ranking_has_every_text_once(query: str, texts: list[str]) -> None:
    assert sorted(ranked(query, texts)) == list(range(len(texts)))


def test_rare_words_and_short_texts_count_more() -> None:
    texts = ["the user likes the sea", "the user likes tea", "tea " + "and other things " * 20, "the user"]
    assert ranked("the tea", texts)[0] == 1
    assert words("Cities, city; LIKED likes") == ["citi", "citi", "lik", "lik"]
