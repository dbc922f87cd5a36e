"""Forms of the JSON Schemas of structured output: the dialect of Dify's editor made plain, and what strict modes take.

What a provider is sent may differ from what the graph states; what comes back is held against the graph's own
(`schema_fit`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, cast

Schema = dict[str, Any]

# Keywords whose value is a schema, a list of schemas, or a map of schemas.
_ONE = ("additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then")
_LIST = ("allOf", "anyOf", "items", "oneOf", "prefixItems")
_MAP = ("$defs", "definitions", "dependentSchemas", "patternProperties", "properties")

# Names of types that Dify has and JSON Schema has not; None is any type.
_TYPES: dict[str, str | None] = {
    "any": None,
    "bool": "boolean",
    "checkbox": "boolean",
    "dict": "object",
    "enum": None,
    "file": "object",
    "float": "number",
    "int": "integer",
    "list": "array",
    "none": "null",
    "paragraph": "string",
    "secret": "string",
    "select": "string",
    "str": "string",
    "text-input": "string",
}
_ARRAY = re.compile(r"array\[(.+)\]", re.IGNORECASE)

# What strict modes take; the rest goes into the description, where the model may still heed it.
_STRICT = frozenset(
    {
        "$defs",
        "$ref",
        "additionalProperties",
        "anyOf",
        "const",
        "definitions",
        "description",
        "enum",
        "items",
        "properties",
        "required",
        "title",
        "type",
    }
)
_SILENT = frozenset({"$schema", "$id", "$comment", "default", "examples"})


def plain_schema(schema: Mapping[str, Any]) -> Schema:
    """Put a schema as Dify's editor writes it into JSON Schema: types like `array[string]`, `required: true`."""
    return _plain(dict(schema))


def strict_schema(schema: Mapping[str, Any]) -> Schema:
    """Give the form for strict modes: all properties required, no others; optional ones may be null instead.

    `without_nulls` undoes that in an answer.
    """
    return _strict(plain_schema(schema), optional_as_null=True)


def closed_schema(schema: Mapping[str, Any]) -> Schema:
    """Give the form for modes that only want objects closed: optional properties stay optional."""
    return _strict(plain_schema(schema), optional_as_null=False)


def is_closed(schema: Mapping[str, Any]) -> bool:
    """Whether every object of a schema states its properties, so that strict modes can express it."""
    return _is_closed(plain_schema(schema))


def _walk(schema: Schema, change: Callable[[Any], Any]) -> Schema:
    """Change all schemas right below a schema."""
    changed = dict(schema)
    for name, value in schema.items():
        if name in _MAP and isinstance(value, dict):
            inner = cast("dict[str, Any]", value)
            changed[name] = {key: change(item) for key, item in inner.items()}
        elif name in _LIST and isinstance(value, list):
            changed[name] = [change(item) for item in cast("list[Any]", value)]
        elif name in _ONE and isinstance(value, dict):
            changed[name] = change(value)
    return changed


def _plain(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    schema = _typed(cast("Schema", schema))
    required = schema.get("required")
    if isinstance(required, bool):
        del schema["required"]
        required = None
    properties = schema.get("properties")
    if isinstance(properties, dict):
        properties = cast("dict[str, Any]", properties)
        named = cast("list[Any]", required) if isinstance(required, list) else []
        marked = [
            name
            for name, inner in properties.items()
            if isinstance(inner, dict) and cast("Schema", inner).get("required") is True and name not in named
        ]
        if marked:
            schema["required"] = [*named, *marked]
        schema.setdefault("type", "object")
    return _walk(schema, _plain)


def _typed(schema: Schema) -> Schema:
    schema = dict(schema)
    name = schema.get("type")
    if not isinstance(name, str):
        return schema
    if found := _ARRAY.fullmatch(name.strip()):
        schema["type"] = "array"
        inner = found[1].strip()
        if inner.lower() != "any":
            schema.setdefault("items", {"type": inner})
    elif (lower := name.strip().lower()) in _TYPES:
        if (known := _TYPES[lower]) is None:
            del schema["type"]
        else:
            schema["type"] = known
    else:
        schema["type"] = lower
    return schema


def _strict(schema: Any, *, optional_as_null: bool) -> Any:
    if not isinstance(schema, dict):
        # `true` allows anything.
        return {} if schema is True else schema
    schema = _walk(cast("Schema", schema), lambda inner: _strict(inner, optional_as_null=optional_as_null))
    if "oneOf" in schema and "anyOf" not in schema:
        schema["anyOf"] = schema.pop("oneOf")
    for part in cast("list[Any]", schema.pop("allOf", [])):
        schema = _merged(schema, part)
    if schema.get("type") == "object" or "properties" in schema:
        properties = cast("dict[str, Any]", schema.get("properties") or {})
        required = [name for name in properties if name in (schema.get("required") or [])]
        if optional_as_null:
            properties = {name: inner if name in required else _nullable(inner) for name, inner in properties.items()}
            required = list(properties)
        schema.update(type="object", properties=properties, required=required, additionalProperties=False)
    return _described(schema)


def _merged(schema: Schema, part: Any) -> Schema:
    if not isinstance(part, dict):
        return schema
    part = cast("Schema", part)
    joined = {**part, **schema}
    for name in ("properties", "$defs", "definitions"):
        if name in part and name in schema:
            joined[name] = {**part[name], **schema[name]}
    if "required" in part and "required" in schema:
        joined["required"] = list(dict.fromkeys([*schema["required"], *part["required"]]))
    return joined


def _nullable(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    schema = cast("Schema", schema)
    kinds = schema.get("type")
    if kinds == "null" or (isinstance(kinds, list) and "null" in kinds):
        return schema
    if isinstance(kinds, str) and not {"enum", "const", "anyOf"} & schema.keys():
        return {**schema, "type": [kinds, "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def _described(schema: Schema) -> Schema:
    kept = {name: value for name, value in schema.items() if name in _STRICT}
    rest = {name: value for name, value in schema.items() if name not in _STRICT and name not in _SILENT}
    # Beside a reference nothing else may stand.
    if "$ref" in kept:
        return {name: value for name, value in kept.items() if name in {"$ref", "$defs", "definitions"}}
    if rest:
        said = "; ".join(f"{name}: {value}" for name, value in rest.items())
        kept["description"] = f"{kept['description']} ({said})" if kept.get("description") else said
    return kept


def _is_closed(schema: Any) -> bool:
    if not isinstance(schema, dict):
        return schema is not True
    schema = cast("Schema", schema)
    if not schema or "patternProperties" in schema:
        return False
    further = schema.get("additionalProperties", False)
    if further is not False:
        return False
    if schema.get("type") == "object" and not schema.get("properties"):
        return False
    if not {"type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref"} & schema.keys():
        return False
    if schema.get("type") == "array" and "items" not in schema:
        return False
    open_below: list[Any] = []
    _walk(schema, lambda inner: open_below.append(inner) if not _is_closed(inner) else inner)
    return not open_below
