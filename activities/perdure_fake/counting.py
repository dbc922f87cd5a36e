"""The stated token counter of the fake: up to six letters or digits in a row, or one other visible character, each CJK
character for itself; a prompt has three more per message and three at its end, and 85 per image.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_TOKEN = re.compile(rf"[{_CJK}]|(?:(?![{_CJK}])\w){{1,6}}|[^\w\s]")
_PIECE = re.compile(rf"\s*(?:[{_CJK}]{{1,4}}|(?:(?![{_CJK}])\S){{1,16}})|\s+$")


def count(text: str) -> int:
    """Count the tokens of a text."""
    return sum(1 for _ in _TOKEN.finditer(text))


def prompt_tokens(texts: Iterable[str], messages: int, images: int = 0) -> int:
    """Count those of a request."""
    return sum(count(text) for text in texts) + 3 * messages + 3 + 85 * images


def pieces(text: str) -> tuple[str, ...]:
    """Cut a text into words, as it is streamed; put together they are the text."""
    found = tuple(_PIECE.findall(text))
    return found if "".join(found) == text else (text,)


def fragments(text: str, size: int = 12) -> tuple[str, ...]:
    """Cut a text into pieces of equal length, as tool arguments are streamed."""
    return tuple(text[start : start + size] for start in range(0, len(text), size)) or ("",)
