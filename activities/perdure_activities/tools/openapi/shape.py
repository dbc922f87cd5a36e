"""An operation as a tool: one flat list of parameters, and where the value of each goes in the request."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from ..protocol import ParameterType, ToolParameter
from .keywords import cut
from .merging import ANNOTATIONS
from .parts import Media, Operation, Parameter
from .problems import BadSpec
from .schemas import FILE, Schema, Schemas, is_file
from .weight import Weights

MAX_CHARS = 16_000
BODY = "body"

_MAX_DESCRIPTION = 1000
# Depth of objects and length of descriptions; the first that fits is taken.
_LEVELS = ((10, 500), (7, 400), (5, 300), (4, 250), (3, 200), (2, 150), (1, 100), (1, 40), (0, 40), (0, 0))
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]+")
_BINARY = ("image/", "audio/", "video/", "font/")
_DOCUMENTS = frozenset({"application/octet-stream", "application/pdf", "application/zip", "application/gzip"})

BodyKind = Literal["json", "form", "multipart", "text", "file"]


@dataclass(frozen=True, slots=True)
class BodyLayout:
    """How the body is made. fields: argument -> field, of a body whose fields are arguments; None: `argument` is it.

    needs: fields that a body must have, also where it may be left out. open: whether there may be other fields.
    files: fields that are files. needed: whether there must be a body.
    """

    kind: BodyKind
    media: Media
    argument: str = BODY
    fields: Mapping[str, str] | None = None
    needs: tuple[str, ...] = ()
    needed: bool = False
    open: bool = False
    files: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Layout:
    """Where arguments go: those of `parameters` by name of the argument, the others into the body."""

    parameters: Mapping[str, Parameter]
    body: BodyLayout | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """What a model is shown of an operation. problems: of schemas that could not be shown."""

    description: str
    parameters: tuple[ToolParameter, ...]
    layout: Layout
    problems: tuple[BadSpec, ...] = ()


def shape_of(operation: Operation, weights: Weights, unneeded: frozenset[tuple[str, str]] = frozenset()) -> Shape:
    """Make an operation's parameters and layout. unneeded: places and names of what is sent as proof instead.

    Raises:
        BadSpec: one of its schemas is wrong.
    """
    return _Shaping(operation, weights, unneeded).shape()


class _Shaping:
    def __init__(self, operation: Operation, weights: Weights, unneeded: frozenset[tuple[str, str]]) -> None:
        self._operation = operation
        self._taken = [one for one in operation.parameters if (one.place, _folded(one.place, one.name)) not in unneeded]
        self._media = _chosen(operation)
        depth, self._words = self._level(weights)
        self._schemas = Schemas(operation.version, depth=depth, words=self._words)
        form = self._media is not None and kind_of(self._media) in ("form", "multipart")
        self._inner = Schemas(operation.version, depth=depth, words=self._words, files=form)

    def shape(self) -> Shape:
        named = _argument_names(self._taken)
        given = {name: self._schema(one) for name, one in named.items()}
        shown = [self._parameter(name, named[name], schema) for name, schema in given.items()]
        body, more = self._body(frozenset(named))
        problems = (*self._schemas.problems, *self._inner.problems)
        return Shape(self._description(), (*shown, *more), Layout(named, body), problems)

    def _level(self, weights: Weights) -> tuple[int, int]:
        schemas = [one.schema.value for one in self._taken if one.schema is not None]
        if self._media is not None:
            schemas += [self._media.schema.value] if self._media.schema is not None else []
            schemas += [one.schema.value for one in self._media.fields]
        for depth, words in _LEVELS:
            if sum(weights.weigh(one, depth, words) for one in schemas) <= MAX_CHARS:
                return depth, words
        return _LEVELS[-1]

    def _schema(self, parameter: Parameter) -> Schema:
        return {"type": "string"} if parameter.schema is None else _bounded(self._schemas.schema(parameter.schema))

    def _parameter(self, name: str, parameter: Parameter, schema: Schema) -> ToolParameter:
        words = cut(parameter.description or str(schema.get("description", "")), max(self._words, 60))
        if name != parameter.name:
            words = f"{words} (`{parameter.name}` in the {parameter.place}.)".strip()
        return tool_parameter(name, schema, required=parameter.required, description=words)

    def _body(self, taken: frozenset[str]) -> tuple[BodyLayout | None, list[ToolParameter]]:
        body, media = self._operation.body, self._media
        if body is None or media is None:
            return None, []
        kind = kind_of(media)
        schema = _bounded(self._body_schema(media, kind))
        flat = _flat(schema) if kind in ("json", "form", "multipart") else None
        names = None if flat is None else _field_names(list(flat))
        if flat is None or names is None or taken & names.keys():
            argument = next(name for name in (BODY, "request_body", "the_body", "body_") if name not in taken)
            words = cut(body.description or str(schema.get("description", "")), max(self._words, 60))
            if kind == "text" and "json" not in media.name:
                words = f"{words} (Text of type {media.name}.)".strip()
            layout = BodyLayout(kind, media, argument=argument, needed=body.required, files=_files_of(schema))
            return layout, [tool_parameter(argument, schema, required=body.required, description=words)]
        required = [str(name) for name in schema.get("required", ())]
        layout = BodyLayout(
            kind,
            media,
            fields=names,
            needs=tuple(required),
            needed=body.required,
            open=schema.get("additionalProperties") not in (None, False),
            files=_files_of(schema),
        )
        hint = "" if body.required else " (Needed where other fields of the body are given.)"
        return layout, [
            tool_parameter(
                name,
                flat[field],
                required=body.required and field in required,
                description=(_field_words(name, field, flat[field]) + (hint if field in required else "")).strip(),
            )
            for name, field in names.items()
        ]

    def _body_schema(self, media: Media, kind: BodyKind) -> Schema:
        if kind == "file":
            return FILE
        if media.fields:
            shown = {one.name: FILE if one.file else self._inner.schema(one.schema) for one in media.fields}
            for one in media.fields:
                if words := cut(one.schema.words("description"), self._words):
                    shown[one.name] = {**shown[one.name], "description": words}
            return {
                "type": "object",
                "properties": shown,
                "required": [one.name for one in media.fields if one.required],
            }
        if media.schema is None:
            return {"type": "string"} if kind == "text" else {}
        return self._inner.schema(media.schema)

    def _description(self) -> str:
        operation = self._operation
        summary, more = operation.summary, operation.description
        if more.startswith(summary.rstrip(".")):
            summary = ""
        words = "\n".join(part for part in (summary, more) if part) or f"{operation.method} {operation.path}"
        return cut(f"Deprecated. {words}" if operation.deprecated else words, _MAX_DESCRIPTION)


def _bounded(schema: Schema) -> Schema:
    """Give a schema, or only its kind where what was estimated was too little."""
    if len(json.dumps(schema, ensure_ascii=False)) <= 2 * MAX_CHARS:
        return schema
    words = "Too large to be shown; see the documentation of the API."
    return {**({"type": schema["type"]} if "type" in schema else {}), "description": words}


def tool_parameter(name: str, schema: Schema, *, required: bool, description: str) -> ToolParameter:
    """Make a parameter of a schema."""
    schema = {**schema, "description": description} if description else schema
    kind = _type_of(schema)
    options = tuple(schema["enum"]) if kind == "select" else ()
    return ToolParameter(
        name=name, type=kind, required=required, description=description, options=options, schema=schema
    )


def _type_of(schema: Schema) -> ParameterType:
    kind = schema.get("type")
    if kind == "string" and all(isinstance(one, str) for one in schema.get("enum", (None,))):
        return "select"
    if kind in ("string", "number", "integer", "boolean", "array", "object"):
        return cast("ParameterType", kind)
    return "any"


def _files_of(schema: Schema) -> frozenset[str]:
    properties = cast("dict[str, Schema]", schema.get("properties") or {})
    return frozenset(name for name, inner in properties.items() if _is_file(_not_null(inner)))


def _is_file(schema: Schema) -> bool:
    """Whether a converted schema is that of a file, or of a list of them; models too may name files."""
    inner = cast("Schema", schema.get("items") or {}) if schema.get("type") == "array" else schema
    return inner.get("type") == FILE["type"] and not inner.keys() - FILE.keys()


def _not_null(schema: Schema) -> Schema:
    """Give the one choice of a schema beside null."""
    choices = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    return choices[0] if len(choices) == 1 else schema


def _folded(place: str, name: str) -> str:
    return name.lower() if place == "header" else name


def argument_name(name: str) -> str:
    """Make a name that providers take for a parameter."""
    return _NOT_IN_NAMES.sub("_", name).strip("_")[:64] or "value"


def _argument_names(parameters: list[Parameter]) -> dict[str, Parameter]:
    """Name the arguments; of several with the same name those of the path keep it."""
    order = sorted(parameters, key=lambda one: one.place != "path")
    named: dict[str, Parameter] = {}
    for one in order:
        name = argument_name(one.name)
        for candidate in (name, f"{one.place}_{name}"[:64], *(f"{name[:60]}_{number}" for number in range(2, 1000))):
            if candidate not in named:
                named[candidate] = one
                break
    return {name: one for parameter in parameters for name, one in named.items() if one is parameter}


def _field_names(fields: list[str]) -> dict[str, str] | None:
    """Name the arguments of fields; None where two would be called the same."""
    names = {argument_name(field): field for field in fields}
    return names if len(names) == len(fields) else None


def _field_words(name: str, field: str, schema: Schema) -> str:
    words = str(schema.get("description", ""))
    return words if name == field else f"{words} (`{field}` in the body.)".strip()


def _flat(schema: Schema) -> dict[str, Schema] | None:
    """Give the properties of a schema that says nothing else."""
    more = schema.keys() - ANNOTATIONS - {"type", "properties", "required", "additionalProperties"}
    if more or schema.get("type") != "object" or isinstance(schema.get("additionalProperties"), dict):
        return None
    properties = cast("dict[str, Schema]", schema.get("properties") or {})
    unknown = [name for name in schema.get("required", ()) if name not in properties]
    return properties if properties and not unknown else None


def _chosen(operation: Operation) -> Media | None:
    if operation.body is None:
        return None
    order: tuple[BodyKind, ...] = ("json", "form", "multipart", "text", "file")
    return min(operation.body.media, key=lambda one: order.index(kind_of(one)))


def kind_of(media: Media) -> BodyKind:
    """Sort a media type into how it is written."""
    name = media.name.partition(";")[0].strip().lower()
    if name in ("application/json", "*/*", "application/*") or name.endswith("+json"):
        binary = name != "application/json" and media.schema is not None and is_file(media.schema.resolved())
        return "file" if binary else "json"
    if name == "application/x-www-form-urlencoded":
        return "form"
    if name.startswith("multipart/"):
        return "multipart"
    if name.startswith(_BINARY) or name in _DOCUMENTS:
        return "file"
    if media.schema is not None and is_file(media.schema.resolved()):
        return "file"
    return "text"
