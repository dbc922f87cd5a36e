"""What a foreign schema says of values: options, limits, patterns, null."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, cast

Schema = dict[str, Any]

_LIMITS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_COUNTS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")

_FITS: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
    "null": lambda value: value is None,
}


def say_options(schema: Schema) -> None:
    """Make the options of a schema fit its type, or the type the options."""
    options = schema.pop("enum", None)
    if isinstance(options, Mapping):
        options = list(cast("Mapping[str, Any]", options))
    if not isinstance(options, list | tuple) or not options:
        return
    options = _different(list(cast("list[Any]", options)))
    if schema.get("type") == "array" and not any(isinstance(option, list) for option in options):
        if isinstance(schema.get("items"), dict):
            schema["items"] = {**schema["items"], "enum": options}
            say_options(schema["items"])
        return
    kinds = _types(schema)
    if kinds and not all(_fits_any(option, kinds) for option in options):
        options = _different([_as_type(option, kinds) for option in options])
        schema["type"] = _narrowest([*kinds, *(_kind_of(option) for option in options if not _fits_any(option, kinds))])
    elif not kinds and all(isinstance(option, str) for option in options):
        schema["type"] = "string"
    default = schema.get("default")
    if default is not None and _fits_any(default, _types(schema)) and default not in options:
        # Whoever wrote the default means it to be one.
        options.append(default)
    schema["enum"] = options


def _different(options: list[Any]) -> list[Any]:
    seen: dict[str, Any] = {}
    for option in options:
        seen.setdefault(json.dumps(option, sort_keys=True, default=str), option)
    return list(seen.values())


def _as_type(option: Any, kinds: list[str]) -> Any:
    if "string" in kinds and _FITS["number"](option):
        return str(option)
    if isinstance(option, str) and ("integer" in kinds or "number" in kinds):
        try:
            return json.loads(option)
        except ValueError:
            return option
    return option


def _kind_of(value: Any) -> str:
    return next(
        name for name in ("boolean", "integer", "number", "string", "array", "null", "object") if _FITS[name](value)
    )


def _narrowest(kinds: list[str]) -> str | list[str]:
    different = list(dict.fromkeys(kinds))
    return different[0] if len(different) == 1 else different


def _types(schema: Schema) -> list[str]:
    kind = schema.get("type")
    if isinstance(kind, list):
        return cast("list[str]", kind)
    return [kind] if isinstance(kind, str) else []


def has_type(schema: Schema, name: str) -> bool:
    """Whether values may be of a type."""
    return name in _types(schema)


def _fits_any(value: Any, kinds: list[str]) -> bool:
    return any(kind in _FITS and _FITS[kind](value) for kind in kinds)


def say_limits(schema: Schema) -> None:
    """Make limits numbers, of the form that is in use today; a pattern that cannot be read goes."""
    for exclusive, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        # Before draft 6 these were flags.
        if isinstance(schema.get(exclusive), bool) and schema.pop(exclusive) and limit in schema:
            schema[exclusive] = schema.pop(limit)
    for word in (*_LIMITS, *_COUNTS):
        value = schema.get(word)
        if isinstance(value, str):
            try:
                schema[word] = int(value) if word in _COUNTS else json.loads(value)
            except ValueError:
                del schema[word]
    if "pattern" in schema and not _is_pattern(schema["pattern"]):
        del schema["pattern"]


def _is_pattern(pattern: Any) -> bool:
    try:
        re.compile(pattern)
    except (re.error, TypeError, RecursionError, OverflowError):
        return False
    return True


def allow_null(schema: Schema) -> None:
    """Let a value be null too."""
    kinds = _types(schema)
    if kinds and "null" not in kinds:
        schema["type"] = [*kinds, "null"]
    if "enum" in schema and None not in schema["enum"]:
        schema["enum"] = [*schema["enum"], None]
    if "anyOf" in schema and {"type": "null"} not in schema["anyOf"]:
        schema["anyOf"] = [*schema["anyOf"], {"type": "null"}]
