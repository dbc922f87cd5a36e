"""Typed values: the types of the Dify DSL over plain JSON data, their inference, checks and renderings.

A value is plain JSON data (None, bool, int, float, str, list, dict); its type is declared or inferred. A file is
an object that carries `dify_model_identity: "__dify__file__"`.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any, Literal, cast

FILE_IDENTITY = "__dify__file__"
MAX_VARIABLE_BYTES = 200 * 1024


class ValueType(StrEnum):
    """Types a value can have or a variable can be declared with."""

    NONE = "none"
    STRING = "string"
    INTEGER = "integer"
    FLOAT = "float"
    NUMBER = "number"
    BOOLEAN = "boolean"
    OBJECT = "object"
    FILE = "file"
    SECRET = "secret"  # noqa: S105 - the name of a type
    ARRAY_ANY = "array[any]"
    ARRAY_STRING = "array[string]"
    ARRAY_NUMBER = "array[number]"
    ARRAY_OBJECT = "array[object]"
    ARRAY_BOOLEAN = "array[boolean]"
    ARRAY_FILE = "array[file]"
    ANY = "any"

    @property
    def is_array(self) -> bool:
        """Whether values of the type are lists."""
        return self.value.startswith("array[")

    @property
    def item(self) -> ValueType:
        """Type of the items of an array type; `any` for `array[any]` and for non-arrays."""
        return ValueType(self.value[6:-1]) if self.is_array else ValueType.ANY


# The types that people may declare for outputs of code and for loop variables.
DataType = Literal[
    "string",
    "number",
    "object",
    "boolean",
    "array[string]",
    "array[number]",
    "array[object]",
    "array[boolean]",
]

NUMERIC = frozenset({ValueType.INTEGER, ValueType.FLOAT, ValueType.NUMBER})


def is_number(value: object) -> bool:
    """Whether the value is an int or a float (a bool is not)."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_file(value: object) -> bool:
    """Whether the value is a file object."""
    return isinstance(value, dict) and cast("dict[str, Any]", value).get("dify_model_identity") == FILE_IDENTITY


def infer_type(value: object) -> ValueType:
    """Infer the type of a plain value; lists of mixed items are `array[any]`."""
    match value:
        case None:
            return ValueType.NONE
        case bool():
            return ValueType.BOOLEAN
        case int():
            return ValueType.INTEGER
        case float():
            return ValueType.FLOAT
        case str():
            return ValueType.STRING
        case list():
            return _infer_list(cast("list[Any]", value))
        case _:
            return ValueType.FILE if is_file(value) else ValueType.OBJECT


def _infer_list(items: list[Any]) -> ValueType:
    kinds = {ValueType.NUMBER if (t := infer_type(item)) in NUMERIC else t for item in items}
    if len(kinds) != 1:
        return ValueType.ARRAY_ANY
    name = f"array[{kinds.pop()}]"
    return ValueType(name) if name in _ARRAYS else ValueType.ARRAY_ANY


_ARRAYS = frozenset(t.value for t in ValueType if t.is_array)


def parse_type(name: str) -> ValueType:
    """Read a declared type in any case (`Array[String]`, `Number`).

    Raises:
        ValueError: no such type.
    """
    return ValueType(name.strip().lower())


def matches(declared: ValueType, value: object) -> bool:
    """Whether a value fits a declared type. `None` fits none of them; `any` takes all."""
    if declared is ValueType.ANY:
        return True
    if declared is ValueType.SECRET:
        return isinstance(value, str)
    if declared is ValueType.OBJECT:
        return isinstance(value, dict)
    if declared.is_array:
        return isinstance(value, list) and all(matches(declared.item, i) for i in cast("list[Any]", value))
    kind = infer_type(value)
    return kind in NUMERIC if declared in NUMERIC else kind is declared


def zero(declared: ValueType) -> Any:
    """Give the value that "clear" leaves behind."""
    if declared.is_array:
        return []
    match declared:
        case ValueType.STRING | ValueType.SECRET:
            return ""
        case ValueType.INTEGER | ValueType.NUMBER:
            return 0
        case ValueType.FLOAT:
            return 0.0
        case ValueType.OBJECT:
            return {}
        case ValueType.BOOLEAN:
            return False
        case _:
            return None


def to_text(value: object) -> str:
    """Render for prompts, HTTP and conditions: objects as compact JSON, string arrays as JSON, others as Python."""
    match value:
        case None:
            return ""
        case str():
            return value
        case dict():
            return "" if is_file(cast("object", value)) else json.dumps(value, ensure_ascii=False)
        case list():
            return _list_text(cast("list[Any]", value))
        case _:
            return str(value)


def _list_text(items: list[Any]) -> str:
    if not items:
        return ""
    kind = _infer_list(items)
    if kind is ValueType.ARRAY_FILE:
        return ""
    if kind is ValueType.ARRAY_STRING:
        return json.dumps(items, ensure_ascii=False)
    return str(items)


def to_markdown(value: object) -> str:
    """Render for answers: objects as indented JSON, arrays as a bullet list, files as links."""
    match value:
        case dict():
            if is_file(cast("object", value)):
                return _file_markdown(cast("dict[str, Any]", value))
            return json.dumps(value, ensure_ascii=False, indent=2)
        case list():
            items = cast("list[Any]", value)
            if items and all(is_file(item) for item in items):
                return "\n".join(_file_markdown(item) for item in items)
            return "\n".join(f"- {item}" for item in items)
        case _:
            return to_text(value)


def _file_markdown(file: dict[str, Any]) -> str:
    name = file.get("filename") or ""
    url = file.get("url") or file.get("remote_url") or ""
    mark = "!" if file.get("type") == "image" else ""
    return f"{mark}[{name}]({url})"


_FILE_ATTRIBUTES = {
    "type": "type",
    "size": "size",
    "name": "filename",
    "mime_type": "mime_type",
    "transfer_method": "transfer_method",
    "url": "url",
    "extension": "extension",
    "related_id": "related_id",
}


def file_attribute(file: dict[str, Any], name: str) -> Any:
    """Read an attribute of a file by the name the DSL uses.

    Raises:
        KeyError: files have no such attribute.
    """
    value = file.get(_FILE_ATTRIBUTES[name])
    if name == "url" and not value:
        return file.get("remote_url")
    return value
