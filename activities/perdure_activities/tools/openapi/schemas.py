"""Schemas of a specification -> JSON Schema 2020-12 without references: what goes round in a circle, or deeper than
wanted, ends in an object that is only described. Read for requests: what is `readOnly` is left out.
"""

from __future__ import annotations

from typing import Any

from .document import Spot
from .keywords import MAX_ENUM_CHARS, cut, enum_of, plain_keywords, required_of, type_of
from .merging import all_of, with_null
from .problems import BadSpec, Path

Schema = dict[str, Any]
Seen = tuple[Path, ...]

_FILE = "a file object, the id of a stored file, or the URL of a file"
FILE: Schema = {
    "type": ["object", "string"],
    "description": f"A file: {_FILE}.",
}
# Beside a reference, 3.0 heeds no others; these authors write there all the same.
_BESIDE = frozenset({"description", "title", "default", "nullable", "x-nullable", "deprecated"})
_SHOWN_VALUES = 20
_NULL = ("nullable", "x-nullable")
_NONE: frozenset[str] = frozenset()


class Schemas:
    """Converts schemas. depth: how many objects may lie in each other. words: longest description.

    files: whether binary text is a file. problems: what is wrong below the top; anything is allowed there.
    """

    def __init__(self, version: str, *, depth: int, words: int, files: bool = False) -> None:
        self._beside_all = version not in ("2.0", "3.0")
        self._depth = depth
        self._words = words
        self._files = files
        self._changes = 0
        self._made = 0
        self.problems: list[BadSpec] = []

    def schema(self, spot: Spot) -> Schema:
        """Convert a schema.

        Raises:
            BadSpec: it is none.
        """
        return self._schema(spot, self._depth, (), frozenset())

    def _schema(self, spot: Spot, depth: int, seen: Seen, hidden: frozenset[str]) -> Schema:
        if isinstance(spot.value, bool):
            return {} if spot.value else {"not": {}}
        self._made += 1
        data = spot.mapping()
        if "$ref" not in data:
            return self._written(spot, depth, seen, hidden)
        target = spot.document.find(data["$ref"], (*spot.path, "$ref"))
        target.resolved()
        name = str(target.path[-1]) if target.path else "it"
        if target.path in seen:
            self._changes += 1
            inner = self._described(target, name, "goes round in a circle from here")
        elif len(seen) >= _MAX_SEEN or self._made >= _MAX_MADE:
            self._changes += 1
            inner = self._described(target, name, "is not shown in full")
        else:
            inner = self._schema(target, depth, (*seen, target.path), hidden)
        beside = {name: data[name] for name in data if name != "$ref" and (self._beside_all or name in _BESIDE)}
        if not beside:
            return inner
        own = Spot(spot.document, {name: beside[name] for name in beside if name not in _NULL}, spot.path)
        joined = all_of([inner], self._written(own, depth, seen, hidden))
        return with_null(joined) if any(beside.get(name) is True for name in _NULL) else joined

    def _below(self, spot: Spot, depth: int, seen: Seen, hidden: frozenset[str] = _NONE) -> Schema:
        """Convert a schema in another; a wrong one need not cost an operation all the rest."""
        try:
            return self._schema(spot, depth, seen, hidden)
        except BadSpec as problem:
            self._changes += 1
            self.problems.append(problem)
            return {"description": "Not described: its schema is wrong."}

    def _written(self, spot: Spot, depth: int, seen: Seen, hidden: frozenset[str]) -> Schema:
        data = spot.mapping()
        if self._files and is_file(spot):
            words = cut(spot.words("description"), self._words)
            return {**FILE, "description": f"{words} ({_FILE})"} if words else FILE
        kind = type_of(spot)
        if depth <= 0 and _is_deep(data):
            self._changes += 1
            name = str(spot.path[-1]) if spot.path else "it"
            return self._described(spot, name, "is not shown in full")
        result: Schema = {}
        if kind is None and isinstance(data.get("properties"), dict):
            kind = "object"
        if kind is not None:
            result["type"] = kind
        result |= plain_keywords(spot, self._words)
        self._enum(spot, kind, result)
        hidden |= self._read_only(spot)
        self._object(spot, result, depth, seen, hidden)
        self._array(spot, result, depth, seen)
        self._conditions(spot, result, depth, seen, hidden)
        for name in ("anyOf", "oneOf"):
            self._choices(spot, result, name, depth, seen, hidden)
        parts = [self._below(one, depth, seen, hidden) for one in spot.items("allOf")]
        result = all_of(parts, result) if parts else result
        return with_null(result) if any(data.get(name) is True for name in _NULL) else result

    def _enum(self, spot: Spot, kind: str | list[str] | None, result: Schema) -> None:
        if (values := enum_of(spot, kind)) is None:
            return
        if sum(len(str(value)) + 4 for value in values) <= MAX_ENUM_CHARS:
            result["enum"] = values
            return
        self._changes += 1
        some = ", ".join(str(value) for value in values[:_SHOWN_VALUES])
        result["description"] = f"{result.get('description', '')} One of {len(values)} values: {some}, ...".strip()

    def _object(self, spot: Spot, result: Schema, depth: int, seen: Seen, hidden: frozenset[str]) -> None:
        inner = dict(spot.entries("properties"))
        shown = {name: one for name, one in inner.items() if name not in hidden}
        self._changes += len(inner) - len(shown)
        if inner:
            result["properties"] = {name: self._below(one, depth - 1, seen) for name, one in shown.items()}
        flagged = [name for name, one in shown.items() if _flagged(one)]
        if names := [name for name in dict.fromkeys([*required_of(spot), *flagged]) if name not in hidden]:
            result["required"] = names
        for name in ("additionalProperties", "propertyNames"):
            if (one := spot.get(name)) is not None:
                result[name] = one.value if isinstance(one.value, bool) else self._below(one, depth - 1, seen)
        for name in ("patternProperties", "dependentSchemas"):
            if entries := dict(spot.entries(name)):
                result[name] = {key: self._below(one, depth - 1, seen) for key, one in entries.items()}
        if entries := dict(spot.entries("dependentRequired")):
            result["dependentRequired"] = {
                key: [str(one.value) for one in spot.at("dependentRequired").items(key)] for key in entries
            }

    def _array(self, spot: Spot, result: Schema, depth: int, seen: Seen) -> None:
        items = spot.get("items")
        if items is not None and isinstance(items.value, list):
            items = None
        if items is not None:
            result["items"] = self._below(items, depth, seen)
        for name in ("prefixItems", "items"):
            if isinstance(spot.mapping().get(name), list) and spot.value[name]:
                result["prefixItems"] = [self._below(one, depth, seen) for one in spot.items(name)]

    def _conditions(self, spot: Spot, result: Schema, depth: int, seen: Seen, hidden: frozenset[str]) -> None:
        """Keep what is conditional only where it is whole: shortened it would forbid what is right."""
        for names in (("not",), ("if", "then", "else"), ("contains",)):
            before = self._changes
            found = {name: one for name in names if (one := spot.get(name)) is not None}
            kept = {name: self._below(one, depth, seen, hidden) for name, one in found.items()}
            if self._changes == before:
                result |= kept

    def _choices(self, spot: Spot, result: Schema, name: str, depth: int, seen: Seen, hidden: frozenset[str]) -> None:
        before = self._changes
        choices = [self._below(one, depth, seen, hidden) for one in spot.items(name)]
        if not choices:
            return
        # Choices that were shortened, or that a field tells apart, may well fit at the same time.
        apart = name == "oneOf" and self._changes == before and spot.get("discriminator") is None
        final = "oneOf" if apart else "anyOf"
        if final in result:
            result["allOf"] = [{final: choices}]
        else:
            result[final] = choices

    def _read_only(self, spot: Spot) -> frozenset[str]:
        """Give the names of properties that requests do not have, those of all its parts included."""
        found: set[str] = set()
        met, waiting = {spot.path}, [spot]
        while waiting:
            one = waiting.pop()
            found |= {name for name, inner in one.entries("properties") if _is_read_only(inner)}
            for part in one.items("allOf"):
                inner = part.resolved()
                if inner.path not in met and isinstance(inner.value, dict):
                    met.add(inner.path)
                    waiting.append(inner)
        return frozenset(found)

    def _described(self, spot: Spot, name: str, why: str) -> Schema:
        """Say of a schema only what kind of value it is."""
        data = spot.resolved().mapping()
        kind = type_of(spot.resolved())
        if kind is None and ("properties" in data or "allOf" in data):
            kind = "object"
        words = cut(str(data.get("description") or ""), self._words // 2)
        result: Schema = {} if kind is None else {"type": kind}
        result["description"] = f"{words} (`{name}` {why}.)".strip()
        return with_null(result) if any(data.get(one) is True for one in _NULL) else result


_DEEP = ("properties", "patternProperties", "dependentSchemas")
_MAX_SEEN = 24
_MAX_MADE = 3000


def _is_deep(data: dict[str, Any]) -> bool:
    return any(data.get(name) for name in _DEEP) or isinstance(data.get("additionalProperties"), dict)


def _flagged(spot: Spot) -> bool:
    """Whether a property says of itself that it is required, as drafts before 4 did."""
    return spot.data.get("required") is True


def _is_read_only(spot: Spot) -> bool:
    if spot.data.get("readOnly") is True:
        return True
    try:
        if "$ref" in spot.data:
            return spot.resolved().data.get("readOnly") is True
        return any(_is_read_only(one) for one in spot.items("allOf")) if "allOf" in spot.data else False
    except BadSpec:
        # Told where it is converted.
        return False


def is_file(spot: Spot) -> bool:
    """Whether a schema is that of a file: binary text."""
    data = spot.data
    if data.get("type") == "file" or data.get("format") == "binary":
        return True
    return data.get("type") == "string" and bool(data.get("contentMediaType")) and not data.get("contentEncoding")
