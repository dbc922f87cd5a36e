"""Names of tools for providers, which take letters, digits, `_` and `-`, 64 of them at most."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

MAX_CHARS = 64

_ALLOWED = re.compile(r"[A-Za-z0-9_-]{1,64}")
_OTHER = re.compile(r"[^A-Za-z0-9_-]")
_TELLING = re.compile(r"[A-Za-z0-9]")
_MARK_CHARS = 8


def is_allowed(name: str) -> bool:
    """Whether providers take a name as it is."""
    return _ALLOWED.fullmatch(name) is not None


def safe_names(names: Sequence[str]) -> tuple[str, ...]:
    """Give each name one that providers take, in the same order and no two alike; `dict(zip(...))` reverses it.

    A name that is allowed stays, the first time it comes. In others each foreign character becomes `_`; those that
    would be too long, or the same as another, end in a mark of their own instead.
    """
    plain = [_OTHER.sub("_", name) for name in names]
    wanted = Counter(plain[index] for index, name in enumerate(names) if name not in names[:index])
    given: list[str] = [""] * len(names)
    taken: set[str] = set()
    for index, name in enumerate(names):
        first = name not in names[:index]
        alone = wanted[plain[index]] == 1 and len(name) <= MAX_CHARS and _TELLING.search(plain[index])
        if first and (is_allowed(name) or alone):
            given[index] = plain[index]
            taken.add(plain[index])
    for index, name in enumerate(names):
        if not given[index]:
            given[index] = _marked(name, plain[index], taken)
            taken.add(given[index])
    return tuple(given)


def _marked(name: str, plain: str, taken: set[str]) -> str:
    """End a name in a mark made of what it was; a further tool of the same name gets another mark."""
    stem = (plain if _TELLING.search(plain) else "tool")[: MAX_CHARS - _MARK_CHARS - 1]
    number = 0
    while True:
        text = name if number == 0 else f"{name}\0{number}"
        made = f"{stem}_{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:_MARK_CHARS]}"
        if made not in taken:
            return made
        number += 1
