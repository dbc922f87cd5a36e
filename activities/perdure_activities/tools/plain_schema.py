"""JSON Schemas in foreign spellings made plain: valid by JSON Schema 2020-12, in a form that providers take."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

from .plain_values import allow_null, has_type, say_limits, say_options
from .spellings import read_type

Schema = dict[str, Any]

_KEPT = frozenset(
    [
        "$anchor",
        "$ref",
        "title",
        "description",
        "type",
        "enum",
        "const",
        "default",
        "examples",
        "properties",
        "required",
        "additionalProperties",
        "patternProperties",
        "propertyNames",
        "minProperties",
        "maxProperties",
        "items",
        "prefixItems",
        "contains",
        "minContains",
        "maxContains",
        "minItems",
        "maxItems",
        "uniqueItems",
        "minLength",
        "maxLength",
        "pattern",
        "format",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "anyOf",
        "oneOf",
        "allOf",
        "not",
        "if",
        "then",
        "else",
        "dependentRequired",
        "dependentSchemas",
        "readOnly",
        "writeOnly",
        "deprecated",
    ]
)
_ONE = ("additionalProperties", "contains", "else", "if", "not", "propertyNames", "then")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_MAPS = ("dependentSchemas", "patternProperties")
_MAX_DEPTH = 48
_MAX_REPAIRS = 200


def plain_schema(schema: Mapping[str, Any] | None) -> Schema:
    """Make the schema of a tool's arguments plain: an object with `properties`, whatever it was given as.

    Types are read in the spellings of many languages; what is no JSON Schema is left out, never an error.
    """
    given = dict(schema or {})
    definitions = {
        str(name): _plain(inner, 1)
        for word in ("definitions", "$defs")
        if isinstance(found := given.pop(word, None), Mapping)
        for name, inner in cast("Mapping[str, Any]", found).items()
    }
    root = _flat(_plain(given, 0), definitions, 0)
    root["type"] = "object"
    root.pop("enum", None)
    root.pop("const", None)
    root.setdefault("properties", {})
    root.setdefault("required", [])
    if definitions:
        root["$defs"] = definitions
    root = cast("Schema", _without_dead_ends(root, root))
    return _repaired(root)


def uses_references(schema: Any) -> bool:
    """Whether a schema refers to others."""
    if isinstance(schema, dict):
        mapping = cast("Schema", schema)
        return "$ref" in mapping or any(uses_references(value) for value in mapping.values())
    return isinstance(schema, list) and any(uses_references(item) for item in cast("list[Any]", schema))


def _flat(schema: Schema, definitions: Schema, depth: int) -> Schema:
    """Put the properties of alternatives and parts of a schema into it: providers want one plain object at the top."""
    parts: list[tuple[Any, bool]] = []
    reference = str(schema.pop("$ref", "")).rpartition("/")[2]
    if reference in definitions:
        parts.append((definitions[reference], True))
    parts += [(part, True) for part in cast("list[Any]", schema.pop("allOf", []))]
    parts += [(part, False) for word in ("anyOf", "oneOf") for part in cast("list[Any]", schema.pop(word, []))]
    for word in ("not", "if", "then", "else", "dependentSchemas", "propertyNames"):
        schema.pop(word, None)
    for part, whole in parts if depth < _MAX_DEPTH else []:
        inner = _flat(dict(part), definitions, depth + 1)
        schema["properties"] = {**inner.get("properties", {}), **schema.get("properties", {})}
        if whole:
            schema["required"] = list(dict.fromkeys([*schema.get("required", []), *inner.get("required", [])]))
        schema.setdefault("description", inner.get("description", ""))
    return schema


def _plain(given: Any, depth: int) -> Schema:
    if isinstance(given, str):
        return _with_items(read_type(given) or {})
    if given is False:
        return {"not": {}}
    if not isinstance(given, Mapping) or depth > _MAX_DEPTH:
        return {}
    source = cast("Mapping[str, Any]", given)
    schema: Schema = {key: value for key, value in source.items() if key in _KEPT}
    _say_type(schema)
    _say_properties(schema, depth)
    _say_inner(schema, depth)
    _say_items(schema, depth)
    say_options(schema)
    say_limits(schema)
    if source.get("nullable") is True:
        allow_null(schema)
    for word in ("title", "description", "format", "$ref"):
        if word in schema and not isinstance(schema[word], str):
            schema[word] = str(schema[word])
    return schema


def _say_inner(schema: Schema, depth: int) -> None:
    for word in _ONE:
        if word in schema and not isinstance(schema[word], bool):
            schema[word] = _plain(schema[word], depth + 1)
    for word in _LISTS:
        inner = schema.pop(word, None)
        if isinstance(inner, list) and inner:
            schema[word] = [_plain(each, depth + 1) for each in cast("list[Any]", inner)]
    for word in _MAPS:
        inner = schema.pop(word, None)
        if isinstance(inner, Mapping):
            named = cast("Mapping[str, Any]", inner)
            schema[word] = {str(name): _plain(each, depth + 1) for name, each in named.items()}


def _say_type(schema: Schema) -> None:
    kind = schema.pop("type", None)
    if isinstance(kind, list):
        kind = " | ".join(str(each) for each in cast("list[Any]", kind))
    elif isinstance(kind, Mapping):
        # A schema in the place of a type.
        schema.update({**_plain(cast("Mapping[str, Any]", kind), _MAX_DEPTH), **schema})
        return
    if not isinstance(kind, str) or not kind.strip():
        if "properties" in schema:
            schema["type"] = "object"
        elif "items" in schema or "prefixItems" in schema:
            schema["type"] = "array"
        return
    read = read_type(kind)
    if read is None:
        # The model may know what it is, though we do not.
        schema["description"] = f"{schema.get('description') or ''} (type: {kind})".strip()
        return
    if "anyOf" in read and all(inner.keys() == {"type"} for inner in read["anyOf"]):
        read = {"type": [inner["type"] for inner in read["anyOf"]]}
    for word, value in read.items():
        schema.setdefault(word, value)


def _say_properties(schema: Schema, depth: int) -> None:
    required = schema.pop("required", None)
    properties = schema.pop("properties", None)
    if isinstance(properties, list):
        # Lists of parameters, each with its name.
        named = [cast("Mapping[str, Any]", each) for each in cast("list[Any]", properties) if isinstance(each, Mapping)]
        properties = {str(each["name"]): each for each in named if "name" in each}
    if not isinstance(properties, Mapping):
        return
    inner = {str(name): value for name, value in cast("Mapping[Any, Any]", properties).items()}
    names = [str(name) for name in cast("list[Any]", required)] if isinstance(required, list | tuple) else []
    names += [name for name, value in inner.items() if _mark(value, "required") is True and name not in names]
    schema["properties"] = {name: _plain(value, depth + 1) for name, value in inner.items()}
    schema["required"] = [name for name in dict.fromkeys(names) if name in inner and not _mark(inner[name], "optional")]


def _mark(value: Any, word: str) -> Any:
    return cast("Mapping[str, Any]", value).get(word) if isinstance(value, Mapping) else None


def _say_items(schema: Schema, depth: int) -> None:
    items = schema.get("items")
    if isinstance(items, list | tuple):
        kinds = [_plain(item, depth + 1) for item in cast("list[Any]", items)]
        different = [kind for index, kind in enumerate(kinds) if kind not in kinds[:index]]
        schema["items"] = different[0] if len(different) == 1 else {"anyOf": different} if different else {}
    elif items is not None and not isinstance(items, bool):
        schema["items"] = _plain(items, depth + 1)
    _with_items(schema)


def _with_items(schema: Schema) -> Schema:
    # Providers refuse arrays that do not say what is in them.
    if has_type(schema, "array"):
        schema.setdefault("items", {})
    for inner in cast("list[Any]", schema.get("anyOf", [])):
        _with_items(inner)
    return schema


def _without_dead_ends(schema: Any, root: Schema) -> Any:
    """Take out references that lead nowhere, or out of the document, or to all of it."""
    if isinstance(schema, list):
        return [_without_dead_ends(item, root) for item in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    changed = {key: _without_dead_ends(value, root) for key, value in cast("Schema", schema).items()}
    reference = changed.get("$ref")
    if isinstance(reference, str):
        reference = re.sub(r"^#/definitions/", "#/$defs/", reference)
        changed["$ref"] = reference
        if reference == "#" or not _leads_somewhere(reference, root):
            del changed["$ref"]
    return changed


def _leads_somewhere(reference: str, root: Schema) -> bool:
    if not reference.startswith("#/"):
        return False
    place: Any = root
    for part in reference[2:].split("/"):
        key = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(place, dict) or key not in place:
            return False
        place = cast("Schema", place)[key]
    return isinstance(place, dict)


def _repaired(schema: Schema) -> Schema:
    """Leave out keywords whose values JSON Schema does not allow."""
    from jsonschema import Draft202012Validator, SchemaError

    for _ in range(_MAX_REPAIRS):
        try:
            Draft202012Validator.check_schema(schema)
        except SchemaError as error:
            path = list(error.path)
            place: Any = schema
            for part in path[:-1]:
                place = place[part]
            if not path:
                break
            if isinstance(place, list):
                cast("list[Any]", place).pop(cast("int", path[-1]))
            else:
                place.pop(path[-1], None)
        else:
            return schema
    return {"type": "object", "properties": {}, "required": []}
