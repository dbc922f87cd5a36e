"""What a model is shown of an operation: parameters and bodies in one flat schema of JSON Schema 2020-12."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from fakes.openapi_api import operation, source, spec, tools_of
from perdure_activities.tools.protocol import ToolDeclaration
from perdure_activities.tools.schema import schema_of

DEFINED = {
    "node": {
        "type": "object",
        "description": "A node.",
        "properties": {"name": {"type": "string"}, "next": {"$ref": "#/components/schemas/node"}},
    },
    "old": {"type": "string", "description": "Old."},
    "secret": {"type": "string", "readOnly": True},
}


async def _declared(folder: Path, made: Any, version: str = "3.0.3", **more: Any) -> ToolDeclaration:
    document = spec({"/p/{id}": {"post": made}}, version=version, components={"schemas": DEFINED}, **more)
    (tool,) = (await tools_of(folder, document)).values()
    return tool.declaration


async def _body(folder: Path, schema: Any, version: str = "3.0.3") -> dict[str, Any]:
    """Convert the schema of one field of a body."""
    declaration = await _declared(folder, operation(body={"type": "object", "properties": {"f": schema}}), version)
    made = schema_of(declaration)
    Draft202012Validator.check_schema(made)
    return made["properties"]["f"]


@pytest.mark.parametrize(
    ("written", "made"),
    [
        ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
        (
            {"type": "string", "nullable": True, "enum": ["a"]},
            {"type": ["string", "null"], "enum": ["a", None]},
        ),
        ({"nullable": True}, {}),
        ({"type": "integer", "x-nullable": True}, {"type": ["integer", "null"]}),
        (
            {"allOf": [{"$ref": "#/components/schemas/old"}], "nullable": True, "description": "New."},
            {"type": ["string", "null"], "description": "New."},
        ),
        (
            {"$ref": "#/components/schemas/old", "nullable": True, "minLength": 3},
            {"type": ["string", "null"], "description": "Old."},
        ),
        (
            {"nullable": True, "oneOf": [{"type": "string"}, {"type": "array", "items": {}}]},
            {"anyOf": [{"oneOf": [{"type": "string"}, {"type": "array", "items": {}}]}, {"type": "null"}]},
        ),
        ({"type": "number", "minimum": 1, "exclusiveMinimum": True}, {"type": "number", "exclusiveMinimum": 1}),
        ({"type": "number", "maximum": 9, "exclusiveMaximum": False}, {"type": "number", "maximum": 9}),
        ({"type": "integer", "minimum": "1", "default": 0}, {"type": "integer", "minimum": 1, "default": 0}),
        ({"type": "string", "example": "x", "xml": {}, "x-more": 1}, {"type": "string", "examples": ["x"]}),
        ({"type": "string", "pattern": r"^\p{L}+$"}, {"type": "string"}),
        (
            {"type": "string", "pattern": "^a+$", "format": "uuid"},
            {"type": "string", "format": "uuid", "pattern": "^a+$"},
        ),
        ({"type": "number", "multipleOf": 0}, {"type": "number"}),
        ({"type": "any"}, {}),
        (True, {}),
        ({"type": "array", "items": [{"type": "string"}]}, {"type": "array", "prefixItems": [{"type": "string"}]}),
        (
            {"type": "object", "properties": {"a": {"type": "string", "required": True}}},
            {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
        ),
        (
            {
                "type": "object",
                "required": ["a", "s"],
                "properties": {"a": {}, "s": {"$ref": "#/components/schemas/secret"}},
            },
            {"type": "object", "properties": {"a": {}}, "required": ["a"]},
        ),
        (
            {"allOf": [{"properties": {"i": {"readOnly": True}, "a": {}}}, {"required": ["i", "a"]}]},
            {"type": "object", "properties": {"a": {}}, "required": ["a"]},
        ),
        (
            {"allOf": [{"type": "integer", "minimum": 1}, {"type": "number", "minimum": 3, "maximum": 9}]},
            {"type": "integer", "minimum": 3, "maximum": 9},
        ),
        ({"allOf": [{"pattern": "a"}, {"pattern": "b"}]}, {"allOf": [{"pattern": "a"}, {"pattern": "b"}]}),
        (
            {"oneOf": [{"type": "string"}, {"type": "integer"}]},
            {"oneOf": [{"type": "string"}, {"type": "integer"}]},
        ),
        (
            {"oneOf": [{"type": "object"}, {"type": "object"}], "discriminator": {"propertyName": "kind"}},
            {"anyOf": [{"type": "object"}, {"type": "object"}]},
        ),
        ({"not": {"type": "string"}}, {"not": {"type": "string"}}),
        ({"not": {"$ref": "#/components/schemas/node"}}, {}),
    ],
)
async def test_schemas_of_3_0(tmp_path: Path, written: Any, made: Any) -> None:
    assert await _body(tmp_path, written) == made


@pytest.mark.parametrize(
    ("written", "made"),
    [
        ({"type": ["string", "null"], "const": None}, {"type": ["string", "null"], "const": None}),
        ({"type": "number", "exclusiveMinimum": 0}, {"type": "number", "exclusiveMinimum": 0}),
        (
            {"$ref": "#/components/schemas/old", "description": "New.", "minLength": 3},
            {"type": "string", "description": "New.", "minLength": 3},
        ),
        (
            {"type": "array", "prefixItems": [{"const": 1}], "items": False},
            {"type": "array", "prefixItems": [{"const": 1}], "items": {"not": {}}},
        ),
        ({"if": {"const": 1}, "then": {"const": 1}, "$comment": "c"}, {"if": {"const": 1}, "then": {"const": 1}}),
        ({"examples": [1, 2], "deprecated": True}, {"examples": [1, 2], "deprecated": True}),
        (
            {"type": "object", "dependentRequired": {"a": ["b"]}, "patternProperties": {"^x": {"type": "string"}}},
            {"type": "object", "dependentRequired": {"a": ["b"]}, "patternProperties": {"^x": {"type": "string"}}},
        ),
    ],
)
async def test_schemas_of_3_1(tmp_path: Path, written: Any, made: Any) -> None:
    assert await _body(tmp_path, written, "3.1.0") == made


async def test_what_goes_round_in_a_circle_is_described(tmp_path: Path) -> None:
    made = await _body(tmp_path, {"$ref": "#/components/schemas/node"})
    end = made["properties"]["next"]
    assert end == {"type": "object", "description": "A node. (`node` goes round in a circle from here.)"}


async def test_a_circle_among_choices_ends(tmp_path: Path) -> None:
    value = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"$ref": "#/components/schemas/value"}}]}
    document = spec({"/p": {"post": operation(body=value)}}, components={"schemas": {"value": value}})
    (tool,) = (await tools_of(tmp_path, document)).values()
    Draft202012Validator(schema_of(tool.declaration)).validate({"body": [["a"]]})


async def test_choices_that_were_shortened_do_not_exclude_each_other(tmp_path: Path) -> None:
    deep: Any = {"type": "object", "properties": {"x": {"type": "integer"}}}
    for _ in range(30):
        deep = {"type": "object", "properties": {"inner": deep}}
    other = {"type": "object", "properties": {"inner": {"type": "object", "properties": {"y": {"type": "string"}}}}}
    made = await _body(tmp_path, {"oneOf": [deep, other]})
    assert "oneOf" not in made
    Draft202012Validator(made).validate({"inner": {}})


async def test_a_wide_schema_is_shortened_with_a_note(tmp_path: Path) -> None:
    def level(depth: int) -> Any:
        inner = {} if depth == 0 else {"inner": level(depth - 1)}
        fields = {f"f{number}": {"type": "string", "description": "w " * 200} for number in range(12)}
        return {"type": "object", "properties": {**fields, **inner}}

    made = await _body(tmp_path, level(8))
    text = json.dumps(made)
    assert len(text) < 20_000
    assert "(`inner` is not shown in full.)" in text
    assert made["properties"]["f0"]["type"] == "string"


@pytest.mark.parametrize("word", ["anyOf", "allOf", "items", "properties"])
async def test_schemas_that_grow_beyond_measure_end(tmp_path: Path, word: str) -> None:
    def refs(numbers: Any) -> Any:
        several = [{"$ref": f"#/components/schemas/s{number}"} for number in numbers]
        if word == "properties":
            return {word: {f"p{index}": one for index, one in enumerate(several)}}
        return {"items": {"anyOf": several}} if word == "items" else {word: several}

    webs = {f"s{number}": refs(other for other in range(14) if other != number) for number in range(14)}
    chain = {f"s{number}": refs([number + 1]) for number in range(3000)} | {"s3000": {"type": "string"}}
    for schemas in (webs, chain):
        document = spec({"/p": {"post": operation(body=refs([0]))}}, components={"schemas": schemas})
        whole = source(tmp_path, document)
        (tool,) = await whole.tools()
        made = schema_of(tool.declaration)
        Draft202012Validator.check_schema(made)
        assert len(json.dumps(made)) < 40_000


async def test_many_values_are_told_in_words(tmp_path: Path) -> None:
    made = await _body(tmp_path, {"type": "string", "enum": [f"value-{number}" for number in range(900)]})
    assert "enum" not in made
    assert made["description"].startswith("One of 900 values: value-0, value-1")


async def test_parameters_and_body_are_one(tmp_path: Path) -> None:
    declaration = await _declared(
        tmp_path,
        operation(
            {"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}, "description": "Which."},
            {"name": "X-Trace-Id", "in": "header", "schema": {"type": "string"}},
            {
                "name": "filter[state]",
                "in": "query",
                "required": True,
                "schema": {"type": "string", "enum": ["a", "b"]},
            },
            {"name": "Authorization", "in": "header", "schema": {"type": "string"}},
            {"name": "Idempotency-Key", "in": "header", "required": True, "schema": {"type": "string"}},
            body={
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string", "description": "A name."}, "tags": {"type": "array"}},
            },
            summary="Change it.",
            description="Changes it for good.",
            deprecated=True,
        ),
    )
    found = {one.name: (one.type, one.required, one.description) for one in declaration.parameters}
    assert found == {
        "id": ("integer", True, "Which."),
        "X-Trace-Id": ("string", False, ""),
        "filter_state": ("select", True, "(`filter[state]` in the query.)"),
        "name": ("string", True, "A name."),
        "tags": ("array", False, ""),
    }
    assert declaration.description == "Deprecated. Change it.\nChanges it for good."
    assert schema_of(declaration)["required"] == ["id", "filter_state", "name"]
    assert not declaration.open


async def test_names_that_clash_put_the_body_under_one(tmp_path: Path) -> None:
    body = {"type": "object", "properties": {"id": {"type": "string"}, "body": {}}}
    query = {"name": "body", "in": "query", "schema": {"type": "string"}}
    declaration = await _declared(tmp_path, operation(query, body=body))
    assert [(one.name, one.type) for one in declaration.parameters] == [
        ("body", "string"),
        ("id", "string"),
        ("request_body", "object"),
    ]
    same = [{"name": "id", "in": place, "schema": {"type": "string"}} for place in ("query", "header", "cookie")]
    declaration = await _declared(tmp_path, operation(*same))
    assert [one.name for one in declaration.parameters] == ["query_id", "header_id", "cookie_id", "id"]


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "array", "items": {"type": "string"}}, "array"),
        ({"type": "object", "additionalProperties": {"type": "string"}}, "object"),
        ({"anyOf": [{"type": "object", "properties": {"a": {}}}, {"type": "string"}]}, "any"),
        ({}, "any"),
    ],
)
async def test_bodies_without_fields_are_one_parameter(tmp_path: Path, schema: Any, kind: str) -> None:
    declaration = await _declared(tmp_path, operation(body=schema))
    assert [(one.name, one.type, one.required) for one in declaration.parameters] == [
        ("id", "string", True),
        ("body", kind, True),
    ]


async def test_a_body_that_may_be_left_out(tmp_path: Path) -> None:
    made = operation(body={"type": "object", "required": ["a"], "properties": {"a": {}, "b": {}}})
    made["requestBody"]["required"] = False
    a, b = (await _declared(tmp_path, made)).parameters[1:]
    assert (a.required, b.required) == (False, False)
    assert a.description == "(Needed where other fields of the body are given.)"


async def test_an_open_body_makes_an_open_tool(tmp_path: Path) -> None:
    body = {"type": "object", "properties": {"a": {}}, "additionalProperties": True}
    declaration = await _declared(tmp_path, operation(body=body))
    assert declaration.open
    assert schema_of(declaration)["additionalProperties"] is True


async def test_keys_are_no_parameters(tmp_path: Path) -> None:
    made = operation(
        {"name": "api_key", "in": "query", "schema": {"type": "string"}},
        {"name": "x-key", "in": "header", "schema": {"type": "string"}},
        {"name": "q", "in": "query", "schema": {"type": "string"}},
        security=[{"one": []}, {"two": []}],
    )
    schemes = {
        "one": {"type": "apiKey", "in": "query", "name": "api_key"},
        "two": {"type": "apiKey", "in": "header", "name": "X-Key"},
    }
    document = spec({"/p": {"get": made}}, components={"securitySchemes": schemes})
    (tool,) = (await tools_of(tmp_path, document)).values()
    assert [one.name for one in tool.declaration.parameters] == ["q"]
