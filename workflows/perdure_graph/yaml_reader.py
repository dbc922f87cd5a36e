"""YAML and JSON text -> plain data, safely: what PyYAML's safe loader reads, minus what a graph never needs.

Dates stay text, `=` is text, keys are text and never double. Anything that could run code, grow without bound
or not be written as JSON again is refused with its line.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NoReturn, cast

import yaml
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

from .errors import InvalidGraph
from .report import Finding

MAX_BYTES = 10 * 1024 * 1024
MAX_DEPTH = 100
MAX_NODES = 1_000_000
MAX_ALIASED = 200_000
MAX_ALIASED_CHARS = MAX_BYTES
MAX_NUMBER_CHARS = 300

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_MERGE = object()
_constructor = SafeConstructor()


def _float(value: str) -> float:
    return _constructor.construct_yaml_float(yaml.ScalarNode(_TAG + "float", value))


def _int(value: str) -> int:
    return _constructor.construct_yaml_int(yaml.ScalarNode(_TAG + "int", value))


_SCALARS: dict[str, Callable[[str], Any]] = {
    _TAG + "null": lambda _: None,
    _TAG + "bool": lambda value: SafeConstructor.bool_values[value.lower()],
    _TAG + "int": _int,
    _TAG + "float": _float,
    _TAG + "str": str,
    _TAG + "timestamp": str,
    _TAG + "merge": lambda _: _MERGE,
}
_NUMBERS = frozenset({_TAG + "int", _TAG + "float"})
# What YAML 1.2 still reads as these.
_WORDS = {
    _TAG + "bool": re.compile(r"true|True|TRUE|false|False|FALSE"),
    _TAG + "int": re.compile(r"[-+]?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+"),
    _TAG + "float": re.compile(
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
    ),
}


@dataclass
class Reading:
    """The data of a document, and where in the text each part of it stands."""

    data: Any
    text: str = field(repr=False)

    def line_of(self, path: Sequence[str | int]) -> int | None:
        """Find the line of the part at `path`, or of the innermost part around it that exists."""
        node, line = self._root, None
        for part in path:
            match node, part:
                case yaml.MappingNode(), _:
                    found = _entry(node, str(part))
                case yaml.SequenceNode(), int() if 0 <= part < len(node.value):
                    found = node.value[part], node.value[part]
                case _:
                    found = None
            if found is None:
                break
            line = found[0].start_mark.line + 1
            node = found[1]
        return line

    @cached_property
    def _root(self) -> Any:
        try:
            return yaml.compose(self.text, Loader=_LOADER)
        except (yaml.YAMLError, ValueError):
            return None


def _entry(mapping: yaml.MappingNode, key: str) -> tuple[yaml.Node, yaml.Node] | None:
    return next((pair for pair in mapping.value if pair[0].value == key), None)


def read(
    source: str | bytes, *, plain_keys: bool = False, plain_words: bool = False, max_bytes: int = MAX_BYTES
) -> Reading:
    """Read one document.

    plain_keys: whether keys are the text that they are written as, so that `on:` is no boolean.
    plain_words: whether only what JSON takes for a boolean or a number is one (YAML 1.2), so that `no`, `12:30` and
        `007` are text.

    Raises:
        InvalidGraph: the text is not one plain YAML or JSON document within the limits; says the line.
    """
    text = _decoded(source, max_bytes)
    if text.lstrip()[:1] in ("{", "["):
        try:
            return Reading(_from_json(text), text)
        except (ValueError, RecursionError):
            pass  # YAML written in flow style, or JSON with a fault: the YAML reader knows the line
    builder = _Builder(plain_keys, plain_words)
    try:
        for event in cast("Iterator[Any]", yaml.parse(text, Loader=_LOADER)):
            builder.feed(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        _refuse(f"this is not YAML: {error.problem or error.context}.", mark.line + 1 if mark else None)
    except yaml.reader.ReaderError as error:
        before = text.encode()[: error.position]
        _refuse(f"a character is not allowed: {error.reason}.", before.count(b"\n") + 1, "Delete it.")
    except (yaml.YAMLError, ValueError) as error:
        _refuse(f"this is not YAML: {error}.")
    return Reading(builder.data, text)


def _refuse(message: str, line: int | None = None, next_step: str = "") -> NoReturn:
    finding = Finding(level="refused", message=message, line=line, next_step=next_step)
    raise InvalidGraph("The document cannot be read:", [finding])


def _decoded(source: str | bytes, max_bytes: int) -> str:
    limit = max_bytes // (1024 * 1024)
    if len(source) > max_bytes:
        _refuse(f"the document is larger than {limit} MB.", None, "Split it.")
    if isinstance(source, bytes):
        try:
            source = source.decode("utf-8")
        except UnicodeDecodeError as error:
            line = source[: error.start].count(b"\n") + 1
            _refuse("the document is not UTF-8 text.", line, "Save it as UTF-8.")
    try:
        size = len(source) if source.isascii() else len(source.encode("utf-8"))
    except UnicodeEncodeError as error:
        _refuse("the text has half of a surrogate pair.", source[: error.start].count("\n") + 1, "Delete it.")
    if size > max_bytes:
        _refuse(f"the document is larger than {limit} MB.", None, "Split it.")
    return source.removeprefix("\ufeff")


def _from_json(text: str) -> Any:
    """Parse JSON; a ValueError leaves the text to the YAML reader."""
    data = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    level: list[Any] = [data]
    nodes = 0
    for _ in range(MAX_DEPTH + 1):
        if not level:
            return data
        nodes += len(level)
        level = [child for value in level for child in _children(value)]
        if nodes > MAX_NODES:
            raise ValueError("too many values")
    raise ValueError("too deep")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        raise ValueError("a key occurs twice")
    for key in mapping:
        key.encode()
    return mapping


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _children(value: Any) -> list[Any]:
    match value:
        case dict():
            return list(cast("dict[str, Any]", value).values())
        case list():
            return cast("list[Any]", value)
        case str():
            value.encode()
        case int() | float():
            _check_number(value, None)
        case _:
            pass
    return []


def _check_number(value: float, line: int | None) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        _refuse("infinity and NaN are no JSON numbers.", line, "Put the text in quotes.")
    if isinstance(value, int) and value.bit_length() > MAX_NUMBER_CHARS * 3:
        _refuse("this number is too large.", line, "Put it in quotes.")


@dataclass(slots=True)
class _Size:
    """What a part amounts to once its aliases are written out."""

    nodes: int
    chars: int
    height: int


@dataclass(slots=True)
class _Open:
    """A mapping or list that is being read."""

    value: dict[str, Any] | list[Any]
    anchor: str | None
    nodes: int
    chars: int
    key: str | None = None
    merge_next: bool = False
    merged: dict[str, Any] | None = None
    height: int = 1


class _Builder:
    """Build data from parse events without recursion, counting what aliases would grow to."""

    def __init__(self, plain_keys: bool = False, plain_words: bool = False) -> None:
        self.plain_keys = plain_keys
        self.plain_words = plain_words
        self.data: Any = None
        self.stack: list[_Open] = []
        self.anchors: dict[str, tuple[Any, _Size]] = {}
        self.documents = 0
        self.nodes = self.chars = self.aliased = self.aliased_chars = 0

    def feed(self, event: Any) -> None:
        """Take the next event."""
        line = event.start_mark.line + 1
        match event:
            case yaml.ScalarEvent():
                self._scalar(event, line)
            case yaml.MappingStartEvent():
                self._open({}, "map", event, line)
            case yaml.SequenceStartEvent():
                self._open([], "seq", event, line)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._close(line)
            case yaml.AliasEvent():
                self._alias(event.anchor, line)
            case yaml.DocumentStartEvent():
                self.documents += 1
                if self.documents > 1:
                    _refuse("the text holds more than one document.", line, "Keep one per file.")
            case _:
                pass

    def _scalar(self, event: Any, line: int) -> None:
        self._count(1, len(event.value), line)
        value = _scalar_value(event, line, self.plain_words)
        if self.plain_keys and value is not _MERGE and self._at_key():
            value = event.value
        if event.anchor:
            if value is _MERGE:
                _refuse("a merge key cannot have an anchor.", line)
            self.anchors[event.anchor] = (value, _Size(1, len(event.value), 0))
        self._put(value, line, 0)

    def _open(self, value: dict[str, Any] | list[Any], kind: str, event: Any, line: int) -> None:
        if event.tag not in (None, "!", _TAG + kind):
            _refuse(f"the tag {event.tag!r} is not allowed.", line, "Delete the tag.")
        if len(self.stack) >= MAX_DEPTH:
            _refuse(f"the document is nested deeper than {MAX_DEPTH} levels.", line)
        self._expect_value(line)
        if event.anchor:
            # forgets an earlier anchor of the same name, so that an alias within itself is not found
            self.anchors.pop(event.anchor, None)
        self.stack.append(_Open(value, event.anchor, self.nodes, self.chars))
        self._count(1, 0, line)

    def _close(self, line: int) -> None:
        done = self.stack.pop()
        if done.merged and isinstance(done.value, dict):
            for key, value in done.merged.items():
                done.value.setdefault(key, value)
        if done.anchor:
            size = _Size(self.nodes - done.nodes, self.chars - done.chars, done.height)
            self.anchors[done.anchor] = (done.value, size)
        self._put(done.value, line, done.height)

    def _alias(self, anchor: str | None, line: int) -> None:
        known = self.anchors.get(anchor or "")
        if known is None:
            _refuse(f"the alias {anchor!r} refers to no anchor before it.", line)
        value, size = known
        self.aliased += size.nodes
        self.aliased_chars += size.chars
        if self.aliased > MAX_ALIASED or self.aliased_chars > MAX_ALIASED_CHARS:
            _refuse("the aliases of the document grow beyond all measure.", line, "Write the parts out.")
        if len(self.stack) + size.height > MAX_DEPTH:
            _refuse(f"the document is nested deeper than {MAX_DEPTH} levels.", line)
        self._count(size.nodes, size.chars, line)
        self._put(value, line, size.height)

    def _count(self, nodes: int, chars: int, line: int) -> None:
        self.nodes += nodes
        self.chars += chars
        if self.nodes - self.aliased > MAX_NODES:
            _refuse(f"the document has more than {MAX_NODES} values.", line, "Split it.")

    def _at_key(self) -> bool:
        top = self.stack[-1] if self.stack else None
        return top is not None and isinstance(top.value, dict) and top.key is None and not top.merge_next

    def _expect_value(self, line: int) -> None:
        if self._at_key():
            _refuse("a key must be text, not a list or a mapping.", line)

    def _put(self, value: Any, line: int, height: int) -> None:
        if not self.stack:
            self.data = _plain(value)
            return
        top = self.stack[-1]
        top.height = max(top.height, height + 1)
        if isinstance(top.value, list):
            top.value.append(_plain(value))
        elif top.merge_next:
            top.merge_next = False
            top.merged = _merge_sources(value, line)
        elif top.key is None:
            self._put_key(top, value, line)
        else:
            top.value[top.key] = _plain(value)
            top.key = None

    def _put_key(self, top: _Open, key: Any, line: int) -> None:
        if key is _MERGE:
            if top.merged is not None:
                _refuse("the key '<<' occurs twice.", line, "Delete one of them.")
            top.merge_next = True
        elif not isinstance(key, str):
            _refuse(f"a key must be text, not {json.dumps(key)}.", line, "Put it in quotes.")
        elif key in top.value:
            _refuse(f"the key {key!r} occurs twice.", line, "Delete one of them.")
        else:
            top.key = key


def _plain(value: Any) -> Any:
    return "<<" if value is _MERGE else value


def _merge_sources(value: Any, line: int) -> dict[str, Any]:
    sources: list[Any] = cast("list[Any]", value) if isinstance(value, list) else [value]
    merged: dict[str, Any] = {}
    for source in sources:
        if not isinstance(source, dict):
            _refuse("'<<' merges mappings only.", line)
        for key, item in cast("dict[str, Any]", source).items():
            merged.setdefault(key, item)
    return merged


def _scalar_value(event: Any, line: int, plain_words: bool) -> Any:
    value: str = event.value
    tag: str = event.tag if event.tag not in (None, "!") else _implicit_tag(event)
    if plain_words and event.tag is None and tag in _WORDS and not _WORDS[tag].fullmatch(value):
        tag = _TAG + "str"
    make = _SCALARS.get(tag)
    if make is None:
        _refuse(f"the tag {tag!r} is not allowed: only plain data is.", line, "Delete the tag.")
    if tag in _NUMBERS and len(value) > MAX_NUMBER_CHARS:
        _refuse("this number is too large.", line, "Put it in quotes.")
    try:
        result = make(value)
    except (ValueError, LookupError, OverflowError):
        name = tag.removeprefix(_TAG)
        _refuse(f"{value!r} is no valid {name}.", line, "Put it in quotes if it is text.")
    if tag in _NUMBERS:
        _check_number(result, line)
    elif isinstance(result, str) and not result.isascii():
        try:
            result.encode()
        except UnicodeEncodeError:
            _refuse("the text has half of a surrogate pair.", line, "Delete it.")
    return result


def _implicit_tag(event: Any) -> str:
    if not event.implicit[0]:
        return _TAG + "str"
    resolvers: dict[str, list[tuple[str, Any]]] = Resolver.yaml_implicit_resolvers
    for tag, pattern in resolvers.get(event.value[:1], ()):
        if tag in _SCALARS and pattern.match(event.value):
            return tag
    return _TAG + "str"
