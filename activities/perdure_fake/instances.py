"""A small instance of a JSON Schema, with values found in a text where that is easy. Deterministic."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, cast

from .plans import Json

_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?!\w)")
_NAME = re.compile(r"(?<![.!?:]\s)(?<!^)\b[A-Z][\w'-]+(?:\s+[A-Z][\w'-]+)*")
_QUOTED = re.compile(r"[\"“']([^\"”'\n]{1,200})[\"”']")
_FORMATS = {
    "email": re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),
    "uri": re.compile(r"https?://[^\s\"'<>]+"),
    "date": re.compile(r"\d{4}-\d{2}-\d{2}"),
    "time": re.compile(r"\b\d{2}:\d{2}(?::\d{2})?"),
}
_EXAMPLES = {
    "email": "nobody@example.com",
    "uri": "https://example.com/",
    "date": "2000-01-01",
    "time": "00:00:00Z",
    "date-time": "2000-01-01T00:00:00Z",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
}
_DEEP = 8
_NO = {"no", "not", "never", "without", "don't", "isn't", "doesn't"}


def words(text: str) -> list[str]:
    """Give the words of a text in small letters, those of `snake_case` and `camelCase` names too."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text).replace("_", " ").replace("-", " ")
    return re.findall(r"[\w']+", apart.lower())


def best(options: list[str], text: str) -> int:
    """Give the option of whose words most occur in a text, the first one if none do."""
    said = set(words(text))

    def score(option: str) -> float:
        own = [word for word in words(option) if len(word) > 1 or word.isdigit()]
        found = sum(word in said or word.rstrip("s") in said or f"{word}s" in said for word in own)
        return found + found / len(own) if own else 0.0

    scores = [score(option) for option in options]
    return scores.index(max(scores)) if scores else 0


def instance(schema: Json, text: str) -> Any:
    """Make an instance of a schema for a text."""
    return _Maker(schema, text, [match.group() for match in _NUMBER.finditer(text)]).value(schema, "", 0)


