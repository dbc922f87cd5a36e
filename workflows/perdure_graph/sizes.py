"""How large a value is as JSON, and a preview of it, without writing it out: it may have 50 MB."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, cast

PREVIEW_CHARS = 500

# Counting stops here: beyond, only that it is large matters.
_COUNTED = 1_000_000
_PREVIEW_ITEMS = 50
_END = object()
_CUT_TEXT = re.compile(r"\.\.\. \[[\d,]+ bytes\]\Z")


def size_of(value: Any, most: int = _COUNTED) -> int:
    """About how many bytes a value takes as JSON; counting stops above `most`. Escapes and long characters count 1."""
    size = 0
    open_: list[Iterator[Any]] = [iter((value,))]
    while open_ and size <= most:
        item = next(open_[-1], _END)
        if item is _END:
            open_.pop()
        elif isinstance(item, str):
            size += len(item) + 3
        elif isinstance(item, dict):
            entries = cast("dict[Any, Any]", item)
            size += 2
            open_.append(part for pair in entries.items() for part in pair)
        elif isinstance(item, list | tuple):
            size += 2
            open_.append(iter(cast("list[Any]", item)))
        else:
            size += 6
    return size


def cut(value: Any, most: int) -> Any:
    """Replace what is larger than `most` bytes by a preview: the entries of an object one by one, all else whole."""
    if isinstance(value, dict):
        entries = cast("dict[str, Any]", value)
        if set(entries) != {"truncated", "preview"}:
            return {name: _cut_whole(entry, most) for name, entry in entries.items()}
        return entries
    return _cut_whole(value, most)


def was_cut(value: Any) -> bool:
    """Whether a value is a preview that `cut` left of a larger one."""
    if isinstance(value, str):
        return _CUT_TEXT.match(value, PREVIEW_CHARS) is not None
    return isinstance(value, dict) and set(cast("dict[str, Any]", value)) == {"truncated", "preview"}


def _cut_whole(value: Any, most: int) -> Any:
    if size_of(value, max(most, PREVIEW_CHARS)) <= max(most, PREVIEW_CHARS):
        return value
    if isinstance(value, str):
        return f"{value[:PREVIEW_CHARS]}... [{len(value):,} bytes]"
    size = _shown(size_of(value))
    return {"truncated": size, "preview": json.dumps(_start(value), ensure_ascii=False, default=str)[:PREVIEW_CHARS]}


def _shown(size: int) -> str:
    return f"{size:,} bytes" if size <= _COUNTED else f"more than {_COUNTED:,} bytes"


def _start(value: Any, depth: int = 5) -> Any:
    """The first part of a value, enough for a preview."""
    if isinstance(value, str):
        return value[:PREVIEW_CHARS]
    if isinstance(value, dict):
        entries = cast("dict[str, Any]", value)
        return {k: _start(v, depth - 1) for k, v in islice(entries.items(), _PREVIEW_ITEMS)} if depth else {}
    if isinstance(value, list):
        items = cast("list[Any]", value)
        return [_start(item, depth - 1) for item in items[:_PREVIEW_ITEMS]] if depth else []
    return value
