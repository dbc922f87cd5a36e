"""Write values of parameters into paths, queries, headers and cookies, in the styles that OpenAPI has for them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast
from urllib.parse import quote, quote_plus

from ..protocol import ToolFault
from .parts import Parameter, Style

Pairs = list[tuple[str, str]]
Quote = Callable[[str], str]

_SEPARATORS: dict[Style, str] = {"spaceDelimited": "%20", "pipeDelimited": "%7C", "tabDelimited": "%09"}
# Of the reserved characters those that cannot end a value, or begin the next.
_RESERVED = "-._~:/?@!$'()*,;[]"


def text_of(value: Any) -> str:
    """Write one value as text; what lies within lists and objects is JSON."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case None:
            return "null"
        case _:
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def plain(text: str) -> str:
    """Quote all but letters, digits and `-._~`."""
    return quote(text.encode("utf-8", "replace"), safe="")


def form(text: str) -> str:
    """Quote as forms do: spaces are `+`."""
    return quote_plus(text.encode("utf-8", "replace"), safe="")


def _reserved(text: str) -> str:
    return quote(text.encode("utf-8", "replace"), safe=_RESERVED)


def in_path(parameter: Parameter, value: Any) -> str:
    """Write a value into a path.

    Raises:
        ToolFault: it would be nothing, so that the path would lead elsewhere.
    """
    text = _expanded(parameter, value, plain)
    if not text.strip(".;"):
        raise ToolFault(
            "bad_arguments", f"`{parameter.name}` is part of the path: give a value that is not empty, `.` or `..`."
        )
    return text


def in_header(parameter: Parameter, value: Any) -> str:
    """Write a value into a header.

    Raises:
        ToolFault: a header cannot carry it.
    """
    text = _expanded(parameter, value, lambda part: part)
    if not text.isprintable():
        raise ToolFault("bad_arguments", f"`{parameter.name}` is a header: give text without line breaks.")
    return text.strip()


def in_query(parameter: Parameter, value: Any) -> str:
    """Write a value into a query; empty where there is nothing to write."""
    quoted = _reserved if parameter.reserved else plain
    if parameter.media_type:
        return f"{plain(parameter.name)}={plain(_document(value))}"
    pairs = styled(parameter.name, value, parameter.style, parameter.explode, quoted)
    return "&".join(f"{plain(name)}={text}" for name, text in pairs)


def in_cookie(parameter: Parameter, value: Any) -> str:
    """Write a value into the Cookie header."""
    if parameter.media_type:
        return f"{parameter.name}={plain(_document(value))}"
    pairs = styled(parameter.name, value, "form", parameter.explode, plain)
    return "; ".join(f"{name}={text}" for name, text in pairs)


def styled(name: str, value: Any, style: Style, explode: bool, quoted: Quote) -> Iterator[tuple[str, str]]:
    """Write a value as names, not quoted yet, and texts, quoted."""
    if value is None:
        return
    if style == "deepObject" and isinstance(value, dict | list):
        for path, text in _deep(name, value):
            yield path, quoted(text)
    elif isinstance(value, list):
        texts = [quoted(text_of(one)) for one in cast("list[Any]", value) if one is not None]
        if explode:
            yield from ((name, text) for text in texts)
        elif texts:
            yield name, _SEPARATORS.get(style, ",").join(texts)
    elif isinstance(value, dict):
        members = _members(cast("dict[str, Any]", value))
        if explode:
            yield from ((key, quoted(text)) for key, text in members)
        elif members:
            yield name, _SEPARATORS.get(style, ",").join(quoted(part) for pair in members for part in pair)
    else:
        yield name, quoted(text_of(value))


def _deep(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Write `name[key]`, at any depth; lists by index, the one form that says which parts are one item's."""
    if isinstance(value, dict):
        for key, inner in cast("dict[str, Any]", value).items():
            yield from _deep(f"{name}[{key}]", inner)
    elif isinstance(value, list):
        for index, inner in enumerate(cast("list[Any]", value)):
            yield from _deep(f"{name}[{index}]", inner)
    elif value is not None:
        yield name, text_of(value)


def _expanded(parameter: Parameter, value: Any, quoted: Quote) -> str:
    """Write a value in the styles of paths and headers (those of RFC 6570)."""
    if parameter.media_type:
        return quoted(_document(value))
    name, explode = quoted(parameter.name), parameter.explode
    prefix, joint = {"label": (".", "."), "matrix": (";", ";")}.get(parameter.style, ("", ","))
    matrix = parameter.style == "matrix"
    match value:
        case list():
            texts = [quoted(text_of(one)) for one in cast("list[Any]", value) if one is not None]
            parts = [_named(name, text) for text in texts] if matrix and explode else texts
        case dict():
            members = [(quoted(key), quoted(text)) for key, text in _members(cast("Mapping[str, Any]", value))]
            parts = (
                [f"{key}={text}" for key, text in members] if explode else [part for pair in members for part in pair]
            )
        case None:
            return ""
        case _:
            text = quoted(text_of(value))
            return prefix + (_named(name, text) if matrix else text)
    if not parts:
        return ""
    whole = (joint if explode else ",").join(parts)
    return prefix + (f"{name}={whole}" if matrix and not explode else whole)


def _named(name: str, text: str) -> str:
    return f"{name}={text}" if text else name


def _members(value: Mapping[str, Any]) -> Pairs:
    return [(key, text_of(inner)) for key, inner in value.items() if inner is not None]


def _document(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
