"""What of an answer is shown as text and what is reasoning, however its pieces were cut."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from perdure_activities.models.protocol import Delta, Finished, TextDelta, ThinkingDelta, ThinkingDone, ToolCallDelta
from perdure_activities.models.thinking import Mode, Shown, split
from perdure_graph.models.answers import without_thinking
from perdure_graph.models.messages import ThinkingPart

DONE = ThinkingDone(ThinkingPart(provider="p"))


def show(mode: Mode, *deltas: Delta) -> tuple[str, str]:
    shown = Shown(mode)
    given_out = "".join(shown.take(delta) for delta in deltas) + shown.finish()
    assert given_out == shown.text, "what was given out piece by piece is the text"
    return shown.text, shown.reasoning


def test_tagged_puts_what_is_kept_apart_into_the_text() -> None:
    pieces = (ThinkingDelta("let me "), ThinkingDelta("see"), DONE, TextDelta("It is "), TextDelta("4."))
    assert show("tagged", *pieces) == ("<think>\nlet me see\n</think>\nIt is 4.", "")
    assert show("separated", *pieces) == ("It is 4.", "let me see")


def test_tagged_leaves_the_models_own_tags() -> None:
    text = " <think>\nhm</think>\n\n\n4 "
    assert show("tagged", TextDelta(text)) == (text, "")


def test_thinking_alone_ends() -> None:
    call = ToolCallDelta(0, id="a", name="look")
    assert show("tagged", ThinkingDelta("hm"), call, Finished("tool_calls")) == ("<think>\nhm\n</think>\n", "")
    assert show("separated", ThinkingDelta("hm"), call) == ("", "hm")


def test_blocks_are_told_apart() -> None:
    assert show("separated", ThinkingDelta("a"), DONE, ThinkingDelta("b"), TextDelta("c")) == ("c", "a\nb")
    mixed = (ThinkingDelta("a"), TextDelta("<think>b"), TextDelta("</think>c"), ThinkingDelta("d"))
    assert show("separated", *mixed) == ("c", "a\nb\nd")


@pytest.mark.parametrize(
    ("text", "shown", "reasoning"),
    [
        ("<think>\nhm\n</think>\n\n4", "4", "hm"),
        ("before <THINK>x</Think> after", "before  after", "x"),
        ('<think time="2">x</think>4', "4", "x"),
        ("<think>a</think>one\n<think>b</think>\ntwo", "one\n\ntwo", "a\nb"),
        ("<think>a<think>b</think>c</think>d", "c</think>d", "a<think>b"),
        ("<think></think>4", "4", ""),
        ("4 <think>cut off", "4", "cut off"),
        ("4 <think>cut off </thi", "4", "cut off </thi"),
        ("a </think> b", "a </think> b", ""),
        ("a <thinking>b</thinking>", "a <thinking>b</thinking>", ""),
        ("if a <t", "if a <t", ""),
        ("1 <think\n", "1 <think", ""),
        ("  a\n\n\n\n b \n", "a\n\n b", ""),
        ("", "", ""),
    ],
)
def test_separated_takes_blocks_out_of_the_text(text: str, shown: str, reasoning: str) -> None:
    assert split(text) == (shown, reasoning)


def once(text: str) -> tuple[str, str]:
    """Say the same of a whole text, the plain way."""
    tag = r"<think(?:\s[^<>]{0,512})?>"
    pattern = re.compile(rf"{tag}(.*?)(?:</think>|\Z)", re.IGNORECASE | re.DOTALL)
    blocks = [block.strip() for block in pattern.findall(text)]
    clean = re.sub(r"\n\s*\n", "\n\n", pattern.sub("", text)).strip()
    return clean, "\n".join(block for block in blocks if block)


PIECES = [
    "<think>",
    "</think>",
    "<think x='y'>",
    "<THINK\n>",
    "<",
    ">",
    "/",
    "think",
    "<thin",
    "</",
    " ",
    "\n",
    "\n\n",
    "a",
    "é",
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=25).map("".join)


@settings(deadline=None)
@given(TEXTS, st.lists(st.integers(0, 120), max_size=12))
@example("<think>a</think>b", list(range(20)))
@example("<think " + "x" * 513 + ">a", [3, 200])
def test_how_the_pieces_are_cut_makes_no_difference(text: str, cuts: list[int]) -> None:
    edges = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    pieces = [text[a:b] for a, b in pairwise(edges)]
    assert show("separated", *map(TextDelta, pieces)) == once(text)
    assert show("tagged", *map(TextDelta, pieces)) == (text, "")


@pytest.mark.parametrize(
    "text", ["a<think>b", "a<think>b</think>c<think>d", "a<THINK x='1'>b<think>c", "a<think>b</thin"]
)
def test_a_block_that_nobody_closed_is_thinking_for_nodes_too(text: str) -> None:
    assert without_thinking(text) == once(text)[0]


def test_text_is_shown_as_soon_as_it_cannot_be_a_tag() -> None:
    shown = Shown("separated")
    assert [shown.take(TextDelta(piece)) for piece in ("Hello", " wor", "ld <", "b>!")] == [
        "Hello",
        " wor",
        "ld",
        " <b>!",
    ]
