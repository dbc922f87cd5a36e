"""parameter-extractor: what the model is asked, and the typed values made of its answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fakes.graphs import document, end, node, start
from fakes.scripted_model import MODEL, ScriptedModel, answer, call, finished, run
from perdure_graph.graph import NodeSpec
from perdure_graph.models.effects import ModelAnswer
from perdure_graph.models.extract import NOTHING_FOUND, Parameter, read
from perdure_graph.nodes import registry
from perdure_graph.state import RunState
from perdure_graph.values import matches

CITY = {"name": "city", "type": "string", "description": "where", "required": True}
COUNT = {"name": "count", "type": "number", "description": "how many", "required": False}
TAGS = {"name": "tags", "type": "array[string]", "description": "", "required": False}


def test_a_number_of_many_digits_is_a_number() -> None:
    (count,) = (Parameter.model_validate(one) for one in [COUNT])
    assert read([count], json.dumps({"count": "9" * 400}), ()).values == {"count": int("9" * 400)}


def extractor(*parameters: dict[str, Any], **data: Any) -> NodeSpec:
    """An extractor of the query of the start node."""
    return node(
        "read",
        "parameter-extractor",
        **{"query": ["start", "q"], "model": MODEL, "parameters": list(parameters), **data},
    )


def extract(scripted: ScriptedModel, *parameters: dict[str, Any], **data: Any) -> RunState:
    """Run start -> read -> end."""
    nodes = [start(q="paragraph"), extractor(*parameters, **data), end(ok=["read", "__is_success"])]
    return run(scripted, *nodes, edges=[("start", "read"), ("read", "end")], inputs={"q": "two rooms in Rome"})


def values(state: RunState) -> dict[str, Any]:
    """What the extractor put out, without usage."""
    return {name: value for name, value in finished(state, "read").outputs.items() if name != "__usage"}


GOOD = {"city": "Rome", "count": 2}


@pytest.mark.parametrize(
    "reply",
    [
        answer(tool_calls=(call(json.dumps(GOOD)),), finish="tool_calls"),
        answer(tool_calls=(call("Here: " + json.dumps(GOOD)),)),
        answer(json.dumps(GOOD), tool_calls=(call("no json"),)),
        answer(json.dumps(GOOD)),
        answer(f"<think>{{}}</think>Of course:\n```json\n{json.dumps(GOOD)}\n```"),
        answer("{'city': 'Rome', 'count': 2,}"),
    ],
)
def test_parameters_are_read_from_the_call_or_from_the_text(reply: ModelAnswer) -> None:
    assert values(extract(ScriptedModel(reply), CITY, COUNT)) == {**GOOD, "__is_success": 1, "__reason": None}


def test_the_model_must_call_a_function_with_the_parameters() -> None:
    model = ScriptedModel()
    choice = {"name": "kind", "type": "select", "options": ["a", "b"], "description": "d", "required": True}
    flags = {"name": "flags", "type": "array[boolean]"}
    state = extract(model, CITY, choice, flags, {"name": "ok", "type": "bool"}, instruction="mind {{#start.q#}}")
    asked = model.asked[0]
    [tool] = asked.tools
    assert (asked.tool_choice, tool.name) == ("required", "extract_parameters")
    assert tool.parameters == {
        "type": "object",
        "properties": {
            "city": {"description": "where", "type": "string"},
            "kind": {"description": "d", "type": "string", "enum": ["a", "b"]},
            "flags": {"description": "", "type": "array", "items": {"type": "boolean"}},
            "ok": {"description": "", "type": "boolean"},
        },
        "required": ["city", "kind"],
    }
    (_, task), (_, text) = model.texts()
    assert "mind two rooms in Rome" in task
    assert text.endswith("Text:\ntwo rooms in Rome")
    event = finished(state, "read")
    assert event.inputs["query"] == "two rooms in Rome"
    assert event.process_data["function"]["name"] == "extract_parameters"
    assert event.process_data["llm_text"] == "fine"


@pytest.mark.parametrize("how", [{"reasoning_mode": "prompt"}, {"model": MODEL | {"mode": "completion"}}])
def test_without_functions_the_schema_stands_in_the_prompt(how: dict[str, Any]) -> None:
    model = ScriptedModel()
    extract(model, CITY, **how)
    assert (model.asked[0].tools, model.asked[0].tool_choice) == ((), "auto")
    prompt = "\n".join(text for _, text in model.texts())
    assert '"properties": {"city": {"description": "where", "type": "string"}}' in prompt
    assert "JSON" in prompt and "two rooms in Rome" in prompt
    assert len(model.texts()) == (2 if "reasoning_mode" in how else 1)


@pytest.mark.parametrize(
    ("said", "parameters", "expected", "reason"),
    [
        ("nothing", [CITY, COUNT], {"city": "", "count": 0}, NOTHING_FOUND),
        ("{}", [CITY], {"city": ""}, NOTHING_FOUND),
        ("nothing", [TAGS], {"tags": []}, "Invalid number of parameters"),
        ('{"city": "Rome"}', [CITY, COUNT], {"city": "Rome", "count": 0}, "Invalid number of parameters"),
        ('{"count": 1, "x": 2}', [CITY, COUNT], {"city": "", "count": 1}, "Parameter city is required"),
        ('{"city": "Rome", "count": "2.5"}', [CITY, COUNT], {"city": "Rome", "count": 2.5}, "Invalid value for"),
        ('{"city": "Rome", "count": "many"}', [CITY, COUNT], {"city": "Rome", "count": 0}, "Invalid value for"),
        ('{"city": null, "count": 1}', [CITY, COUNT], {"city": "", "count": 1}, "Invalid value for"),
        ('{"city": 7, "count": true}', [CITY, COUNT], {"city": "", "count": 1}, "Invalid value for"),
        ('{"count": true}', [COUNT], {"count": 1}, None),
        ('{"tags": ["a", 1, "b"]}', [TAGS], {"tags": ["a", "b"]}, "Invalid value for"),
        ('{"tags": "a"}', [TAGS], {"tags": []}, "Invalid value for"),
        ('{"n": ["1", 2, true, "x"]}', [{"name": "n", "type": "array[number]"}], {"n": [1, 2, 1]}, "Invalid value for"),
        ('{"b": [true, 1]}', [{"name": "b", "type": "array[boolean]"}], {"b": [True]}, "Invalid value for"),
        ('{"b": 1}', [{"name": "b", "type": "boolean"}], {"b": True}, "Invalid value for"),
        ('{"b": "true"}', [{"name": "b", "type": "bool"}], {"b": False}, "Invalid value for"),
        ('{"o": [{"a": 1}]}', [{"name": "o", "type": "array[object]"}], {"o": [{"a": 1}]}, None),
        ('{"k": "c"}', [{"name": "k", "type": "select", "options": ["a"]}], {"k": "c"}, "Invalid `select` value"),
        ("nothing", [{"name": "k", "type": "select", "options": ["a"]}], {"k": ""}, "Invalid `select` value"),
    ],
)
def test_a_bad_extraction_succeeds_with_what_fits_and_says_why(
    said: str, parameters: list[dict[str, Any]], expected: dict[str, Any], reason: str | None
) -> None:
    state = extract(ScriptedModel(answer(said)), *parameters)
    assert state.status == "succeeded"
    found = values(state)
    told = found.pop("__reason")
    assert found == {**expected, "__is_success": 0 if reason else 1}
    assert [type(found[name]) for name in expected] == [type(value) for value in expected.values()]
    assert (told or "").startswith(reason or "")
    assert (told is None) is (reason is None)


def test_names_of_its_own_outputs_are_refused() -> None:
    with pytest.raises(ValidationError, match="reserved"):
        registry()["parameter-extractor"].data.model_validate(extractor({"name": "__reason", "type": "string"}).data)


KINDS = ["string", "number", "boolean", "bool", "select"] + [
    f"array[{kind}]" for kind in ("string", "number", "object", "boolean")
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=5) | st.just("1.5"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["a", "b", "c", "é"])
PARAMETERS = st.lists(
    st.builds(Parameter, name=NAMES, type=st.sampled_from(KINDS), required=st.booleans()),
    max_size=4,
    unique_by=lambda parameter: parameter.name,
)
SAID = st.text(max_size=40) | st.dictionaries(NAMES, JSON, max_size=4).map(json.dumps)


@given(PARAMETERS, SAID, st.none() | SAID, st.integers(0, 40))
def test_outputs_have_their_declared_types_whatever_the_model_says(
    parameters: list[Parameter], text: str, arguments: str | None, cut: int
) -> None:
    calls = () if arguments is None else (call(arguments[: len(arguments) - cut] if cut else arguments),)
    found = read(parameters, text, calls)
    assert list(found.values) == [parameter.name for parameter in parameters]
    for parameter in parameters:
        assert matches(parameter.value_type, found.values[parameter.name]), parameter
    json.dumps(found.values, allow_nan=False, ensure_ascii=False).encode()


def test_outputs_are_declared() -> None:
    doc = document([start(q="paragraph"), extractor(CITY, TAGS), end(x=["read", "tags"])], [])
    kind = registry()["parameter-extractor"]
    declared = kind.outputs(kind.data.model_validate(doc.nodes[1].data))
    assert {name: value.value for name, value in declared.items()} == {
        "city": "string",
        "tags": "array[string]",
        "__is_success": "number",
        "__reason": "string",
        "__usage": "object",
    }
