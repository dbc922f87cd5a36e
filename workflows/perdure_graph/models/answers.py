"""Reading JSON out of what a model wrote: around it there may be thinking, prose and code fences; it may be broken."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, cast

from pydantic import JsonValue

from ..loose_json import DECODER, MAX_REPAIR_CHARS, repaired, too_deep

# Read within a workflow, where nothing may take long.
_MAX_TRIES = 40
_MAX_REPAIRS = 3

_THINK_TAG = re.compile(r"<(/?)think(?:\s[^<>]{0,512})?>", re.IGNORECASE)
_BRACE = re.compile(r"[{}]")


def without_thinking(text: str) -> str:
    """Take out blocks between think tags, and what stands before a closing tag that nothing opened.

    A block that nobody closed was cut off: it is thinking to its end, as where answers are shown.
    """
    kept: list[str] = []
    at, opened = 0, False
    for tag in _THINK_TAG.finditer(text):
        if not tag.group(1):
            if not opened:
                kept.append(text[at : tag.start()])
                at, opened = tag.start(), True
        elif opened:
            at, opened = tag.end(), False
        elif not at:
            at = tag.end()
    return "".join(kept if opened else [*kept, text[at:]])


def objects_in(text: str) -> Iterator[dict[str, JsonValue]]:
    """Find the JSON objects in a text, in order; those within others are not listed, broken ones are repaired."""
    at, repairs = text.find("{"), 0
    for _ in range(_MAX_TRIES):
        if at < 0:
            return
        found, end = _strict(text, at)
        if found is None and repairs < _MAX_REPAIRS:
            found, end = _repaired(text, at)
            repairs += end > at + 1
        if found is not None:
            yield found
        at = text.find("{", end)


def first_object(text: str) -> dict[str, JsonValue] | None:
    """Find the first JSON object in a text."""
    return next(objects_in(text), None)


def _strict(text: str, at: int) -> tuple[dict[str, JsonValue] | None, int]:
    try:
        read, end = DECODER.raw_decode(text, at)
    except (ValueError, RecursionError):
        return None, at + 1
    found = _fit(read)
    return found, end if found is not None else at + 1


def _repaired(text: str, at: int) -> tuple[dict[str, JsonValue] | None, int]:
    if text.find(":", at, at + MAX_REPAIR_CHARS) < 0:
        return None, at + 1
    end = _closing(text, at)
    piece = text[at:end]
    # The repair makes something of every text, also of one that names no key.
    found = _fit(repaired(piece)) if ":" in piece else None
    return (found, end) if found else (None, at + 1)


def _closing(text: str, at: int) -> int:
    """Find the end of the object that begins here, by its braces; where it is cut off, the end of it all."""
    depth = 0
    limit = min(len(text), at + MAX_REPAIR_CHARS)
    for brace in _BRACE.finditer(text, at, limit):
        depth += 1 if brace.group() == "{" else -1
        if not depth:
            return brace.end()
    fence = text.find("```", at)
    return fence if fence >= 0 else len(text)


def _fit(read: Any) -> dict[str, JsonValue] | None:
    """Take an object that every payload can carry: not too deep, without halves of characters."""
    if not isinstance(read, dict) or too_deep(read):
        return None
    text = json.dumps(read, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.loads(text.encode("utf-8", "replace"))
    return cast("dict[str, JsonValue]", read)
