"""Results in words for a model, cut to fit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from perdure_activities.tools.results import EMPTY, cut, fault_for_model, text_for_model
from perdure_graph.agents.tools import JsonOut, LinkOut, TextOut, VariableOut


@given(st.text(), st.integers(1, 300))
def test_a_cut_text_is_within_its_limit_and_whole_characters(text: str, limit: int) -> None:
    text = text.encode("utf-8", "replace").decode()
    for whole in (text, text * 40):
        made = cut(whole, limit)
        assert len(made.encode()) <= limit
        assert (made == whole) == (len(whole.encode()) <= limit)


def test_head_and_tail_stay() -> None:
    text = "".join(f"line {n}\n" for n in range(1000))
    made = cut(text, 500)
    assert made.startswith("line 0\n")
    assert made.endswith("line 999\n")
    assert "bytes or more left out" in made


def test_what_a_model_sees_of_each_part() -> None:
    said = text_for_model(
        [
            TextOut(text="as it is"),
            JsonOut(value={"ü": 1}),
            JsonOut(value={"hidden": 1}, shown=False),
            LinkOut(url="https://x"),
            LinkOut(url="https://secret-picture", image=True),
            VariableOut(name="v", value=1),
        ],
        10_000,
    )
    assert said.splitlines()[:3] == [
        "as it is",
        'tool response: {"ü": 1}.',
        "result link: https://x. Tell the user to open it.",
    ]
    assert "shown to the user already" in said
    assert not any(word in said for word in ("hidden", "secret-picture"))


def test_no_result_is_said_too() -> None:
    assert text_for_model([], 100) == text_for_model([VariableOut(name="v", value=1)], 100) == EMPTY


def test_faults_keep_the_meaning_that_models_know() -> None:
    assert fault_for_model("invoke", "E") == "tool invoke error: E"
    assert fault_for_model("internal", "E") == "unknown error: E"
    assert "credentials" in fault_for_model("credentials", "E")