@dataclass(slots=True)
class _Maker:
    root: Json
    text: str
    numbers: list[str]
    named: set[str] = field(default_factory=set[str])

    def value(self, schema: Json, name: str, depth: int) -> Any:
        schema = self.resolved(schema, depth)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            options = cast("list[Any]", schema["enum"])
            return options[best([str(option) for option in options], self.text)]
        match self.type_of(schema):
            case "object":
                return self.object_(schema, depth)
            case "array":
                return self.array(schema, name, depth)
            case "boolean":
                return self.truth(name)
            case "integer" | "number" as kind:
                return self.number(schema, whole=kind == "integer")
            case "null":
                return None
            case _:
                return self.string(schema, name)

    def resolved(self, schema: Json, depth: int) -> Json:
        """Follow references, put `allOf` together, take the first alternative that is not null."""
        for _ in range(20):
            if "$ref" in schema:
                found: Any = self.root
                for part in str(schema["$ref"]).lstrip("#/").split("/"):
                    found = found.get(part.replace("~1", "/").replace("~0", "~"), {}) if part else found
                schema = {**found, **{key: value for key, value in schema.items() if key != "$ref"}}
            elif schema.get("allOf"):
                merged: Json = {key: value for key, value in schema.items() if key != "allOf"}
                for part in cast("list[Json]", schema["allOf"]):
                    full = self.resolved(part, depth)
                    joined = {**merged.get("properties", {}), **full.get("properties", {})}
                    required = [*merged.get("required", []), *full.get("required", [])]
                    merged = {**merged, **full, **({"properties": joined, "required": required} if joined else {})}
                schema = merged
            elif alternatives := cast("list[Json]", schema.get("anyOf") or schema.get("oneOf") or []):
                rest = {key: value for key, value in schema.items() if key not in {"anyOf", "oneOf"}}
                nulls = [option for option in alternatives if option.get("type") == "null"]
                others = [option for option in alternatives if option not in nulls]
                schema = {**rest, **((nulls or others) if depth > _DEEP else (others or nulls))[0]}
            else:
                break
        return schema

    def type_of(self, schema: Json) -> str:
        kind = schema.get("type")
        if isinstance(kind, list):
            return next((str(one) for one in cast("list[Any]", kind) if one != "null"), "null")
        if kind is None and "properties" in schema:
            return "object"
        return "array" if kind is None and "items" in schema else str(kind or "string")

    def object_(self, schema: Json, depth: int) -> Json:
        properties = cast("dict[str, Json]", schema.get("properties") or {})
        required = cast("list[str]", schema.get("required") or [])
        made = {
            name: self.value(one, name, depth + 1)
            for name, one in properties.items()
            if name in required or depth < _DEEP
        }
        return made | {name: "[simulated]" for name in required if name not in made}

    def array(self, schema: Json, name: str, depth: int) -> list[Any]:
        items = cast(Json, schema.get("items") or {})
        least = int(schema.get("minItems", 0))
        if depth > _DEEP:
            return [self.value(items, name, depth + 1) for _ in range(least)]
        full = self.resolved(items, depth)
        options = [str(option) for option in cast("list[Any]", full.get("enum") or [])]
        said = set(words(self.text))
        if options:
            made: list[Any] = [option for option in full["enum"] if set(words(str(option))) & said]
        elif self.type_of(full) in {"integer", "number"}:
            made = [self.number(full, whole=self.type_of(full) == "integer") for _ in range(len(self.numbers) or 1)]
        else:
            made = [self.value(items, name.rstrip("s"), depth + 1)]
        while len(made) < least:
            made.append(self.value(items, name.rstrip("s"), depth + 1))
        return made[: int(schema.get("maxItems", len(made)))]

    def truth(self, name: str) -> bool:
        said = words(self.text)
        own = [word for word in words(name) if len(word) > 2 and word not in {"has", "the", "are", "was"}]
        places = [said.index(word) for word in own if word in said]
        return bool(places) and not _NO & set(said[max(0, min(places) - 3) : min(places)])

    def number(self, schema: Json, *, whole: bool) -> int | float:
        low = schema.get("minimum", schema.get("exclusiveMinimum"))
        high = schema.get("maximum", schema.get("exclusiveMaximum"))
        for place, found in enumerate(self.numbers):
            if whole and "." in found:
                continue
            number = int(found) if whole else float(found)
            if (low is None or number > low or number == schema.get("minimum")) and (
                high is None or number < high or number == schema.get("maximum")
            ):
                del self.numbers[place]
                return self.stepped(number, schema)
        start = low if low is not None else min(0, high) if high is not None else 0
        if low is not None and "minimum" not in schema:
            start += 1 if high is None or high - low > 1 else (high - low) / 2
        elif low is None and high is not None and start == high and "maximum" not in schema:
            start = high - 1
        return self.stepped(int(start) if whole else float(start), schema)

    @staticmethod
    def stepped(number: int | float, schema: Json) -> int | float:
        step = schema.get("multipleOf")
        return -(-number // step) * step if step else number

    def string(self, schema: Json, name: str) -> str:
        found = self.found(str(schema.get("format") or ""), name)
        if pattern := schema.get("pattern"):
            match = re.search(str(pattern).removeprefix("^").removesuffix("$"), self.text)
            found = match.group() if match else found
        found = found.ljust(int(schema.get("minLength", 0)), ".")
        return found[: int(schema["maxLength"])] if "maxLength" in schema else found

    def found(self, form: str, name: str) -> str:
        if form in _EXAMPLES:
            match = _FORMATS[form].search(self.text) if form in _FORMATS else None
            return match.group() if match else _EXAMPLES[form]
        label = r"[\s_-]+".join(re.escape(word) for word in words(name))
        if label and (stated := re.search(rf"(?i)\b{label}\b\s*(?:is|:|=|of)\s*([^\n,;.]+)", self.text)):
            return stated.group(1).strip().strip("\"'“”")
        for kind, pattern in _FORMATS.items():
            if {kind, "url" if kind == "uri" else kind} & set(words(name)) and (match := pattern.search(self.text)):
                return match.group()
        for pattern in (_QUOTED, _NAME):
            for match in pattern.finditer(self.text):
                value = match.group(match.lastindex or 0)
                if value not in self.named:
                    self.named.add(value)
                    return value
        return f"[simulated] {self.text.strip()[:200]}".strip()
