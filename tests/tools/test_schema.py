"""Foreign schemas made plain, and what a model is shown of a declaration."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from perdure_activities.tools.plain_schema import plain_schema
from perdure_activities.tools.protocol import ToolDeclaration, ToolParameter
from perdure_activities.tools.schema import declared, schema_of, spec_of

ARRAY: dict[str, Any] = {"type": "array", "items": {}}


def plain(schema: Any) -> Any:
    return plain_schema({"type": "dict", "properties": {"x": schema}})["properties"]["x"]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("float", {"type": "number"}),
        ("Integer", {"type": "integer"}),
        ("any", {}),
        ("tuple", ARRAY),
        ("HashMap", {"type": "object"}),
        ("ArrayList", ARRAY),
        ("java.util.List<String>", {"type": "array", "items": {"type": "string"}}),
        (
            "ArrayList<HashMap<String, Integer>>",
            {
                "type": "array",
                "items": {"type": "object", "additionalProperties": {"type": "integer"}},
            },
        ),
        ("List[int]", {"type": "array", "items": {"type": "integer"}}),
        ("array[string]", {"type": "array", "items": {"type": "string"}}),
        ("string[]", {"type": "array", "items": {"type": "string"}}),
        ("list of strings", ARRAY),
        ("Optional[str]", {"type": ["string", "null"]}),
        ("str | None", {"type": ["string", "null"]}),
        ("int, optional", {"type": "integer"}),
        ("Boolean", {"type": "boolean"}),
        ("long", {"type": "integer"}),
        ("char", {"type": "string"}),
        ("BigDecimal", {"type": "number"}),
        ("undefined", {"type": "null"}),
        (["string", "null"], {"type": ["string", "null"]}),
        ("Set<Set<", ARRAY),
    ],
)
def test_spellings_of_types(given: Any, wanted: dict[str, Any]) -> None:
    assert plain({"type": given}) == wanted


def test_a_type_that_nobody_knows_is_left_to_the_model() -> None:
    assert plain({"type": "Widget", "description": "The widget."}) == {"description": "The widget. (type: Widget)"}


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"type": "str", "optional": True}, {"type": "string"}),
        ({"type": "string", "nullable": True, "enum": ["a"]}, {"type": ["string", "null"], "enum": ["a", None]}),
        ({"type": "array", "items": [{"type": "int"}, {"type": "str"}]}, {
            "type": "array",
            "items": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        }),
        ({"type": "array", "enum": ["a", "b"], "items": {"type": "string"}}, {
            "type": "array",
            "items": {"type": "string", "enum": ["a", "b"]},
        }),
        ({"type": "integer", "enum": ["1", "2", "2"]}, {"type": "integer", "enum": [1, 2]}),
        ({"type": "str", "enum": ["s"], "default": "-"}, {"type": "string", "enum": ["s", "-"], "default": "-"}),
        ({"enum": ["a", "b"]}, {"type": "string", "enum": ["a", "b"]}),
        ({"type": "number", "minimum": 0, "exclusiveMinimum": True}, {"type": "number", "exclusiveMinimum": 0}),
        ({"type": "number", "maximum": "10", "minLength": -1}, {"type": "number", "maximum": 10}),
        ({"type": "string", "pattern": "("}, {"type": "string"}),
        ({"properties": {"a": "int"}}, {"type": "object", "properties": {"a": {"type": "integer"}}, "required": []}),
        ({"type": "dict", "properties": {"a": {"type": "int", "required": True}}}, {
            "type": "object",
            "properties": {"a": {"type": "integer"}},
            "required": ["a"],
        }),
        ({"$ref": "https://elsewhere/x.json"}, {}),
        (None, {}),
        (True, {}),
    ],
)  # fmt: skip
def test_keywords(given: Any, wanted: dict[str, Any]) -> None:
    assert plain(given) == wanted


def test_required_and_optional() -> None:
    schema = plain_schema(
        {
            "properties": {"a": {"optional": True}, "b": "string", "c": {"required": True}},
            "required": ["a", "b", "gone"],
        }
    )
    assert schema["required"] == ["b", "c"]


def test_definitions_travel_with_the_parameters_that_need_them() -> None:
    source = {
        "properties": {"tree": {"$ref": "#/definitions/Node"}, "n": {"type": "int"}},
        "definitions": {"Node": {"type": "dict", "properties": {"next": {"$ref": "#/definitions/Node"}}}},
    }
    made = ToolDeclaration(provider_type="custom", provider_id="p", name="t", parameters=declared(source))
    schema = spec_of(made, "t").parameters
    Draft202012Validator.check_schema(schema)
    assert not Draft202012Validator(schema).is_valid({"tree": {"next": {"next": 3}}})
    assert Draft202012Validator(schema).is_valid({"tree": {"next": {}}, "n": 1})


def test_alternatives_at_the_top_become_one_object() -> None:
    schema = plain_schema(
        {
            "allOf": [{"properties": {"a": {"type": "string"}}, "required": ["a"]}],
            "anyOf": [{"properties": {"b": {"type": "int"}}, "required": ["b"]}, {"properties": {"c": {}}}],
        }
    )
    assert schema.keys() >= {"type", "properties", "required"}
    assert {*schema["properties"]} == {"a", "b", "c"}
    assert schema["required"] == ["a"]
    assert not schema.keys() & {"allOf", "anyOf", "oneOf"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["type", "properties", "items", "enum", "required", "anyOf", "$ref", "$defs", "default", "minimum",
             "pattern", "description", "additionalProperties", "allOf", "not", "maxItems", "x"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=15,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["type", "properties", "required", "$defs", "anyOf", "allOf", "items"]), JSON))
def test_whatever_is_given_the_schema_is_valid(source: dict[str, Any]) -> None:
    schema = plain_schema(source)
    Draft202012Validator.check_schema(schema)
    assert schema["type"] == "object"
    spec = spec_of(ToolDeclaration(provider_type="custom", provider_id="p", name="t", parameters=declared(source)), "t")
    Draft202012Validator.check_schema(spec.parameters)


DECLARED = ToolDeclaration(
    provider_type="builtin",
    provider_id="p",
    name="t",
    label="A tool",
    parameters=(
        ToolParameter(name="city", required=True, description="Which."),
        ToolParameter(name="unit", type="select", options=("c", "f"), default="c"),
        ToolParameter(name="key", type="secret-input", form="form", required=True),
        ToolParameter(name="mode", form="form"),
        ToolParameter(name="picture", type="file"),
        ToolParameter(name="pictures", type="files"),
        ToolParameter(name="anything", type="any"),
        ToolParameter(name="token", type="secret-input"),
        ToolParameter(name="items", type="array"),
    ),
)


def test_a_model_is_shown_its_own_parameters_only() -> None:
    spec = spec_of(DECLARED, "t_1")
    assert (spec.name, spec.description) == ("t_1", "A tool")
    assert spec.parameters == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "Which."},
            "unit": {"type": "string", "enum": ["c", "f"], "default": "c"},
            "anything": {},
            "token": {"type": "string"},
            "items": {"type": "array", "items": {}},
        },
        "required": ["city"],
        "additionalProperties": False,
    }


def test_what_is_set_already_is_not_shown() -> None:
    schema = schema_of(DECLARED, fixed=("city", "mode"))
    assert "city" not in schema["properties"]
    assert schema["required"] == []
