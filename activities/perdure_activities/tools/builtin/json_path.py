"""JSONPath, the part of RFC 9535 that people use: names, indexes, slices, `*`, `..` and simple filters.

$.a.b   $['a b'][0]   $.list[-1]   $.list[1:3]   $..name   $.list[*].id   $.list[?(@.price < 10)]   a.b[0]
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterator
from typing import Any, cast

_NAME = re.compile(r"[^\s.\[\]'\"()?@*,:=<>!&|]+")
_FILTER = re.compile(r"\?\s*\(?\s*@((?:\.[^\s.\[\]()=<>!]+|\[[^\]]*\])*)\s*(?:(==|!=|<=|>=|<|>|=~)\s*(.+?))?\s*\)?\s*$")
_SLICE = re.compile(r"(-?\d*):(-?\d*)(?::(-?\d*))?")
_MOST = 10_000
_MAX_PATH = 1_000

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

Step = Callable[[Any], Iterator[Any]]


class BadPath(Exception):
    """The path cannot be read."""


def select(value: Any, path: str) -> list[Any]:
    """Give all values that a path leads to, in order.

    Raises:
        BadPath: it cannot be read, or leads to too many.
    """
    found = [value]
    for step in _steps(path):
        found = [inner for each in found for inner in _limited(step(each))]
        if len(found) > _MOST:
            raise BadPath(f"it leads to more than {_MOST} values")
    return found


def _limited(values: Iterator[Any]) -> Iterator[Any]:
    for number, value in enumerate(values):
        if number > _MOST:
            raise BadPath(f"it leads to more than {_MOST} values")
        yield value


def _steps(path: str) -> list[Step]:
    text = path.strip()
    if len(text) > _MAX_PATH:
        raise BadPath(f"it is longer than {_MAX_PATH} characters")
    position = 1 if text.startswith("$") else 0
    steps: list[Step] = []
    while position < len(text):
        if text.startswith("..", position):
            steps.append(_everything)
            position += 2
            if text.startswith("[", position):
                continue
        elif text[position] == ".":
            position += 1
        if text.startswith("[", position):
            end = _closing(text, position)
            steps.append(_bracket(text[position + 1 : end].strip()))
            position = end + 1
        elif text.startswith("*", position):
            steps.append(_children)
            position += 1
        elif found := _NAME.match(text, position):
            steps.append(_named(found[0]))
            position = found.end()
        else:
            raise BadPath(f"{text[position : position + 20]!r} at character {position + 1} is no name, [..] or *")
    return steps


def _closing(text: str, start: int) -> int:
    depth, quote, position = 0, "", start
    while position < len(text):
        character = text[position]
        if quote:
            if character == "\\":
                position += 1
            elif character == quote:
                quote = ""
        elif character in "'\"":
            quote = character
        elif character == "[":
            depth += 1
        elif character == "]":
            depth -= 1
            if depth == 0:
                return position
        position += 1
    raise BadPath(f"the bracket at character {start + 1} is not closed")


def _bracket(inner: str) -> Step:
    if inner == "*":
        return _children
    if inner.startswith("?"):
        return _filter(inner)
    if found := _SLICE.fullmatch(inner):
        return _sliced(slice(*(int(part) if part else None for part in found.groups())))
    parts = re.findall(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[^,]+", inner)
    steps = [_one(part.strip()) for part in parts if part.strip()]
    if not steps:
        raise BadPath("a bracket is empty")
    return lambda value: (each for step in steps for each in step(value))


def _one(part: str) -> Step:
    if part[0] in "'\"":
        if len(part) < 2 or part[-1] != part[0]:
            raise BadPath(f"{part!r} is not closed")
        return _named(re.sub(r"\\(.)", r"\1", part[1:-1]))
    if re.fullmatch(r"-?\d{1,9}", part):
        return _indexed(int(part))
    return _named(part)


def _named(name: str) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, dict) and name in value:
            yield cast("dict[str, Any]", value)[name]
        elif isinstance(value, list) and name.lstrip("-").isdecimal():
            yield from _indexed(int(name))(cast("list[Any]", value))

    return step


def _indexed(index: int) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, list):
            items = cast("list[Any]", value)
            if -len(items) <= index < len(items):
                yield items[index]

    return step


def _sliced(part: slice) -> Step:
    if part.step == 0:
        raise BadPath("the step of a slice is 0")
    return lambda value: iter(cast("list[Any]", value)[part]) if isinstance(value, list) else iter(())


def _children(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from cast("dict[str, Any]", value).values()
    elif isinstance(value, list):
        yield from cast("list[Any]", value)


def _everything(value: Any) -> Iterator[Any]:
    waiting = [value]
    while waiting:
        each = waiting.pop()
        yield each
        waiting += reversed([*_children(each)])


def _filter(text: str) -> Step:
    found = _FILTER.match(text)
    if found is None:
        raise BadPath(f"the filter {text!r} is not like ?(@.name == 'value')")
    inner, sign, right = _steps(found[1]), found[2], found[3]
    wanted = _literal(right) if sign else None
    if sign == "=~":
        raise BadPath("regular expressions are not read in filters")

    def holds(value: Any) -> bool:
        values = [value]
        for step in inner:
            values = [each for one in values for each in step(one)]
        if not sign:
            return bool(values)
        try:
            return any(_COMPARE[sign](each, wanted) for each in values)
        except TypeError:
            return False

    return lambda value: (each for each in _children(value) if holds(each))


def _literal(text: str) -> Any:
    if len(text) > 1 and text[0] == "'" == text[-1]:
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    try:
        return json.loads(text)
    except ValueError:
        raise BadPath(f"{text!r} is no text in quotes, number, true, false or null") from None
