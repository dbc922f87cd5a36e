"""A text that is still being written loses its calls: in any pieces what the whole loses."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure_graph.agents.closing import ClosingText
from perdure_graph.agents.markup import without_calls

# What opens and ends calls, what nearly does, and what stands between.
PIECES = [
    *(
        "<tool_call>",
        "</tool_call>",
        "<tool_calls>",
        "</TOOL_CALLS>",
        "<Tool_Use a='b'>",
        "</tool_use>",
        "<tool_caller>",
    ),
    *("<function_calls>", "</function_calls>", "<invoke name='x'>", "</invoke>", "<invoke ", "<invoice>", "<x:invoke>"),
    *("</x:invoke>", "<｜DSML｜function_calls>", "</｜DSML｜function_calls>", "<|a|tool_call\n>", "</|A|tool_call>"),
    *("<function=x>", "</function>", "</Function>", "<function=", "<function", "<tool", "<|", "<a-b:"),
    *(
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁calls▁end｜>",
        "<|tool_call_begin|>",
        "<|tool_call_end|>",
        "_end|>",
        "▁END｜>",
    ),
    *("<|python_tag|>", "[TOOL_CALLS]", "[tool_calls]", "[TOOL", "<|tool_", "<|python_tag", "<｜tool▁" + "x" * 39),
    *(
        "```",
        "``",
        "`",
        "````",
        "```json\n",
        "<",
        ">",
        "</",
        "[",
        "|",
        "｜",
        " ",
        "\n",
        "a",
        "x y",
        "答案",
        "ſ",
        "K",
        "İ",
    ),
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=9).map("".join) | st.text("`<>/|｜[]_toolcaskinve=: \n", max_size=30)


def shown(text: str, cuts: list[int]) -> list[str]:
    """What readers see of a text that comes in pieces of these lengths, again and again."""
    closing, at, found = ClosingText(), 0, list[str]()
    while at < len(text):
        for cut in cuts:
            found.append(closing.take(text[at : at + cut]))
            at += cut
    return [*found, closing.finish()]


@settings(max_examples=1500)
@given(text=TEXTS, cuts=st.lists(st.integers(0, 9), min_size=1, max_size=5).filter(any))
def test_in_any_pieces_it_is_what_the_whole_is_without_calls(text: str, cuts: list[int]) -> None:
    seen = "".join(shown(text, cuts))
    assert seen.strip() == without_calls(text).strip()
    assert seen == without_calls(text) or seen.lstrip() == without_calls(text), "only space before it may be too much"


@pytest.mark.parametrize(
    "call",
    [
        "<tool_call>{}</tool_call>",
        "<Function_Calls a='1'>{}</function_calls>",
        f"<{'n' * 20}:invoke>{{}}</{'n' * 20}:invoke>",
        f"<｜{'n' * 20}｜tool_use x>{{}}</｜{'n' * 20}｜tool_use>",
        "<function=x>{}</function>",
        f"<｜tool▁{'x' * 40}｜>{{}}<｜x▁end｜>",
        "<|python_tag|>{}",
        "[TOOL_CALLS]{}",
        "```<tool_call>``` <tool_call>{}</tool_call>",
    ],
)
def test_wherever_a_call_is_cut_it_is_left_out(call: str) -> None:
    for text in (f"a {call}", f"{call} b", f"a {call} b {call} c"):
        for cut in range(len(text)):
            closing = ClosingText()
            seen = closing.take(text[:cut]) + closing.take(text[cut:]) + closing.finish()
            assert seen == without_calls(text)
            assert "{}" not in seen
        assert "".join(shown(text, [1])) == without_calls(text)


@settings(max_examples=500)
@given(text=TEXTS, cuts=st.lists(st.integers(0, 9), min_size=1, max_size=5).filter(any))
def test_a_reader_never_sees_an_opening(text: str, cuts: list[int]) -> None:
    written = re.compile(r"<tool_calls?>|<function=x>|<\|python_tag\|>|\[TOOL_CALLS\]", re.IGNORECASE)
    unfenced = text.replace("`", "")
    seen = ""
    for piece in shown(unfenced, cuts):
        seen += piece
        assert written.search(seen) is None or written.search(without_calls(unfenced)) is not None


@pytest.mark.parametrize(
    ("text", "soon"),
    [
        ("It is red, and that is all.", "It is red, and that is all."),
        ("a < b, a <tool> and [1]", "a < b, a <tool> and [1]"),
        ("See ```xml\n<tool_call>x", "See ```xml\n<tool_call>x"),
        ("It is <tool_ca", "It is"),
        ("It is <tool_call>{} </tool_ca", "It is"),
        ("It is <tool_call>{}</tool_call> red", "It is  red"),
        ("It is [TOOL_CALLS][{}] red", "It is"),
        ("It is <|tool_x_begin|>{}<|tool_x_end|> red", "It is"),
    ],
)
def test_what_cannot_be_a_call_is_shown_at_once(text: str, soon: str) -> None:
    closing = ClosingText()
    assert "".join(closing.take(char) for char in text) == soon


def test_what_was_held_back_and_is_no_call_is_shown_in_the_end() -> None:
    for text in ("It is <tool_ca", "It is <invoke it", "a ``", "[TOOL", "x <|tool_y", " It is.\n ", "<function=```<a>"):
        assert "".join(shown(text, [1])) == text == without_calls(text)


@pytest.mark.parametrize(
    "piece", ["<tool_call>", "<|tool_x|>", "_end|>", "```", "<invoke ", "<a:", "<function=", "`", " x"]
)
@pytest.mark.parametrize("cut", [3, 1_000_000])
def test_no_text_takes_long(piece: str, cut: int) -> None:
    for text in (piece * 20_000, f"<invoke {'x' * 100_000}", "<|tool_x|><|tool_x_end|>" + piece * 20_000):
        began = time.monotonic()
        shown(text, [cut])
        assert time.monotonic() - began < 20
