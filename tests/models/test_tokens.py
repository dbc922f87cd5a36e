"""Token counters: exact where the tokenizer is public, estimates that learn elsewhere."""

from __future__ import annotations

import builtins
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure_activities.models import tokens as counting
from perdure_activities.models.declared.load import Catalog
from perdure_activities.models.declared.schema import ModelDeclaration
from perdure_activities.models.tokens import Counters, bpe, estimate, image_tokens
from perdure_graph.models.messages import (
    AssistantMessage,
    FilePart,
    SystemMessage,
    ThinkingPart,
    ToolCall,
    ToolMessage,
    ToolSpec,
    assistant,
    user,
)

CATALOG = Catalog.load(installed=False)
counter_for = Counters(CATALOG).counter_for
CHINESE = "人工智能正在改变我们的生活方式。"


def image(**about: Any) -> FilePart:
    detail = about.pop("detail", "high")
    return FilePart(kind="image", file=about, detail=detail)


def test_openai_is_counted_exactly_and_special_tokens_are_text() -> None:
    import bpe_openai

    count = counter_for("openai", "gpt-4o")
    for text in ["hello world", CHINESE, "a <|endoftext|> b", "", "🙂" * 10]:
        assert count.text(text) == len(bpe_openai.get_encoding("o200k_base").encode_ordinary(text))
    assert count.text(CHINESE) < counter_for("openai", "gpt-4").text(CHINESE)


def test_a_prompt_is_its_texts_and_what_frames_them() -> None:
    count = counter_for("langgenius/openai/openai", "gpt-4o")
    one = count.text("hello there")
    assert count.count([user("hello there")]) == one + 3 + 3
    assert count.count([SystemMessage(text="hello there"), assistant("hello there")]) == 2 * one + 6 + 3
    call = ToolCall(id="1", name="find", arguments='{"q": "x"}')
    said = AssistantMessage(content=(ThinkingPart(provider="openai", text="hmm hmm"), call))
    asked = [user("hello there"), said, ToolMessage(call_id="1", name="find", content=user("found it").content)]
    texts = ["hello there", "hmm hmm", "find", '{"q": "x"}', "found it"]
    assert count.count(asked) == sum(map(count.text, texts)) + 9 + 3
    tool = ToolSpec(name="find", description="Finds.", parameters={"type": "object"})
    assert count.count([user("hello there")], [tool]) > one + 6 + 5


def test_images_count_by_the_formula_of_their_provider() -> None:
    assert image_tokens(image(), tiles=True) == 765
    assert image_tokens(image(width=512, height=512), tiles=True) == 85 + 170
    assert image_tokens(image(width=4096, height=2048), tiles=True) == 85 + 170 * 6
    assert image_tokens(image(detail="low"), tiles=True) == 85
    assert image_tokens(image(), tiles=False) == math.ceil(1024 * 1024 / 750)
    assert image_tokens(image(width=9000, height=9000), tiles=False) == 1600
    claude, gpt = (counter_for(*name) for name in [("anthropic", "claude-opus-5-5"), ("openai", "gpt-4o")])
    message = user("", image())
    assert (gpt.count([message]), claude.count([message])) == (765 + 6, 1399 + 6)


def test_a_text_of_more_than_the_tokenizer_takes_is_counted() -> None:
    text = "word " * 300_000
    count = counter_for("openai", "gpt-4o").text(text)
    assert 300_000 <= count <= 300_100
    assert counter_for("openai", "gpt-4o").text("你" * 400_000) > 100_000


@settings(max_examples=30)
@given(st.text(max_size=300), st.integers(20, 60))
def test_cutting_a_text_loses_nothing_and_adds_little(text: str, size: int) -> None:
    whole = bpe("o200k_base")
    assert whole is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "_CHUNK_CHARS", size)
        pieces = list(counting._chunks(text))
        assert "".join(pieces) == text
        assert all(len(piece) <= size for piece in pieces)
        cut = whole(text)
    assert whole(text) <= cut + len(pieces)
    assert cut <= whole(text) + 8 * len(pieces)


def test_claude_has_a_margin_until_real_usage_is_known() -> None:
    counters = Counters(CATALOG)
    counter = counters.counter_for("anthropic", "claude-opus-5-5")
    text = "The quick brown fox jumps over the lazy dog. " * 20
    plain = counter_for("openai", "gpt-4o").text(text)
    assert counter.text(text) == math.ceil(plain * 1.35)
    for _ in range(30):
        prompt = [user(text)]
        counter.learn(counter.count(prompt), round(1.1 * counter_for("openai", "gpt-4o").count(prompt)))
    assert counter.text(text) == pytest.approx(1.1 * plain, rel=0.03)
    assert counters.counter_for("langgenius/anthropic/anthropic", "claude-opus-5-5") is counter
    assert counters.counter_for("anthropic", "claude-sonnet-5-5").text(text) == math.ceil(plain * 1.35)


def test_one_odd_answer_does_not_spoil_an_estimate_and_nonsense_teaches_nothing() -> None:
    counter = Counters(CATALOG).counter_for("ollama", "llama")
    for _ in range(20):
        counter.learn(100, 100)
    before = counter.text("some words " * 100)
    counter.learn(100, 100_000)
    assert counter.text("some words " * 100) <= 1.7 * before
    settled = counter.text("some words " * 100)
    counter.learn(100, 0)
    counter.learn(3, 100)
    assert counter.text("some words " * 100) == settled
    exact = counter_for("openai", "gpt-4o")
    known = exact.text("some words")
    exact.learn(100, 300)
    assert exact.text("some words") == known


@pytest.mark.parametrize(
    "text",
    [
        "The quick brown fox jumps over the lazy dog and runs away through the forest. " * 10,
        CHINESE * 20,
        "def f(x):\n    return [i ** 2 for i in range(x)]\n" * 10,
        '{"id": 12345, "name": "Ada", "tags": ["a", "b"], "price": 99.95}' * 10,
        "이것은 한국어 문장입니다. " * 20,
    ],
)
def test_an_estimate_is_near_the_truth_in_any_language(text: str) -> None:
    real = bpe("o200k_base")
    assert real is not None
    assert 0.6 * real(text) <= estimate(text) <= 1.9 * real(text)


def test_estimates_never_fail() -> None:
    assert estimate("") == 0
    assert estimate(" ") == estimate("\ud800") == 1


def test_without_the_tokenizer_there_is_the_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *rest: Any, **named: Any) -> Any:
        if name.startswith("bpe_openai"):
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", absent)
    model = ModelDeclaration(model="m", tokenizer="o200k_base")
    assert counting._counter(model, tiles=True).text("hello world") == estimate("hello world")
