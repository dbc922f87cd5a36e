"""Names of types as people and other languages write them, in the words of JSON Schema."""

from __future__ import annotations

import re
from typing import Any

Schema = dict[str, Any]

_OBJECTS = (
    "object dict dictionary map hashmap linkedhashmap treemap concurrenthashmap hashtable mapping record json "
    "jsonobject struct ordereddict defaultdict typeddict kwargs namedtuple"
)
_ARRAYS = (
    "array list tuple set frozenset sequence iterable collection arraylist linkedlist vector stack queue deque "
    "hashset linkedhashset treeset jsonarray slice args"
)
_STRINGS = (
    "string str text char character charsequence paragraph secret secret-input text-input date time datetime "
    "date-time timestamp uuid guid url uri email path filepath bytes symbol regexp localdate localdatetime"
)
_NUMBERS = "number float double decimal bigdecimal real numeric float32 float64 num"
_INTEGERS = (
    "integer int long short byte biginteger bigint int8 int16 int32 int64 uint uint8 uint16 uint32 uint64 unsigned"
)
_BOOLEANS = "boolean bool checkbox atomicboolean"
_NULLS = "null none nonetype void undefined nil"
_ANYTHING = "any anything mixed unknown dynamic enum union optional literal t ?"

KINDS: dict[str, str | None] = {
    **dict.fromkeys(_OBJECTS.split(), "object"),
    **dict.fromkeys(_ARRAYS.split(), "array"),
    **dict.fromkeys(_STRINGS.split(), "string"),
    **dict.fromkeys(_NUMBERS.split(), "number"),
    **dict.fromkeys(_INTEGERS.split(), "integer"),
    **dict.fromkeys(_BOOLEANS.split(), "boolean"),
    **dict.fromkeys(_NULLS.split(), "null"),
    **dict.fromkeys(_ANYTHING.split(), None),
    # Selections and files of Dify's editor.
    "select": "string",
    "file": "object",
    "system-files": "array",
    "files": "array",
}

_OPEN, _CLOSE = "<[({", ">])}"
_LIST_OF = re.compile(r"(?:array|list|tuple|set)s? of (.+)", re.IGNORECASE)
_OPTIONAL = re.compile(r"(?:\s*,\s*(?:optional|required|default\b.*)|\s*\(optional\))+$", re.IGNORECASE)


def read_type(text: str, depth: int = 0) -> Schema | None:
    """Read the name of a type: `HashMap`, `List[int]`, `Map<String, Long>`, `string[]`, `str | None`.

    Gives the keywords that say the same, none for a type that is anything; None for a name that nobody knows.
    """
    text = _OPTIONAL.sub("", text.strip())
    if depth > 16:
        return {}
    if len(parts := _split(text, "|")) > 1:
        return _union(parts, depth)
    if text.endswith("[]"):
        return _array([text[:-2]], depth)
    if text.endswith("?") and len(text) > 1:
        return _union([text[:-1], "null"], depth)
    if found := _LIST_OF.fullmatch(text):
        return _array([found[1]], depth)
    head, inner = _generic(text)
    name = head.strip().rpartition(".")[2].lower()
    if name in ("optional", "union"):
        return _union([*_split(inner, ","), *(["null"] if name == "optional" else [])], depth) if inner else {}
    if name not in KINDS:
        return None
    match kind := KINDS[name]:
        case None:
            return {}
        case "array":
            return _array(_split(inner, ","), depth)
        case "object":
            return _object(_split(inner, ","), depth)
        case _:
            return {"type": kind}


def _array(inner: list[str], depth: int) -> Schema:
    kinds = [read_type(each, depth + 1) for each in inner if each.strip(" .")]
    known = [kind for index, kind in enumerate(kinds) if kind and kind not in kinds[:index]]
    if not known or len([kind for kind in kinds if kind]) != len(kinds):
        return {"type": "array"}
    return {"type": "array", "items": known[0] if len(known) == 1 else {"anyOf": known}}


def _object(inner: list[str], depth: int) -> Schema:
    value = read_type(inner[1], depth + 1) if len(inner) == 2 else None
    return {"type": "object", "additionalProperties": value} if value else {"type": "object"}


def _union(parts: list[str], depth: int) -> Schema:
    kinds = [read_type(part, depth + 1) for part in parts]
    if not all(kinds):
        return {}
    known = [kind for index, kind in enumerate(kinds) if kind and kind not in kinds[:index]]
    return known[0] if len(known) == 1 else {"anyOf": known}


def _generic(text: str) -> tuple[str, str]:
    """Take `Name<inner>` apart, in any brackets."""
    for index, character in enumerate(text):
        if character in _OPEN:
            whole = text.endswith(_CLOSE[_OPEN.index(character)])
            return text[:index], text[index + 1 : -1] if whole else ""
    return text, ""


def _split(text: str, at: str) -> list[str]:
    """Split where no bracket is open."""
    parts, depth, start = list[str](), 0, 0
    for index, character in enumerate(text):
        if character in _OPEN:
            depth += 1
        elif character in _CLOSE:
            depth -= 1
        elif character == at and depth == 0:
            parts.append(text[start:index].strip())
            start = index + 1
    parts.append(text[start:].strip())
    return [part for part in parts if part]
