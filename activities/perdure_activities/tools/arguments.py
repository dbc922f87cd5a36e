"""Arguments as models write them, read against the schema of their tool."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, cast

from pydantic import JsonValue

from ..models.schema_fit import misfit
from .convert import converted
from .plain_schema import Schema

_MAX_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Problem:
    """Why arguments cannot be used; the text is for the model, so that it can do better."""

    text: str

    def __str__(self) -> str:
        return self.text


def read(
    schema: Schema, given: JsonValue, *, plain: bool = False, kept: Collection[str] = ()
) -> dict[str, JsonValue] | Problem:
    """Read arguments: JSON text as it came, or a value.

    schema: of all of them (`schema.schema_of`).
    plain: whether text that is no JSON is the value of the only parameter, as in ReAct.
    kept: parameters that the model must not set, even where the schema takes any.
    """
    value = _value(given, plain=plain)
    if isinstance(value, Problem):
        return value
    if value is None or value == "":
        value = {}
    if not isinstance(value, dict):
        value = _wrapped(schema, value)
        if isinstance(value, Problem):
            return value
    if problem := _foreign(schema, value, kept):
        return problem
    return fit(schema, value)


def fit(schema: Schema, value: Mapping[str, JsonValue]) -> dict[str, JsonValue] | Problem:
    """Convert values to the types of a schema and hold them against it."""
    made = cast("dict[str, JsonValue]", converted(dict(value), schema))
    properties = cast("dict[str, Any]", schema.get("properties", {}))
    required = cast("list[str]", schema.get("required", []))
    if missing := [name for name in required if name not in made]:
        names = ", ".join(repr(name) for name in missing)
        return Problem(f"tool parameters validation error: {names} must be given (required). {_takes(properties)}")
    if (wrong := misfit(made, schema)) is not None:
        rule = f" ({wrong.rule})" if wrong.rule else ""
        return Problem(
            f"tool parameters validation error: {wrong.path}: {wrong.why}{rule}. Correct this parameter and call again."
        )
    return made


def _value(given: JsonValue, *, plain: bool) -> JsonValue | Problem:
    if not isinstance(given, str):
        return _sendable(given)
    text = given.strip()
    if not text:
        return None
    try:
        value = cast("JsonValue", json.loads(text, parse_constant=_no_constant, strict=False))
    except json.JSONDecodeError as error:
        if plain:
            return _sendable(text)
        return Problem(
            f"The arguments are not JSON: {error.msg} at line {error.lineno}, column {error.colno} "
            f"(character {error.pos}), near {text[max(0, error.pos - 20) : error.pos + 20]!r}. "
            "They must be one JSON object; correct them and call again."
        )
    except (ValueError, RecursionError) as error:
        if plain:
            return _sendable(text)
        return Problem(f"The arguments are not JSON: {error or 'too deep'}. They must be one JSON object.")
    if isinstance(value, str) and not plain and value.lstrip().startswith("{"):
        # Written twice: JSON text within JSON text.
        inner = _value(value, plain=False)
        return inner if isinstance(inner, dict) else value
    return _sendable(value)


def _no_constant(name: str) -> JsonValue:
    raise ValueError(f"{name} is no JSON")


def _sendable(value: JsonValue) -> JsonValue | Problem:
    """Refuse what no payload can carry: lone surrogates, infinite numbers, loops."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError, TypeError):
        return Problem(
            "The arguments hold text or numbers that cannot be sent (half characters, infinity). Correct them."
        )
    return value


def _wrapped(schema: Schema, value: JsonValue) -> dict[str, JsonValue] | Problem:
    properties = cast("dict[str, Any]", schema.get("properties", {}))
    if len(properties) == 1:
        return {next(iter(properties)): value}
    kind = "a list" if isinstance(value, list) else "text" if isinstance(value, str) else "a number, or true or false"
    return Problem(f"The arguments are {kind}, and must be one JSON object. {_takes(properties)}")


def _foreign(schema: Schema, value: Mapping[str, JsonValue], kept: Collection[str]) -> Problem | None:
    properties = cast("dict[str, Any]", schema.get("properties", {}))
    closed = schema.get("additionalProperties") is False
    foreign = [name for name in value if name not in properties and (closed or name in kept)]
    if not foreign:
        return None
    names = ", ".join(repr(name[:_MAX_SHOWN]) for name in foreign[:5])
    return Problem(
        f"tool parameters validation error: {names} cannot be set (additionalProperties). {_takes(properties)}"
    )


def _takes(properties: Mapping[str, Any]) -> str:
    if not properties:
        return "The tool takes no parameters: call it with {}."
    return f"The tool takes: {', '.join(list(properties)[:_MAX_SHOWN])}."
