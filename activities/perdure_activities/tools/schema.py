"""From the declaration of a tool to what a model is shown, and from foreign JSON Schemas to declarations."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, cast

from perdure_graph.models.messages import ToolSpec

from .plain_schema import Schema, plain_schema, uses_references
from .protocol import ParameterType, ToolDeclaration, ToolParameter

_KINDS: dict[ParameterType, Schema] = {
    "string": {"type": "string"},
    "secret-input": {"type": "string"},
    "select": {"type": "string"},
    "number": {"type": "number"},
    "integer": {"type": "integer"},
    "boolean": {"type": "boolean"},
    "array": {"type": "array", "items": {}},
    "object": {"type": "object"},
    "any": {},
    "file": {"type": "object"},
    "files": {"type": "array", "items": {"type": "object"}},
}
_PLAIN: frozenset[str] = frozenset({"string", "number", "integer", "boolean", "array", "object"})


def spec_of(declaration: ToolDeclaration, name: str, fixed: Collection[str] = ()) -> ToolSpec:
    """Say what a model is shown of a tool. name: as it calls it. fixed: parameters that are set already."""
    return ToolSpec(
        name=name,
        description=declaration.description or declaration.label,
        parameters=schema_of(declaration, fixed),
    )


def schema_of(declaration: ToolDeclaration, fixed: Collection[str] = ()) -> Schema:
    """Give the JSON Schema of what a model may say: parameters of form `llm` that nobody has set, no files."""
    properties: Schema = {}
    definitions: Schema = {}
    required: list[str] = []
    for parameter in asked(declaration, fixed):
        schema = value_schema(parameter)
        definitions.update(schema.pop("$defs", {}))
        properties[parameter.name] = schema
        if parameter.required and parameter.name not in required:
            required.append(parameter.name)
    made: Schema = {"type": "object", "properties": properties, "required": required}
    made["additionalProperties"] = declaration.open
    if definitions:
        made["$defs"] = definitions
    return made


def asked(declaration: ToolDeclaration, fixed: Collection[str] = ()) -> list[ToolParameter]:
    """List the parameters that a model is asked for."""
    return [
        parameter
        for parameter in declaration.parameters
        if parameter.form == "llm" and parameter.type not in ("file", "files") and parameter.name not in fixed
    ]


def value_schema(parameter: ToolParameter) -> Schema:
    """Give the JSON Schema of a value of one parameter."""
    schema = dict(parameter.schema_) if parameter.schema_ is not None else dict(_KINDS[parameter.type])
    if parameter.options and "enum" not in schema:
        schema["enum"] = list(parameter.options)
    if parameter.description:
        schema["description"] = parameter.description
    if parameter.default is not None:
        schema.setdefault("default", parameter.default)
    return schema


def declared(schema: Mapping[str, Any] | None) -> tuple[ToolParameter, ...]:
    """Make parameters of a JSON Schema of all arguments, in any spelling that `plain_schema` reads."""
    plain = plain_schema(schema)
    definitions = cast("Schema", plain.get("$defs", {}))
    required = cast("list[str]", plain.get("required", []))
    properties = cast("dict[str, Schema]", plain.get("properties", {}))
    return tuple(_parameter(name, inner, name in required, definitions) for name, inner in properties.items())


def _parameter(name: str, schema: Schema, required: bool, definitions: Schema) -> ToolParameter:
    options = cast("list[Any]", schema.get("enum", []))
    select = schema.get("type") == "string" and options and all(isinstance(option, str) for option in options)
    inner = {key: value for key, value in schema.items() if key not in ("title", "description", "default")}
    if definitions and uses_references(inner):
        inner["$defs"] = definitions
    return ToolParameter(
        name=name,
        type="select" if select else _type_of(schema),
        required=required,
        description=str(schema.get("description", "")),
        options=tuple(options) if select else (),
        default=schema.get("default"),
        schema=inner,
    )


def _type_of(schema: Schema) -> ParameterType:
    kind = schema.get("type")
    if isinstance(kind, list):
        others = [each for each in cast("list[str]", kind) if each != "null"]
        kind = others[0] if len(others) == 1 else None
    return cast("ParameterType", kind) if kind in _PLAIN else "any"
