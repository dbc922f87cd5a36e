"""Values that mean what a schema asks for, though they are of another type, made of that type.

Only what is plain is converted (`"3"` is 3, `"yes"` is true); the rest stays as it is, for the validation to name.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, cast

Schema = dict[str, Any]

_TRUE = frozenset({"true", "1", "yes"})
_FALSE = frozenset({"false", "0", "no"})
_MAX_DEPTH = 64
_MAX_DIGITS = 400


def converted(value: Any, schema: Any, root: Schema | None = None, depth: int = 0) -> Any:
    """Convert a value along a schema; optional properties that are null where none is allowed are left out."""
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return value
    schema = cast("Schema", schema)
    base: Schema = root or schema
    schema = _resolved(schema, base)
    for word in ("anyOf", "oneOf"):
        branches = cast("list[Any]", schema.get(word) or [])
        if branches and not any(_is_kind(value, branch, base) for branch in branches):
            for branch in branches:
                made = converted(value, branch, base, depth + 1)
                if _is_kind(made, branch, base):
                    value = made
                    break
        else:
            for branch in branches:
                if _is_kind(value, branch, base):
                    value = converted(value, branch, base, depth + 1)
                    break
    for part in cast("list[Any]", schema.get("allOf") or []):
        value = converted(value, part, base, depth + 1)
    kinds = _kinds(schema)
    if kinds and not any(_is(value, kind) for kind in kinds):
        value = _as_one(value, kinds)
    if isinstance(value, dict):
        return _object(cast("dict[str, Any]", value), schema, base, depth)
    if isinstance(value, list):
        return [converted(item, schema.get("items"), base, depth + 1) for item in cast("list[Any]", value)]
    return value


def _object(value: Mapping[str, Any], schema: Schema, root: Schema, depth: int) -> dict[str, Any]:
    properties = cast("Schema", schema.get("properties") or {})
    further = schema.get("additionalProperties")
    required = cast("list[str]", schema.get("required") or [])
    made: dict[str, Any] = {}
    for name, item in value.items():
        inner = properties.get(name, further if name not in properties else None)
        if item is None and name in properties and name not in required and not _may_be_null(inner, root):
            continue
        made[name] = converted(item, inner, root, depth + 1)
    return made


def _may_be_null(schema: Any, root: Schema) -> bool:
    if not isinstance(schema, dict):
        return True
    schema = _resolved(cast("Schema", schema), root)
    kinds = _kinds(schema)
    if kinds:
        return "null" in kinds
    if "enum" in schema:
        return None in schema["enum"]
    branches = [*cast("list[Any]", schema.get("anyOf") or []), *cast("list[Any]", schema.get("oneOf") or [])]
    return not branches or any(_may_be_null(branch, root) for branch in branches)


def _as_one(value: Any, kinds: list[str]) -> Any:
    """Give the value as the first of the types that it can be meant for."""
    for kind in kinds:
        made = _as(value, kind)
        if _is(made, kind):
            return made
    return value


def _as(value: Any, kind: str) -> Any:
    match kind:
        case "integer" | "number":
            return _number(value, whole=kind == "integer")
        case "boolean":
            return _boolean(value)
        case "array" | "object":
            return _parsed(value)
        case "string" if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        case _:
            return value


def _number(value: Any, *, whole: bool) -> Any:
    if not isinstance(value, str) or not 0 < len(text := value.strip()) <= _MAX_DIGITS:
        return value
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        return value
    if not math.isfinite(number):
        return value
    if whole and number.is_integer():
        return int(number)
    return value if whole else number


def _boolean(value: Any) -> Any:
    text = value.strip().lower() if isinstance(value, str) else str(value)
    return True if text in _TRUE else False if text in _FALSE else value


def _parsed(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _kinds(schema: Schema) -> list[str]:
    kind = schema.get("type")
    if isinstance(kind, list):
        return cast("list[str]", kind)
    return [kind] if isinstance(kind, str) else []


def _is(value: Any, kind: str) -> bool:
    match kind:
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return not isinstance(value, bool) and (
                isinstance(value, int) or (isinstance(value, float) and value.is_integer())
            )
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "array":
            return isinstance(value, list)
        case "object":
            return isinstance(value, dict)
        case "null":
            return value is None
        case _:
            return True


def _is_kind(value: Any, schema: Any, root: Schema) -> bool:
    """Whether a value is of the type of a schema, as far as that alone says."""
    if not isinstance(schema, dict):
        return schema is not False
    schema = _resolved(cast("Schema", schema), root)
    kinds = _kinds(schema)
    if kinds and not any(_is(value, kind) for kind in kinds):
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    return "const" not in schema or value == schema["const"]


def _resolved(schema: Schema, root: Schema) -> Schema:
    """Follow references within the document; what stands beside one counts too."""
    for _ in range(_MAX_DEPTH):
        reference = schema.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#/"):
            return schema
        place: Any = root
        for part in reference[2:].split("/"):
            key = part.replace("~1", "/").replace("~0", "~")
            place = cast("Schema", place).get(key) if isinstance(place, dict) else None
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        schema = {**cast("Schema", place), **beside} if isinstance(place, dict) else beside
    return schema
