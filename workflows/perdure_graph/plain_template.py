"""Templates that need no engine: text with plain `{{ name }}` and `{{ name.key }}`.

Most templates that people draw are of this kind. They are filled here, in bounded time and with the same result as
Jinja2; everything else (filters, tests, statements, calls, comments, whitespace control) is left to the engine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

_EXPRESSION = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_NAMES = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z][A-Za-z0-9_]*)*)\s*", re.ASCII)
# What the language gives another meaning than "a variable of this name".
_TAKEN = frozenset(
    [
        "true",
        "false",
        "none",
        "True",
        "False",
        "None",
        "not",
        "and",
        "or",
        "in",
        "is",
        "if",
        "else",
        "elif",
        "for",
        "self",
        "loop",
        "super",
        "caller",
        "varargs",
        "kwargs",
        "range",
        "dict",
        "lipsum",
        "cycler",
        "joiner",
        "namespace",
    ]
)


def fill(template: str, variables: Mapping[str, Any]) -> str | None:
    """Fill a plain template; None when it needs the engine."""
    if "{%" in template or "{#" in template or "\r" in template:
        return None
    if template.endswith("\n"):
        template = template[:-1]
    out: list[str] = []
    for index, piece in enumerate(_EXPRESSION.split(template)):
        if index % 2 == 0:
            if "{{" in piece:
                return None
            out.append(piece)
            continue
        text = _value(piece, variables)
        if text is None:
            return None
        out.append(text)
    return "".join(out)


def _value(expression: str, variables: Mapping[str, Any]) -> str | None:
    match = _NAMES.fullmatch(expression)
    if match is None:
        return None
    name, *path = match.group(1).split(".")
    if name in _TAKEN:
        return None
    if name not in variables:
        # Undefined prints nothing, but has no attributes: that is for the engine to refuse.
        return "" if not path else None
    value: Any = variables[name]
    for key in path:
        # Jinja looks for attributes of the object first: `d.items` is the method.
        if not isinstance(value, dict) or key not in value or hasattr(dict, key):
            return None
        value = cast("dict[str, Any]", value)[key]
    return str(value)
