"""What a deployment is sent: conversation, structured output, thinking of others, past a text prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.adapters import Script, ask, bench, deployment, fails, says
from perdure_activities.models.cache import as_cached
from perdure_activities.models.failover import LocatedFault
from perdure_activities.models.protocol import Finished, ModelFault, TextDelta, ThinkingDelta
from perdure_activities.models.remember import fitting, most_turns, room, with_past
from perdure_activities.models.settle import node_of
from perdure_graph.models.effects import Remember
from perdure_graph.models.messages import (
    AnswerSchema,
    AssistantMessage,
    FilePart,
    SystemMessage,
    TextPart,
    ThinkingPart,
    ToolSpec,
    UserMessage,
    text_of,
    user,
)

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
ANSWER = AnswerSchema(schema=SCHEMA)


class Turns:
    """The ledger of a conversation."""

    def __init__(self, ledger: Any, turns: list[tuple[str, str]]) -> None:
        self._ledger = ledger
        self._turns = turns

    async def turns(self, conversation_id: str, before: str, most: int | None, **_: Any) -> list[tuple[str, str]]:
        assert (conversation_id, before) == ("c", "run-1")
        return self._turns[-most:] if most else self._turns

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)


def sent(b: Any, nth: int = -1) -> list[tuple[str, str]]:
    return [(message.role, text_of(message)) for message in b.adapter.asked[nth][1].messages]


async def test_the_past_stands_before_the_last_question(tmp_path: Path) -> None:
    remember = Remember(conversation_id="c", before="run-1", most_messages=4)
    effect = ask(messages=(SystemMessage(text="be kind"), user("now?")), remember=remember)
    async with bench(tmp_path, {"a": [says("fine")]}) as b:
        b.runtime.ledger = Turns(b.ledger, [("q1", "a1"), ("q2", "a2"), ("q3", "a3")])  # pyright: ignore
        answer = await b.runtime.invoke(effect, 1)
        assert answer.remembered == 4
        assert sent(b) == [
            ("system", "be kind"),
            ("user", "q2"),
            ("assistant", "a2"),
            ("user", "q3"),
            ("assistant", "a3"),
            ("user", "now?"),
        ]


async def test_an_overflow_forgets_the_past_once(tmp_path: Path) -> None:
    effect = ask(messages=(user("now?"),), remember=Remember(conversation_id="c", before="run-1"))
    async with bench(tmp_path, {"a": [fails("context_overflow"), says("fine")]}) as b:
        b.runtime.ledger = Turns(b.ledger, [("q1", "a1")])  # pyright: ignore
        assert (await b.runtime.invoke(effect, 1)).remembered == 0
        assert [len(sent(b, n)) for n in (0, 1)] == [3, 1]
    async with bench(tmp_path / "2", {"a": [fails("context_overflow")]}) as b:
        b.runtime.ledger = Turns(b.ledger, [("q1", "a1")])  # pyright: ignore
        with pytest.raises(LocatedFault, match="larger window"):
            await b.runtime.invoke(effect, 1)
        assert len(b.names()) == 2


@given(st.lists(st.integers(1, 50), max_size=12), st.integers(0, 200))
def test_what_is_remembered_is_the_newest_that_fits(sizes: list[int], tokens: int) -> None:
    turns = [("x" * size, "y") for size in sizes]
    kept = fitting(turns, tokens, lambda messages: sum(len(text_of(message)) for message in messages))
    assert kept == turns[len(turns) - len(kept) :]
    assert sum(len(query) + 1 for query, _ in kept) <= tokens
    if len(kept) < len(turns):
        assert sum(len(query) + 1 for query, _ in turns[len(turns) - len(kept) - 1 :]) > tokens


def test_room_is_what_prompt_and_answer_leave() -> None:
    assert room(1000, 300, 200) == 500
    assert room(1000, 900, 200) == 0
    assert most_turns(Remember(conversation_id="c", before="r", most_messages=5)) == 2


def test_a_prompt_of_one_text_takes_the_past_where_it_asks() -> None:
    remember = Remember(conversation_id="c", before="r", user_prefix="U", assistant_prefix="B")
    effect = ask(messages=(user("{{#histories#}}\nU: now"),), mode="completion", remember=remember)
    (message,) = with_past(effect, [("q", "a")])
    assert text_of(message) == "U: q\nB: a\nU: now"
    (message,) = with_past(effect, [])
    assert text_of(message) == "\nU: now"


async def test_structured_output(tmp_path: Path) -> None:
    async with bench(tmp_path, {"a": [says('```json\n{"n": 3}\n```'), says("no idea"), says('{"n": 4}')]}) as b:
        assert (await b.runtime.invoke(ask(answer=ANSWER), 1)).structured == {"n": 3}
        with pytest.raises(LocatedFault) as caught:
            await b.runtime.invoke(ask(key="k2", answer=ANSWER), 1)
        assert caught.value.kind == "protocol_error"
        assert (await b.runtime.invoke(ask(key="k2", answer=ANSWER), 2)).structured == {"n": 4}
        rows = await b.rows()
        assert [(row.outcome, row.fault, row.prompt_tokens, row.estimated) for row in rows] == [
            ("answer", None, 10, False),
            ("wasted", "protocol_error", 10, False),
            ("answer", None, 10, False),
        ]


async def test_a_server_without_schemas_is_asked_by_a_tool_then_in_words(tmp_path: Path) -> None:
    config: dict[str, Any] = {"deployments": [deployment("a", "demo", wire=None)]}
    asked: dict[str, Any] = {"provider": "demo", "model": "demo", "answer": ANSWER}
    scripts = [
        fails("bad_request", parameter="response_format.json_schema"),
        says('{"n": 3}'),
        fails("bad_request", parameter="tool_choice"),
        says('{"n": 4}'),
    ]
    async with bench(tmp_path, {"a": scripts}, config) as b:
        assert (await b.runtime.invoke(ask(**asked), 1)).structured == {"n": 3}
        assert (await b.runtime.invoke(ask(key="k2", **asked), 1)).structured == {"n": 4}
        assert [call.answer_by for _, call in b.adapter.asked] == ["native", "tool", "tool", "text"]
        assert "JSON Schema" in sent(b)[0][1]


async def test_a_schema_that_is_refused_changes_nothing_for_others(tmp_path: Path) -> None:
    config: dict[str, Any] = {"deployments": [deployment("a", "demo", wire=None)]}
    asked: dict[str, Any] = {"provider": "demo", "model": "demo", "answer": ANSWER}
    refused: Script = [ModelFault("bad_request", "Invalid schema for response_format", parameter="response_format")]
    async with bench(tmp_path, {"a": [refused, says('{"n": 3}'), says('{"n": 4}')]}, config) as b:
        assert (await b.runtime.invoke(ask(**asked), 1)).structured == {"n": 3}
        assert (await b.runtime.invoke(ask(key="k2", **asked), 1)).structured == {"n": 4}
        assert [call.answer_by for _, call in b.adapter.asked] == ["native", "tool", "native"]


async def test_a_model_without_tools_is_asked_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = ToolSpec(name="give", parameters=SCHEMA)
    config: dict[str, Any] = {"deployments": [deployment("a", "openai")]}
    async with bench(tmp_path, {"a": [says('{"n": 3}')]}, config) as b:
        one = b.runtime.catalog.model("openai", "gpt-x")
        plain = one.model_copy(update={"features": frozenset()})
        monkeypatch.setattr(b.runtime.catalog, "model", lambda *_: plain)
        assert (await b.runtime.invoke(ask(tools=(tool,), tool_choice="required"), 1)).text == '{"n": 3}'
        assert b.adapter.asked[0][1].tools == ()
        assert '"n"' in sent(b)[0][1]
        with pytest.raises(LocatedFault, match="calls no tools"):
            await b.runtime.invoke(ask(key="k2", tools=(tool,)), 1)


async def test_thinking_is_kept_apart_and_others_thoughts_are_left_out(tmp_path: Path) -> None:
    mine, other = ThinkingPart(provider="openai", text="m"), ThinkingPart(provider="anthropic", text="o", signature="s")
    past = AssistantMessage(content=(mine, other, TextPart(text="said")))
    effect = ask(messages=(user("a"), past, AssistantMessage(content=(other,)), user("b")))
    thinks = [ThinkingDelta("hm"), TextDelta("so"), Finished("stop")]
    async with bench(tmp_path, {"a": [thinks]}) as b:
        answer = await b.runtime.invoke(effect, 1)
        assert (answer.text, answer.reasoning) == ("so", "hm")
        assert answer.usage.tokens.estimated
        assert answer.usage.tokens.completion > 0
        messages = b.adapter.asked[0][1].messages
        assert [message.role for message in messages] == ["user", "assistant", "user"]
        assert messages[1].content == (mine, TextPart(text="said"))
        tagged = await b.runtime.invoke(ask(key="k2", think="tagged"), 1)
        assert tagged.text == "<think>\nhm\n</think>\nso"


async def test_a_wrong_parameter_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    config: dict[str, Any] = {"deployments": [deployment("a", "generic")]}
    async with bench(tmp_path, {"a": [says("fine")]}, config) as b:
        with pytest.raises(LocatedFault, match="temperature") as caught:
            await b.runtime.invoke(ask(provider="generic", parameters={"temperature": 9}), 1)
        assert (caught.value.kind, b.names()) == ("bad_request", [])


async def test_what_is_cached_costs_nothing(tmp_path: Path) -> None:
    async with bench(tmp_path, {"a": [says("fine")]}, {"prices": {"*": {"input": 1, "output": 1}}}) as b:
        answer = await b.runtime.invoke(ask(), 1)
        assert answer.worth_keeping()
        free = await b.runtime.cached(ask(key="k2"), answer)
        assert free.usage.cached
        assert free.usage.price.total == 0
        assert free.usage.tokens == answer.usage.tokens
        assert free.text == answer.text
        assert as_cached(free) == free
        rows = await b.rows()
        assert [(row.outcome, row.price) for row in rows] == [("answer", "0.0000150"), ("cached", "0")]


def test_what_may_be_kept() -> None:
    remote = FilePart(kind="image", file={"id": "1", "transfer_method": "remote_url", "remote_url": "https://a/b.png"})
    stored = FilePart(kind="image", file={"id": "1", "transfer_method": "local_file", "related_id": "x"})
    assert ask().may_be_kept()
    assert ask(messages=(UserMessage(content=(stored,)),)).may_be_kept()
    assert not ask(messages=(UserMessage(content=(remote,)),)).may_be_kept()
    assert not ask(remember=Remember(conversation_id="c", before="r")).may_be_kept()


def test_the_node_of_a_key() -> None:
    assert [node_of(key) for key in ("k", "k#2", "it[3].k#2", "it[3].in[0].k", "a#b")] == ["k", "k", "k", "k", "a#b"]
