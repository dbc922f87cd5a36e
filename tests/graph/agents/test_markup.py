"""Calls that stand in a text are left out of it; what only looks like one stays."""

from __future__ import annotations

import time

import pytest

from perdure_graph.agents.markup import without_calls


@pytest.mark.parametrize(
    "call",
    [
        '<tool_call>{"name": "x", "arguments": {}}</tool_call>',
        '<tool_call>\n{"name": "x", "arg',
        '<tool_calls><tool_call name="x">1</tool_call></tool_calls>',
        '<function_calls>\n<invoke name="x"></invoke>\n</function_calls>',
        '<ns:invoke name="x"><ns:parameter name="a">1</ns:parameter></ns:invoke>',
        '<function=x>{"a": 1}</function>',
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>x\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        '<｜DSML｜function_calls><｜DSML｜invoke name="x"></｜DSML｜invoke></｜DSML｜function_calls>',
        "<|tool_calls_section_begin|><|tool_call_begin|>x:0<|tool_call_argument_begin|>{}",
        '[TOOL_CALLS][{"name": "x", "arguments": {}}]',
        '<|python_tag|>x.call(query="a")',
    ],
)
def test_a_call_is_left_out(call: str) -> None:
    assert without_calls(call) == ""
    assert without_calls(f"It is red.\n\n{call}") == "It is red."


@pytest.mark.parametrize(
    "text",
    [
        " It is red.\n",
        "Write:\n```xml\n<tool_call>{}</tool_call>\n```\nand no more.",
        "a <tool> is no <tool_caller>, and a < b",
        '{"name": "Ann", "arguments": ["none"]}',
        "<invoice>12</invoice> of the function_calls",
    ],
)
def test_what_is_no_call_stays_as_it_is(text: str) -> None:
    assert without_calls(text) == text


def test_no_text_takes_long() -> None:
    began = time.monotonic()
    for piece in ("<tool_call>", "<|tool_x|>", "```", "<invoke ", "<a:", "<function=", "<｜a｜"):
        without_calls(piece * 20_000)
    assert time.monotonic() - began < 5
