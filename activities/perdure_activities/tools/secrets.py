"""Keep secrets out of what tools say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

HIDDEN = "********"

# Shorter ones would be found everywhere.
_LEAST = 6


def without(value: Any, secrets: Mapping[str, str]) -> Any:
    """Blot secrets out of a text, or out of all texts in a JSON value."""
    longest_first = sorted((one for one in secrets.values() if len(one) >= _LEAST), key=len, reverse=True)
    return _blotted(value, longest_first) if longest_first else value


def _blotted(value: Any, secrets: list[str]) -> Any:
    match value:
        case str():
            for secret in secrets:
                value = value.replace(secret, HIDDEN)
            return value
        case list() | tuple():
            return [_blotted(item, secrets) for item in cast("list[Any]", value)]
        case dict():
            items = cast("dict[Any, Any]", value).items()
            return {_blotted(key, secrets): _blotted(item, secrets) for key, item in items}
        case _:
            return value
