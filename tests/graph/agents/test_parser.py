"""ReAct parser: the vectors under any split, the rules beside them, and laws for any text."""

from __future__ import annotations

import json
import random
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure_graph.agents.blocks import MOST_HELD
from perdure_graph.agents.labels import LONGEST
from perdure_graph.agents.parser import IncrementalParser, parse
from perdure_graph.agents.units import Action, Answer, Delta, Malformed, Thought, Unit, Written, effective, joined

VECTORS = Path(__file__).parents[3].parent / "shared" / "conformance" / "react" / "vectors.json"
KNOWN: list[dict[str, Any]] = json.loads(VECTORS.read_text("utf-8"))["vectors"] if VECTORS.exists() else []


def read(pieces: list[str]) -> tuple[list[Unit], list[str]]:
    """Units and reasoning; what was given out piece by piece must be the same."""
    parser = IncrementalParser()
    deltas: list[Delta] = []
    for piece in pieces:
        deltas += parser.feed(piece)
    deltas += parser.finish()
    assert joined(_texts(deltas))[0] == parser.units
    assert joined(delta for delta in deltas if delta not in _texts(deltas))[1] == parser.reasoning
    return parser.units, parser.reasoning


def split(text: str, cuts: list[int]) -> list[str]:
    edges = [0, *sorted(cuts), len(text)]
    return [text[a:b] for a, b in pairwise(edges)]


@pytest.mark.skipif(not KNOWN, reason="no ../shared/conformance/react/vectors.json")
@pytest.mark.parametrize("vector", KNOWN, ids=[vector["id"] for vector in KNOWN])
def test_vector(vector: dict[str, Any]) -> None:
    text = vector.get("text", "".join(vector.get("chunks", [])))
    chance = random.Random(vector["id"])
    splits = [[text], list(text), vector.get("chunks", [text])]
    splits += [split(text, [chance.randrange(len(text) + 1) for _ in range(chance.randrange(9))]) for _ in range(100)]
    for pieces in splits:
        units, reasoning = read(pieces)
        assert [unit.model_dump() for unit in units] == vector["units"], pieces
        assert reasoning == vector.get("reasoning", []), pieces
        assert effective(units).model_dump() == vector["effective"], pieces


def thought(text: str) -> Thought:
    return Thought(text=text)


def action(name: str, value: Any = None) -> Action:
    return Action(name=name, input={} if value is None else value)


CALL = '{"action": "s", "action_input": {}}'

