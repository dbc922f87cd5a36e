"""Which of some short texts fit a query, by the words they share (BM25). Pure."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

# How much a word counts that comes again, and how much a long text has to say to count as a short one.
_AGAIN = 1.2
_LENGTH = 0.75

# Words are written without spaces in these scripts: each pair of characters stands for one.
_DENSE = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_WORDS = re.compile(rf"[{_DENSE}]+|[^\W{_DENSE}]+")
_IS_DENSE = re.compile(rf"[{_DENSE}]")
_ENDINGS = ("ing", "es", "ed", "s", "e")
_LEAST_STEM = 3


def ranked(query: str, texts: Sequence[str]) -> list[int]:
    """Give the places of all texts: those that share words with the query, best first, then the others in order."""
    asked = set(words(query))
    counts = [Counter(words(text)) for text in texts]
    usual = sum(count.total() for count in counts) / max(1, len(texts)) or 1.0
    known = {word: sum(word in count for count in counts) for word in asked}

    def score(count: Counter[str]) -> float:
        length = 1 - _LENGTH + _LENGTH * count.total() / usual
        return sum(
            math.log(1 + (len(texts) - known[word] + 0.5) / (known[word] + 0.5))
            * (count[word] * (_AGAIN + 1))
            / (count[word] + _AGAIN * length)
            for word in asked
            if count[word]
        )

    scores = [score(count) for count in counts]
    return sorted(range(len(texts)), key=lambda place: (-scores[place], place))


def words(text: str) -> list[str]:
    """Give the words of a text, in lower case and without the endings that English changes."""
    found: list[str] = []
    for word in _WORDS.findall(text.lower()):
        if _IS_DENSE.match(word):
            found += [word[at : at + 2] for at in range(max(1, len(word) - 1))]
        else:
            found.append(_stem(word))
    return found


def _stem(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _LEAST_STEM:
            word = word[: -len(ending)]
            break
    return f"{word[:-1]}i" if word.endswith("y") else word
