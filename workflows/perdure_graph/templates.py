"""References in text: `{{#node.var.path#}}`, as the DSL defines them.

The node part is 1-50 of `[A-Za-z0-9_]`, then 1-10 names of at most 30 characters. Text that does not match stays as
it is; a reference to nothing renders as its inner text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from .values import to_markdown, to_text

_REFERENCE = re.compile(r"\{\{#([A-Za-z0-9_]{1,50}(?:\.[A-Za-z_][A-Za-z0-9_]{0,29}){1,10})#\}\}")

Lookup = Callable[[Sequence[str]], Any]


def split(template: str) -> list[str | tuple[str, ...]]:
    """Split a template into text and selectors, in order; empty texts are left out."""
    parts: list[str | tuple[str, ...]] = []
    for index, piece in enumerate(_REFERENCE.split(template)):
        if index % 2:
            parts.append(tuple(piece.split(".")))
        elif piece:
            parts.append(piece)
    return parts


def references(template: str) -> list[tuple[str, ...]]:
    """List the selectors that a template names, in order, repeats included."""
    return [part for part in split(template) if not isinstance(part, str)]


def render(template: str, lookup: Lookup, missing: object, *, markdown: bool = False) -> str:
    """Fill a template. `lookup` answers `missing` for a variable that does not exist."""
    write = to_markdown if markdown else to_text
    out: list[str] = []
    for part in split(template):
        if isinstance(part, str):
            out.append(part)
            continue
        value = lookup(part)
        out.append(".".join(part) if value is missing else write(value))
    return "".join(out)
