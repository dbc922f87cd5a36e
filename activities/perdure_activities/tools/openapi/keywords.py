"""Keywords of JSON Schema 2020-12 that say something by themselves: each is checked, and mended where that is clear."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any, cast

from .document import Spot

Schema = dict[str, Any]

TYPES = ("string", "number", "integer", "boolean", "array", "object", "null")
MAX_ENUM_CHARS = 4000
_MAX_DEFAULT_CHARS = 500
_MAX_EXAMPLE_CHARS = 200
_MAX_EXAMPLES = 3


def cut(text: str, most: int) -> str:
    """Shorten a text, at a word where it can be."""
    if len(text) <= most:
        return text
    if most < 8:
        return ""
    short = text[: most - 3]
    return (short.rsplit(maxsplit=1)[0] if " " in short else short).rstrip() + "..."


def type_of(spot: Spot) -> str | list[str] | None:
    """Read `type`; `file` of Swagger 2 is text, `any` is no type."""
    written: Any = spot.mapping().get("type")
    if written is None:
        return None
    several: list[Any] = cast("list[Any]", written) if isinstance(written, list) else [written]
    for one in several:
        if one not in (*TYPES, "any", "file"):
            spot.at("type").wrong(f"there is no type {one!r}.", f"Write one of {', '.join(TYPES)}.")
    if "any" in several:
        return None
    types = list(dict.fromkeys("string" if one == "file" else str(one) for one in several))
    return types if len(types) > 1 else types[0] if types else None


def plain_keywords(spot: Spot, words: int) -> Schema:
    """Read all keywords that hold no schemas, but not `type` and `required`. words: longest description."""
    data = spot.mapping()
    found: Schema = {}
    for name in data:
        if (read := _READERS.get(name)) is not None and (data[name] is not None or name in ("const", "default")):
            value = read(spot.at(name))
            if value is not None or name in ("const", "default"):
                found[name] = value
    _bounds(spot, found)
    if description := cut(spot.words("description"), words):
        found["description"] = description
    examples: list[Any] = [data["example"]] if data.get("example") is not None else []
    if isinstance(data.get("examples"), list):
        examples += data["examples"]
    if words and (short := [one for one in examples if _size(one) <= _MAX_EXAMPLE_CHARS][:_MAX_EXAMPLES]):
        found["examples"] = short
    return found


def enum_of(spot: Spot, type_: str | list[str] | None) -> list[Any] | None:
    """Read `enum`; of texts, what YAML took for something else is text again."""
    if (written := spot.get("enum")) is None:
        return None
    values = [one.value for one in spot.items("enum")]
    if not values:
        written.wrong("an `enum` without values allows nothing.", "Add values, or delete it.")
    if type_ == "string":
        values = [one if one is None or isinstance(one, str) else json.dumps(one) for one in values]
    elif type_ in ("integer", "number"):
        values = [_as_number(one) if isinstance(one, str) else one for one in values]
    return values


def required_of(spot: Spot) -> list[str]:
    """Read `required`; as a flag it belongs to what holds the schema."""
    written: Any = spot.mapping().get("required")
    if written is None or isinstance(written, bool):
        return []
    names = [one.value for one in spot.items("required")]
    if not all(isinstance(name, str) for name in names):
        spot.at("required").wrong("this must be a list of names.")
    return list(dict.fromkeys(names))


def _bounds(spot: Spot, found: Schema) -> None:
    """Put `exclusiveMinimum: true` as 3.0 writes it into the form of 2020-12."""
    for plain, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        written: Any = spot.mapping().get(exclusive)
        if isinstance(written, bool):
            if written and plain in found:
                found[exclusive] = found.pop(plain)
        elif written is not None:
            found[exclusive] = _number(spot.at(exclusive))


def _text(spot: Spot) -> str | None:
    if not isinstance(spot.value, str):
        spot.wrong("this must be text.")
    return spot.value or None


def _pattern(spot: Spot) -> str | None:
    """Leave out patterns of other dialects: nothing could be held against them."""
    if (pattern := _text(spot)) is None:
        return None
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        return None
    return pattern


def _as_number(value: Any) -> Any:
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return value
    if not math.isfinite(number):
        return value
    return int(number) if number.is_integer() and "." not in value and "e" not in value.lower() else number


def _number(spot: Spot) -> int | float:
    value = _as_number(spot.value) if isinstance(spot.value, str) else spot.value
    if isinstance(value, bool) or not isinstance(value, int | float):
        spot.wrong("this must be a number.")
    return value


def _factor(spot: Spot) -> int | float | None:
    number = _number(spot)
    return number if number > 0 else None


def _count(spot: Spot) -> int | None:
    number = _number(spot)
    if number < 0 or number != int(number):
        spot.wrong("this must be a number like 0, 1, 2.")
    return int(number)


def _flag(spot: Spot) -> bool | None:
    if not isinstance(spot.value, bool):
        spot.wrong("this must be true or false.")
    return spot.value or None


def _default(spot: Spot) -> Any:
    return spot.value if _size(spot.value) <= _MAX_DEFAULT_CHARS else None


def _size(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False))


_READERS: dict[str, Callable[[Spot], Any]] = {
    "title": lambda spot: cut(_text(spot) or "", 100) or None,
    "format": _text,
    "pattern": _pattern,
    "contentEncoding": _text,
    "contentMediaType": _text,
    "minLength": _count,
    "maxLength": _count,
    "minItems": _count,
    "maxItems": _count,
    "minProperties": _count,
    "maxProperties": _count,
    "minimum": _number,
    "maximum": _number,
    "multipleOf": _factor,
    "uniqueItems": _flag,
    "deprecated": _flag,
    "default": _default,
    "const": lambda spot: spot.value,
}