RULES: list[tuple[str, list[Unit]]] = [
    # Labels in any dress.
    ('**Thought:** t\n**Action:** s\n**Action Input:** {"q": 1}', [thought("t"), action("s", {"q": 1})]),
    ("**Thought**: t\n## Action : `s`\n> - ACTION_INPUT: x", [thought("t"), action("s", "x")]),
    ("# Final Answer: **42**", [Answer(text="**42**")]),
    ("思考：查\n行动：搜索\n行动输入：年假\n观察：假的", [thought("查"), action("搜索", "年假")]),
    ("综上，最终答案：好", [thought("综上，"), Answer(text="好")]),
    ("Thoughts: a\nActions: b\n1. Action: c", [thought("Thoughts: a\nActions: b\n1. Action: c")]),
    ("Answer: 42", [thought("Answer: 42")]),
    ("Action Input: x", [thought("Action Input: x")]),
    # Within a line a call must follow.
    ('I do Action: {"tool": "s", "args": {}} now', [thought("I do"), action("s"), thought("now")]),
    ("I do **Action:** ```json\n" + CALL + "\n```", [thought("I do"), action("s")]),
    ("the Action: search", [thought("the Action: search")]),
    ('Transaction: {"tool": "s"}', [thought('Transaction: {"tool": "s"}')]),
    ('"Final Answer: 1" is a label', [thought('"Final Answer: 1" is a label')]),
    # JSON that is a call, and JSON that is not.
    ('Action: {"action": "s"}', [action("s")]),
    ('{"action": "s"}', [thought('{"action": "s"}')]),
    ('{"action": "s", "action_input": null}', [thought('{"action": "s", "action_input": null}')]),
    (f'[{CALL}, {{"a": 1}}]', [thought(f'[{CALL}, {{"a": 1}}]')]),
    (f'{{"rows": [{CALL}]}}', [thought(f'{{"rows": [{CALL}]}}')]),
    (f'{{"rows": [{CALL}', [thought(f'{{"rows": [{CALL}')]),
    (f"[see] {CALL}", [thought("[see]"), action("s")]),
    ("Action: []", [Malformed(text="[]")]),
    ('Action: {"action": ""}', [Malformed(text='{"action": ""}')]),
    ('Action: {"action": "s", "action_input": 1.5}', [action("s", "1.5")]),
    (
        "Action: {'action': 's', 'action_input': [True, None, \"it's\", 'a\"b',],}",
        [action("s", [True, None, "it's", 'a"b'])],
    ),
    ('{"action": "s", "action_input": "a\tb\nc"}', [action("s", "a\tb\nc")]),
    ("{'action': 's', 'action_input': {}}", [thought("{'action': 's', 'action_input': {}}")]),
    ('Action: {"action": "s", "action_input": NaN}', [Malformed(text='{"action": "s", "action_input": NaN}')]),
    ('Action: {"action": "s", "action_input": "\\ud83d"}', [action("s", "\ufffd")]),
    ('Action: {"action": "final_answer", "action_input": {"名": 1}}', [Answer(text='{"名": 1}')]),
    # Fences.
    (f"a\n```js\n{{ it's }}\nAction: x\n```\n{CALL}", [thought("a\n```js\n{ it's }\nAction: x\n```"), action("s")]),
    (f"```json\n{CALL}", [thought(f"```json\n{CALL}")]),
    ("Mind ``` here.\nAction: s\nAction Input: {}", [thought("Mind ``` here."), action("s")]),
    ('Action: ```json\n{"a": 1}\n```', [Malformed(text='```json\n{"a": 1}\n```')]),
    ("Action:\n```\ns\n```\nAction Input: x", [action("s", "x")]),
    (
        'Action:\n```\n{"action": "Final Answer", "action_input": "a\n```py\nx\n```\nb"}\n```',
        [Answer(text="a\n```py\nx\n```\nb")],
    ),
    # Line by line.
    ("Action: None\nAction Input: None\nFinal Answer: x", [Answer(text="x")]),
    ("Action:\nThought: x", [thought("x")]),
    ("Action:\nsearch\n\nAction Input:\nx", [action("search", "x")]),
    ("Action:\nsearch\nThought: x", [thought("search\nx")]),
    ("Action:\nAction Input: x\nFinal Answer: y", [Answer(text="y")]),
    ("Action:\nnot_now I think\nAction: b", [thought("not_now I think"), action("b")]),
    ("Action: s\nThought: x", [action("s"), thought("x")]),
    ("Action: s\n\nAction Input:\n\n a\n b\n\nThought: x", [action("s", "a\n b"), thought("x")]),
    ('Action: s\nAction Input: {"a": [1,\n2]}\nObservation: x', [action("s", {"a": [1, 2]})]),
    ("Action: s\nAction Input: {bad}", [Malformed(text="{bad}")]),
    ("Action: s\nAction Input: 5", [action("s", "5")]),
    ("Action: s\nAction Input: ```python\n[x for x in y]\n```", [action("s", "[x for x in y]")]),
    ("Action: Final Answer\nAnswer: 42\nAction: x", [Answer(text="42\nAction: x")]),
    # Ends, thinking, line breaks.
    ("a\nObservation: b\nThought: c", [thought("a")]),
    ("Final Answer:", []),
    ("a<THINK>x</think>b </think>", [thought("ab </think>")]),
    ("a <<think>x</think>b", [thought("a <b")]),
    (f"Mind ``` here.\nThought: b {CALL}", [thought("Mind ``` here.\nb"), action("s")]),
    ("a\r\nAction: s\r\nAction Input: b\r\nc\r\n", [thought("a"), action("s", "b\nc")]),
]


@pytest.mark.parametrize(("text", "units"), RULES, ids=[text[:40] for text, _ in RULES])
def test_rule(text: str, units: list[Unit]) -> None:
    assert parse(text) == units
    assert read(list(text))[0] == units


def test_blocks_of_reasoning_are_kept_apart() -> None:
    assert read(list("<think>a<think>b</think></think><think> c </think>x<think>d"))[1] == ["ab", "c", "d"]


