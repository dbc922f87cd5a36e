"""Read the JSON result of a snippet. The text comes out of a sandbox: nothing about it is trusted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from pydantic import JsonValue

if TYPE_CHECKING:
    from collections.abc import Iterable

from .failures import SandboxFailure, too_large

MAX_DEPTH = 100


def parse_result(payload: bytes, limit: int) -> JsonValue:
    """Parse a result of at most `limit` bytes into plain JSON data that every later step can carry.

    Raises:
        SandboxFailure: too large, not JSON, nested too deeply, or text that is not Unicode.
    """
    if len(payload) > limit:
        raise too_large(limit)
    try:
        value = cast("JsonValue", json.loads(payload, parse_constant=_refuse_constant))
        if b"\\u" in payload:
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise SandboxFailure("CodeOutputError", f"the result of `main` is not valid JSON: {error}") from None
    if _deeper_than(MAX_DEPTH, value):
        raise SandboxFailure(
            "CodeOutputError", f"the result of `main` is nested deeper than {MAX_DEPTH} levels; flatten it"
        )
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _deeper_than(limit: int, value: JsonValue) -> bool:
    level: list[Any] = [value]
    for _ in range(limit + 1):
        level = [inner for outer in level for inner in _containers(outer)]
        if not level:
            return False
    return True


def _containers(value: Any) -> list[Any]:
    if isinstance(value, dict):
        value = cast("dict[str, Any]", value).values()
    elif not isinstance(value, list):
        return []
    return [item for item in cast("Iterable[Any]", value) if isinstance(item, dict | list)]
