"""question-classifier: what the model is asked, and which branch its answer takes."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.context import file
from fakes.graphs import node, start, template
from fakes.scripted_model import MODEL, ScriptedModel, answer, finished, run
from perdure_graph.graph import NodeSpec
from perdure_graph.models.answers import first_object, objects_in, without_thinking
from perdure_graph.models.classify import QuestionClass, chosen
from perdure_graph.models.messages import FilePart, UserMessage
from perdure_graph.state import RunState

CLASSES = [{"id": "1", "name": "bills"}, {"id": "2", "name": "{{#start.q#}} trouble", "label": "Tech"}]


def classify(model: ScriptedModel, query: str | None = "my router", /, **data: Any) -> RunState:
    """Run start -> sort -> a or b."""
    sort: NodeSpec = node(
        "sort",
        "question-classifier",
        **{"query_variable_selector": ["start", "q"], "model": MODEL, "classes": CLASSES, **data},
    )
    nodes = [start(q="paragraph"), sort, template("a", "A"), template("b", "B")]
    edges = [("start", "sort"), ("sort", "1", "a"), ("sort", "2", "b")]
    request = {name: data.pop(name) for name in ("sysvars", "files") if name in data}
    return run(model, *nodes, edges=edges, inputs={"q": query} if query else {}, **request)


def outputs(state: RunState) -> dict[str, Any]:
    """What the classifier put out, without usage."""
    found = finished(state, "sort").outputs
    return {name: value for name, value in found.items() if name != "usage"}


FIRST = {"class_name": "bills", "class_label": "CLASS 1", "class_id": "1"}
SECOND = {"class_name": "my router trouble", "class_label": "Tech", "class_id": "2"}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ('{"category_id": "2", "category_name": "x"}', SECOND),
        ('{"category_id": 2}', SECOND),
        ('Sure!\n```json\n{"category_id": "2", "category_name": "x"}\n```\nDone.', SECOND),
        ('<think>{"category_id": "1"} or {"category_id": "2"}?</think>{"category_id": "2"}', SECOND),
        ('first I thought {"category_id": "1"}</think>{"category_id": "2"}', SECOND),
        ("{'category_id': '2', 'category_name': 'x',}", SECOND),
        ('{"category_id": "2", "category_name": "my rou', SECOND),
        ('[{"category_id": "2", "category_name": "x"}]', SECOND),
        ('{"category_id": "7", "category_name": "bills"}', FIRST),
        ('{"category_id": null}', FIRST),
        ('{"category_id": ["2"]}', FIRST),
        ("2", FIRST),
        ("", FIRST),
        ("{{{{", FIRST),
    ],
)
def test_the_answer_chooses_a_branch_and_the_first_one_when_it_names_none(said: str, expected: dict[str, str]) -> None:
    state = classify(ScriptedModel(answer(said)))
    assert outputs(state) == expected
    ran = [e.node_id for e in state.events if e.type == "node_finished"]
    assert ran == ["start", "sort", "a" if expected is FIRST else "b"]
    assert finished(state, "sort").handle == expected["class_id"]


def test_the_model_is_asked_with_filled_names_and_the_instruction() -> None:
    model = ScriptedModel(answer('{"category_id": "1"}'))
    classify(model, instruction="mind {{#start.q#}}")
    (role, task), (_, asked) = model.texts()
    assert role == "system" and "category_id" in task
    assert '[{"category_id": "1", "category_name": "bills"}, ' in asked
    assert '"category_name": "my router trouble"' in asked
    assert "mind my router" in asked
    assert asked.endswith("Text:\nmy router")
    assert (model.asked[0].tools, model.asked[0].answer, model.asked[0].think) == ((), None, "separated")


def test_a_query_that_does_not_exist_is_empty_and_memory_and_files_go_along() -> None:
    model = ScriptedModel()
    state = classify(
        model,
        None,
        memory={"window": {"enabled": True, "size": 1}},
        vision={"enabled": True, "configs": {"detail": "low"}},
        files=[file("a.png", "image")],
        sysvars={"conversation_id": "c"},
    )
    assert finished(state, "sort").inputs["query"] is None
    past = model.asked[0].remember
    assert past is not None and (past.conversation_id, past.most_messages) == ("c", 2)
    last = model.asked[0].messages[-1]
    assert isinstance(last, UserMessage) and isinstance(last.content[0], FilePart)


def test_a_completion_model_gets_one_text() -> None:
    model = ScriptedModel()
    classify(model, model=MODEL | {"mode": "completion"})
    [(role, text)] = model.texts()
    assert role == "user" and "category_id" in text and "my router" in text
    assert model.asked[0].mode == "completion"


def test_what_the_person_wrote_cannot_break_the_list_of_categories() -> None:
    model = ScriptedModel()
    classify(model, 'a"] {{#start.q#}}')
    listed = model.texts()[1][1].split("\n")[1]
    assert [each["category_id"] for each in json.loads(listed)] == ["1", "2"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.text(max_size=60) | st.dictionaries(st.sampled_from(["category_id", "x"]), JSON).map(json.dumps))
def test_every_answer_chooses_one_of_the_classes(text: str) -> None:
    classes = [QuestionClass(id=name, name=name) for name in ("a", "b")]
    assert chosen(text, classes, ["a", "b"]).id in ("a", "b")


@given(st.text(max_size=20), st.text(max_size=20), st.dictionaries(st.text(max_size=5), JSON, max_size=4))
def test_an_object_is_found_whatever_stands_around_it(before: str, behind: str, value: dict[str, Any]) -> None:
    around = before.replace("{", "").replace("<", ""), behind.replace("<", "")
    assert first_object(f"{around[0]}{json.dumps(value)}{around[1]}") == value


def test_thinking_is_taken_out() -> None:
    assert without_thinking("a<think>b</think>c<THINK x='1'>d</think>e") == "ace"
    assert without_thinking("b</think>c") == "c"
    assert without_thinking("a<think>b<think>c</think>d") == "ad"
    assert without_thinking('a<think>never closed {"a": 1}') == "a"
    assert without_thinking("a<think>b</think>c<think>d") == "ac"
    assert without_thinking(f"a<think {'x' * 400}>b") == "a"


def test_what_no_payload_can_hold_is_not_found() -> None:
    for number in ("NaN", "-Infinity", "1e999"):
        found = first_object(f'{{"a": {number}}}')
        assert found is None or not isinstance(found["a"], float), found
    assert first_object('{"a": "\\ud800"}') == {"a": "?"}
    assert first_object('{"a": ' + "[" * 500 + "]" * 500 + "}") is None
    assert first_object('{"a": ' * 5_000) is None


@pytest.mark.parametrize(
    "piece", ["{{{{{", '{"a":', "<think>", "<think ", "{}{}", "{a: [", "}{", "</think>", '{"', "[[", "{'a': \"b', "]
)
def test_reading_takes_no_time_whatever_the_model_wrote(piece: str) -> None:
    began = time.process_time()
    list(objects_in(without_thinking(piece * 60_000)))
    assert time.process_time() - began < 1.5