LABELS = (
    "Thought: ",
    "Action: ",
    "Action Input: ",
    "Observation: ",
    "Final Answer: ",
    "行动：",
    "**Action:** ",
    "None",
)
MARKS = ("```json\n", "```", "\n", "\r\n", " ", "<think>", "</think>", "- ", *"`{}[]\"'\\,:")
LINES = st.sampled_from((*LABELS, *MARKS, CALL, '{"tool": "s"}', "final", "act", "search", "a sentence. ", "é", "😀"))
TEXTS = st.lists(LINES | st.text(max_size=4), max_size=30).map("".join)


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.data())
def test_units_do_not_depend_on_the_pieces(text: str, data: st.DataObject) -> None:
    whole = read([text])
    assert read(list(text)) == whole
    assert read(split(text, data.draw(st.lists(st.integers(0, len(text)), max_size=6)))) == whole


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_what_was_given_out_stays(text: str) -> None:
    parser = IncrementalParser()
    given_out: list[Delta] = []
    for char in text:
        given_out += parser.feed(char)
    early = joined(_texts(given_out))[0]
    late = joined(_texts([*given_out, *parser.finish()]))[0]
    assert len(early) <= len(late)
    for unit, whole in zip(early, late, strict=False):
        if isinstance(unit, Thought | Answer):
            assert type(unit) is type(whole) and whole.text.startswith(unit.text)
        else:
            assert unit == whole


WORDS = st.lists(
    st.sampled_from(["\n", " ", "{", "}", "[", '"', "`", "```", ": ", "- ", "**", "<", "Thought: ", "Final Answer: "])
    | st.sampled_from(["Action: ", "Action Input: ", '{"tool": "', '", "args": "', '"}', "<think>", "</think>"]),
    max_size=25,
)


@settings(max_examples=300, deadline=None)
@given(WORDS)
def test_no_word_is_lost(marks: list[str]) -> None:
    words = [f"word{index:02}" for index in range(len(marks) + 1)]
    text = words[0] + "".join(mark + word for mark, word in zip(marks, words[1:], strict=True))
    units, reasoning = read([text])
    found = json.dumps([[unit.model_dump() for unit in units], reasoning])
    assert [word for word in words if word not in found] == []


@given(st.text(st.characters(codec="utf-8", exclude_characters="<{[`:：\r"), max_size=200))
def test_plain_text_is_a_thought(text: str) -> None:
    assert parse(text) == ([thought(text.strip())] if text.strip() else [])


@given(st.text(st.sampled_from("action fl*_#>- \ninput.é"), max_size=120))
def test_little_is_held_back(text: str) -> None:
    parser, out = IncrementalParser(), 0
    for end, char in enumerate(text, 1):
        out += len(_text_of(parser.feed(char)))
        assert len(text[:end].strip()) - out <= LONGEST


def test_text_that_may_be_a_call_is_not_shown() -> None:
    parser = IncrementalParser()
    shown = "".join(_text_of(parser.feed(char)) for char in 'Let me see. {"action": "s", "action_input": {"q": "x"')
    assert shown == "Let me see."
    assert not parser.has_called
    assert parser.feed("}}") and parser.has_called


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("Action: {" + '"a": "' + "x" * MOST_HELD + '"}', ["malformed", "thought"]),
        ('{"a": "' + "x" * MOST_HELD + f'", "b": {CALL}}}', ["thought"]),
        ("```\n" + "x" * MOST_HELD + f"\n{CALL}\n``` {CALL}", ["thought", "action"]),
    ],
)
def test_blocks_are_held_up_to_a_bound(text: str, kinds: list[str]) -> None:
    units = parse(text)
    assert [unit.t for unit in units] == kinds
    if kinds[0] == "thought":
        assert isinstance(units[0], Thought) and len(units[0].text) > MOST_HELD


LONG = ("{" * 60_000, "[" * 60_000, '{"a":' * 20_000, "`" * 100_000, "*" * 100_000, " " * 100_000, "<think>" * 15_000)
LONG_LINES = ("Action: {x" + "\\'" * 30_000 + "}", "Action: s\nAction Input: " + "- " * 50_000, "```{" * 20_000)


@pytest.mark.parametrize("text", (*LONG, *LONG_LINES, "final " * 15_000), ids=lambda text: text[-30:][:9])
def test_time_grows_with_the_text(text: str) -> None:
    started = time.process_time()
    parse(text)
    assert time.process_time() - started < 5


def _texts(deltas: list[Delta]) -> list[Delta]:
    return [delta for delta in deltas if not isinstance(delta, Written) or delta.t != "reasoning"]


def _text_of(deltas: list[Delta]) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, Written))
