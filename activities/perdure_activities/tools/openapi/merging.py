"""Make one schema of several that must all hold, where that can be said in one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

Schema = dict[str, Any]

ANNOTATIONS = frozenset({"title", "description", "default", "examples", "deprecated"})
_STRICTER: dict[str, Callable[[Any, Any], Any]] = {
    "minimum": max,
    "exclusiveMinimum": max,
    "minLength": max,
    "minItems": max,
    "minProperties": max,
    "maximum": min,
    "exclusiveMaximum": min,
    "maxLength": min,
    "maxItems": min,
    "maxProperties": min,
}


class _Apart(Exception):
    """Two schemas say what one cannot."""


def all_of(parts: Iterable[Schema], own: Schema) -> Schema:
    """Join the parts of an `allOf` with what stands beside it, whose words win."""
    several = [part for part in parts if part]
    words = {name: value for name, value in own.items() if name in ANNOTATIONS}
    rest = {name: value for name, value in own.items() if name not in ANNOTATIONS}
    try:
        joined: Schema = {}
        for part in (words, *several, rest):
            joined = _joined(joined, part)
    except _Apart:
        return {**words, "allOf": [*several, *([rest] if rest else [])]}
    return joined


def _joined(one: Schema, other: Schema) -> Schema:
    result = dict(one)
    for name, value in other.items():
        if name not in result:
            result[name] = value
        elif name not in ANNOTATIONS and result[name] != value:
            result[name] = _both(name, result[name], value)
    return result


def _both(name: str, one: Any, other: Any) -> Any:
    if name in _STRICTER:
        return _STRICTER[name](one, other)
    match name:
        case "required":
            return list(dict.fromkeys([*one, *other]))
        case "properties":
            return _properties(one, other)
        case "type":
            return _types(one, other)
        case "enum":
            common = [value for value in one if value in other]
            return common or _apart()
        case "additionalProperties":
            # As authors mean it: closed, but for all that is named.
            return False if one is False or other is False else other if one in (True, {}) else one
        case "format" | "pattern" | _:
            return _apart()


def _properties(one: Schema, other: Schema) -> Schema:
    result = dict(one)
    for name, schema in other.items():
        result[name] = _joined(result[name], schema) if name in result else schema
    return result


def _types(one: str | list[str], other: str | list[str]) -> str | list[str]:
    left = [one] if isinstance(one, str) else one
    right = [other] if isinstance(other, str) else other
    common = [kind for kind in left if kind in right or (kind == "integer" and "number" in right)]
    common += [kind for kind in right if kind == "integer" and "number" in left and kind not in common]
    if not common:
        _apart()
    return common if len(common) > 1 else common[0]


def _apart() -> Any:
    raise _Apart


def with_null(schema: Schema) -> Schema:
    """Let a schema allow null as well."""
    kind: Any = schema.get("type")
    several: list[Any] = cast("list[Any]", kind) if isinstance(kind, list) else [kind]
    if "null" in several:
        return schema
    if not schema.keys() - ANNOTATIONS:
        return schema
    if kind is None or schema.keys() & {"const", "allOf", "anyOf", "oneOf", "not", "if"}:
        words = {name: value for name, value in schema.items() if name in ANNOTATIONS}
        rest = {name: value for name, value in schema.items() if name not in ANNOTATIONS}
        choices: list[Any] = rest["anyOf"] if rest.keys() == {"anyOf"} else [rest]
        return {**words, "anyOf": choices if {"type": "null"} in choices else [*choices, {"type": "null"}]}
    enum = schema.get("enum")
    more = {"enum": [*enum, None]} if enum is not None and None not in enum else {}
    return {**schema, "type": [*several, "null"], **more}
