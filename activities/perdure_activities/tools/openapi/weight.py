"""How large a schema becomes when its references are written out, without writing them out."""

from __future__ import annotations

from typing import Any, cast

from .document import Document
from .problems import BadSpec

_BASE = 24
_CUT = 90
_MAX = 10**9
_MAX_LEVEL = 150
_ONE = ("items", "not", "if", "then", "else", "contains", "additionalProperties", "propertyNames")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_MAPS = ("properties", "patternProperties", "dependentSchemas")
_INNER = frozenset({*_MAPS, "additionalProperties", "propertyNames"})


class Weights:
    """Weighs the schemas of a document in characters, each once per depth and length of words."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._known: dict[tuple[int, int, int], int] = {}

    def weigh(self, schema: Any, depth: int, words: int, level: int = 0) -> int:
        """Estimate, rather too much than too little. level: how far in it is."""
        if not isinstance(schema, dict) or level > _MAX_LEVEL:
            return _BASE
        key = (id(cast("Any", schema)), depth, words)
        if (known := self._known.get(key)) is not None:
            return known
        # What goes round in a circle is cut where it meets itself.
        self._known[key] = _CUT
        self._known[key] = weight = min(self._sum(cast("dict[str, Any]", schema), depth, words, level + 1), _MAX)
        return weight

    def _sum(self, data: dict[str, Any], depth: int, words: int, level: int) -> int:
        total = _BASE + min(len(str(data.get("description") or "")), words)
        total += min(sum(len(str(value)) + 4 for value in _list(data.get("enum"))), 4000)
        total += sum(20 for name in data if name not in _INNER)
        if isinstance(reference := data.get("$ref"), str):
            try:
                total += self.weigh(self._document.find(reference, ()).value, depth, words, level)
            except BadSpec:
                return total
        inner = [(name, value) for key in _MAPS for name, value in _map(data.get(key)).items()]
        if depth <= 0 and (inner or isinstance(data.get("additionalProperties"), dict)):
            return _CUT + min(len(str(data.get("description") or "")), words)
        total += sum(len(name) + 6 + self.weigh(value, depth - 1, words, level) for name, value in inner)
        for name in _ONE:
            if isinstance(data.get(name), dict):
                total += self.weigh(data[name], depth - (name in _INNER), words, level)
        return total + sum(self.weigh(one, depth, words, level) for name in _LISTS for one in _list(data.get(name)))


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []


def _map(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
