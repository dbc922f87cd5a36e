"""JSON as servers send it."""

from __future__ import annotations

import json
import re
from typing import Any

# What a server counts beyond this is no count, and fits into no column.
MOST_COUNTED = 10**15

_ESCAPED = re.compile(r"\\u[dD][89a-fA-F]")


def read_json(data: str | bytes) -> Any:
    """Read JSON into what any payload can carry: half of a surrogate pair is proper JSON and no Unicode text.

    Raises:
        ValueError, RecursionError: it is no JSON.
    """
    text = data if isinstance(data, str) else data.decode("utf-8-sig")
    value = json.loads(text)
    if not _ESCAPED.search(text):
        return value
    text = json.dumps(value, ensure_ascii=False)
    return json.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
