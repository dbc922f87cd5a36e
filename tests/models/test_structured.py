"""Structured output: the object that an answer holds is valid by the schema of the graph, or it is a fault."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, validate

from perdure_activities.models.protocol import ModelFault
from perdure_activities.models.schema_fit import without_nulls
from perdure_activities.models.schemas import closed_schema, is_closed, plain_schema, strict_schema
from perdure_activities.models.structured import how, instruct, read
from perdure_graph.models.messages import SystemMessage, user

PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer", "minimum": 0},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["name"],
    "additionalProperties": False,
}
ANN = {"name": "Ann", "age": 3}


def refused(text: str, schema: dict[str, Any] = PERSON, *, cut: bool = False) -> ModelFault:
    with pytest.raises(ModelFault) as caught:
        read(text, schema, cut=cut)
    return caught.value


@pytest.mark.parametrize(
    ("features", "way"),
    [
        ({"structured-output", "tool-call", "tool-choice"}, "native"),
        ({"tool-call", "tool-choice"}, "tool"),
        ({"multi-tool-call", "tool-choice"}, "tool"),
        ({"tool-call"}, "text"),
        ({"tool-choice"}, "text"),
        (set(), "text"),
    ],
)
def test_how_a_model_is_asked(features: set[str], way: str) -> None:
    assert how(features, "openai-chat") == way
    assert how(features, "anthropic-messages", PERSON) == way


def test_an_open_object_is_not_asked_of_anthropic_natively() -> None:
    features = {"structured-output", "tool-call", "tool-choice"}
    assert how(features, "anthropic-messages", {"type": "object"}) == "tool"
    assert how(features, "openai-chat", {"type": "object"}) == "native"


def test_the_instruction_stands_before_the_system_message() -> None:
    first, last = instruct((SystemMessage(text="Be kind."), user("Who?")), PERSON)
    assert isinstance(first, SystemMessage)
    assert first.text.endswith("\n\nBe kind.")
    assert '"additionalProperties": false' in first.text
    assert last == user("Who?")
    assert isinstance(instruct((user("Who?"),), PERSON)[0], SystemMessage)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ANN),
        f"\ufeff {json.dumps(ANN)}\n".lstrip("\ufeff"),
        f"```json\n{json.dumps(ANN)}\n```",
        f"Here it is:\n\n```\n{json.dumps(ANN, indent=2)}\n```\nAnything else?",
        f'<think>\nIs it {{"name": 1}}?\n</think>\n{json.dumps(ANN)}',
        '{"name": "Ann", "age": 3',
        "{'name': 'Ann', 'age': 3,}",
        'The answer is {"name": "Ann", "age": 3}.',
        '{"nom": "x"}\n{"name": "Ann", "age": 3}',
        '{"name": "Ann", "age": 3, "tags": null}',
    ],
)
def test_the_object_is_found(text: str) -> None:
    assert read(text, PERSON) == ANN


def test_a_fence_inside_a_string_ends_nothing() -> None:
    assert read('```json\n{"name": "a ```py``` b"}\n```', PERSON) == {"name": "a ```py``` b"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"name": 3}', "$.name: 3 is not of type 'string'"),
        ('{"name": "a", "tags": ["x", 1]}', "$.tags[1]: 1 is not of type 'string'"),
        ('{"name": "a", "age": -1}', "$.age: -1 is less than the minimum of 0"),
        ('{"name": null}', "$.name: None is not of type 'string'"),
        ("{}", "$: 'name' is a required property"),
        ('{"name": "a", "x": 1}', "$: Additional properties are not allowed"),
        ("I cannot.", "it holds no JSON object"),
        ("", "(it is empty)"),
        ("[1]", "it holds no JSON object"),
        ('{"name": "a", "age": NaN}', "$.age: 'NaN' is not of type 'integer'"),
        ('{"name": "\\ud800"}', "it holds no JSON object"),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(text: str, why: str) -> None:
    fault = refused(text)
    assert fault.kind == "protocol_error"
    assert why in fault.message


def test_an_answer_that_was_cut_off_is_not_completed() -> None:
    text = '{"name": "Ann", "tags": ["a", "b'
    assert read(text, PERSON)["tags"] == ["a", "b"]
    assert "cut off" in refused(text, cut=True).message


@pytest.mark.parametrize("text", ["[" * 100_000, "{" * 50_000, '{"a":' * 5_000, "```\n" * 50_000, "<think>" * 50_000])
def test_brackets_do_not_block_the_worker(text: str) -> None:
    began = time.monotonic()
    assert refused(text).kind == "protocol_error"
    assert time.monotonic() - began < 5.0


def test_deep_and_huge_answers_are_refused() -> None:
    deep = '{"name": "a", "x": ' + "[" * 100 + "]" * 100 + "}"
    assert refused(deep, {"type": "object"}).kind == "protocol_error"
    assert "longer than" in refused('{"name": "' + "x" * 2_000_000 + '"}').message


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "thing"},
        {"type": "object", "properties": {"name": {"pattern": "("}}},
        {"$ref": "#/$defs/none"},
        {"$ref": "http://192.0.2.1/schema.json"},
        {"$ref": "#"},
    ],
)
def test_a_schema_that_is_none_is_the_authors_to_mend(schema: dict[str, Any]) -> None:
    fault = refused('{"name": "Ann"}', schema)
    assert (fault.kind, fault.retryable) == ("bad_request", False)


def test_the_dialect_of_difys_editor() -> None:
    schema = {
        "type": "Object",
        "properties": {
            "names": {"type": "array[string]", "required": True},
            "anything": {"type": "any"},
            "type": {"type": "enum", "enum": ["a"]},
            "rows": {"type": "array[object]", "items": {"type": "object", "properties": {"n": {"type": "float"}}}},
        },
    }
    plain = plain_schema(schema)
    Draft202012Validator.check_schema(plain)
    assert plain["required"] == ["names"]
    assert plain["properties"]["names"] == {"type": "array", "items": {"type": "string"}}
    assert plain["properties"]["anything"] == {}
    assert plain["properties"]["type"] == {"enum": ["a"]}
    assert read('{"names": ["x"], "rows": [{"n": 1.5}]}', schema) == {"names": ["x"], "rows": [{"n": 1.5}]}
    assert refused('{"names": [1]}', schema).message.count("$.names[0]")
    assert schema["type"] == "Object", "the graph's own stays as it is"


def test_the_strict_form_requires_all_and_allows_null() -> None:
    strict = strict_schema(PERSON)
    assert strict["required"] == ["name", "age", "tags"]
    assert strict["additionalProperties"] is False
    assert strict["properties"]["name"] == {"type": "string"}
    assert strict["properties"]["age"] == {"type": ["integer", "null"], "description": "minimum: 0"}
    assert closed_schema(PERSON)["required"] == ["name"]


def test_the_strict_form_goes_all_the_way_down() -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {"oneOf": [{"type": "object", "properties": {"b": {"type": "string"}}}, {"type": "string"}]},
            "c": {"$ref": "#/$defs/d"},
            "e": {"enum": ["x", "y"]},
            "f": {"allOf": [{"type": "object", "properties": {"g": {"type": "string"}}, "required": ["g"]}]},
        },
        "$defs": {"d": {"type": "object", "properties": {"h": {"type": "number"}}}},
    }
    strict = strict_schema(schema)
    inner = strict["properties"]["a"]["anyOf"][0]["anyOf"][0]
    assert (inner["required"], inner["additionalProperties"]) == (["b"], False)
    assert strict["$defs"]["d"]["required"] == ["h"]
    assert strict["properties"]["c"] == {"anyOf": [{"$ref": "#/$defs/d"}, {"type": "null"}]}
    assert strict["properties"]["e"] == {"anyOf": [{"enum": ["x", "y"]}, {"type": "null"}]}
    assert strict["properties"]["f"]["required"] == ["g"]
    answer = {"a": {"b": None}, "c": {"h": None}, "e": None, "f": {"g": "x"}}
    validate(answer, strict)
    assert read(json.dumps(answer), schema) == {"a": {}, "c": {}, "f": {"g": "x"}}


def test_null_stays_where_the_schema_means_it() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": ["string", "null"]}, "b": {"type": "string"}, "c": {}},
        "required": [],
    }
    assert without_nulls({"a": None, "b": None, "c": None, "d": None}, schema) == {"a": None, "c": None, "d": None}


@pytest.mark.parametrize(
    ("schema", "closed"),
    [
        (PERSON, True),
        ({"type": "object"}, False),
        ({"type": "object", "properties": {"a": {}}}, False),
        ({"type": "object", "properties": {"a": {"type": "object"}}}, False),
        ({"type": "object", "properties": {"a": {"type": "array"}}}, False),
        ({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": True}, False),
        (
            {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "string"}},
            False,
        ),
        ({"type": "object", "properties": {"a": {"enum": [1]}, "b": {"anyOf": [{"type": "null"}]}}}, True),
    ],
)
def test_which_schemas_strict_modes_can_express(schema: dict[str, Any], closed: bool) -> None:
    assert is_closed(schema) is closed


LEAVES = st.sampled_from([{"type": "string"}, {"type": "integer"}, {"type": ["boolean", "null"]}, {"enum": ["x", 1]}])


def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    properties = st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=3)
    return st.builds(
        lambda found, needed: {
            "type": "object",
            "properties": found,
            "required": [name for name in found if name in needed],
            "additionalProperties": False,
        },
        properties,
        st.sets(st.sampled_from("abc")),
    )


SCHEMAS = objects(st.recursive(LEAVES, lambda s: st.one_of(objects(s), s.map(lambda i: {"type": "array", "items": i}))))


def filled(schema: dict[str, Any], draw: Any) -> Any:
    """Answer as a strict mode would: every property there, null for some of the optional ones."""
    if "anyOf" in schema:
        return filled(draw(st.sampled_from(schema["anyOf"])), draw)
    if "enum" in schema:
        return draw(st.sampled_from(schema["enum"]))
    kinds = schema["type"]
    match draw(st.sampled_from(kinds)) if isinstance(kinds, list) else kinds:
        case "object":
            return {name: filled(inner, draw) for name, inner in schema["properties"].items()}
        case "array":
            return [filled(schema["items"], draw) for _ in range(draw(st.integers(0, 2)))]
        case "string":
            return "s"
        case "integer":
            return 7
        case "boolean":
            return True
        case _:
            return None


@settings(deadline=None)
@given(SCHEMAS, st.data())
def test_any_answer_in_the_strict_form_fits_the_graphs_own_schema(schema: dict[str, Any], data: Any) -> None:
    strict = strict_schema(schema)
    answer = filled(strict, data.draw)
    validate(answer, strict)
    validate(read(json.dumps(answer), schema), schema)
