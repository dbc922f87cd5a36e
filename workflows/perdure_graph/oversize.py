"""Which part of a value makes it large: what an error about its size should name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from pydantic import BaseModel
from pydantic_core import to_json

# Type of the error of a node whose request or reply is over the limit.
TOO_LARGE: Final = "PayloadTooLarge"

_DEEPEST = 8


def json_size(value: Any) -> int:
    """Bytes of a value as JSON."""
    return len(to_json(value))


def heaviest(value: Any) -> str:
    """Path of the smallest part that alone has more than half of a value's JSON, as `inputs.rows[3]`; may be empty."""
    path, size = "", json_size(value)
    for _ in range(_DEEPEST):
        sized = ((json_size(part), name, part) for name, part in _parts(value))
        found = max(sized, key=lambda entry: entry[0], default=None)
        if found is None or 2 * found[0] <= size:
            break
        size, name, value = found
        path += name if name.startswith("[") or not path else f".{name}"
    return path


def over_limit(value: Any, size: int, limit: int) -> str:
    """Say in words how large a value is, where, and what the limit is."""
    place = heaviest(value)
    return f"{size:,} bytes{f', most of them in {place!r}' if place else ''}; the limit is {limit:,}"


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    match value:
        case BaseModel():
            for name in type(value).model_fields:
                yield name, getattr(value, name)
        case dict():
            for key, part in value.items():  # pyright: ignore[reportUnknownVariableType]
                yield str(key), part  # pyright: ignore[reportUnknownArgumentType]
        case list() | tuple():
            for index, part in enumerate(value):  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
                yield f"[{index}]", part
        case _:
            return
