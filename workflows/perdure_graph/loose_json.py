"""JSON as models and people write it: read if every payload can hold it, repaired where that does not take long."""

from __future__ import annotations

import json
import math
from typing import Any, cast

from json_repair import repair_json

# A text is read within a workflow: nothing here may take long, whatever is written.
MAX_REPAIR_CHARS = 100_000
MAX_DEPTH = 64
_MAX_REPAIR_WORK = 1_000_000


def parsed(text: str) -> Any:
    """Read JSON that every payload can hold; line breaks may stand in its texts.

    Raises:
        ValueError, RecursionError: it is none.
    """
    return DECODER.decode(text)


def repaired(text: str) -> Any:
    """Repair JSON and read it; None where nothing can be made of it, or only in a long time."""
    # The repair backtracks at each bracket: 100 KB of them took it over ten minutes.
    work = len(text) * (text.count("{") + text.count("["))
    if len(text) > MAX_REPAIR_CHARS or work > _MAX_REPAIR_WORK:
        return None
    try:
        return parsed(str(repair_json(text, skip_json_loads=True)))
    except (ValueError, RecursionError):
        return None


def too_deep(value: Any) -> bool:
    """Whether a value is nested deeper than `MAX_DEPTH`."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner += cast("dict[str, Any]", item).values()
            elif isinstance(item, list):
                inner += cast("list[Any]", item)
        level = [item for item in inner if isinstance(item, dict | list)]
        if not level:
            return False
    return True


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number that JSON can hold")
    return number


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_no_constant, strict=False)
