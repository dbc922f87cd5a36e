"""Check what a caller gives a run against what the start node declares.

Inputs that nobody declared are dropped; every declared input is in the result, None when it was left out. All text
loses its NUL characters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from .errors import InvalidInputs
from .files import FileProblem, read_file
from .nodes.start import StartVariable

_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})


class _Wrong(Exception):
    """An input is not what is expected; the text says what was given and what is."""


def check_inputs(variables: Sequence[StartVariable], inputs: Mapping[str, Any], node: str) -> dict[str, Any]:
    """Check and convert the inputs of a run.

    Raises:
        InvalidInputs: the first input that does not fit; names the field, what was given and what is expected.
    """
    checked: dict[str, Any] = {}
    for variable in variables:
        try:
            checked[variable.variable] = _check(variable, inputs.get(variable.variable))
        except (_Wrong, FileProblem) as problem:
            text = f"node {node!r}, input {variable.variable!r}: {variable.variable} {problem}"
            raise InvalidInputs(text, node=node, field=variable.variable) from None
    return checked


def _check(variable: StartVariable, given: Any) -> Any:
    value = without_nul(given)
    if _blank(variable, value):
        value = None
    if value is None:
        if variable.required:
            options = f" of {list(variable.options)}" if variable.type == "select" else ""
            raise _Wrong(f"is required in input form: expected {variable.type}{options}, nothing was given")
        value = without_nul(variable.default)
        if value is None or _blank(variable, value):
            return None
    return _CHECKS[variable.type](variable, value)


def _blank(variable: StartVariable, value: Any) -> bool:
    """Whether a form left the field empty: "" is a text, but no file, no number and no choice."""
    if variable.type in ("text-input", "paragraph", "external_data_tool"):
        return False
    if variable.type == "select" and "" in variable.options:
        return False
    return isinstance(value, str) and not value.strip()


def _text(variable: StartVariable, value: Any) -> str:
    if not isinstance(value, str):
        raise _Wrong(f"in input form must be a string, got {_show(value)}")
    if variable.max_length and len(value) > variable.max_length:
        limit = variable.max_length
        raise _Wrong(f"in input form must be at most {limit} characters, got {len(value)} characters")
    return value


def _select(variable: StartVariable, value: Any) -> str:
    if not isinstance(value, str):
        raise _Wrong(f"in input form must be a string, got {_show(value)}")
    if value not in variable.options:
        expected = list(variable.options)
        raise _Wrong(f"in input form must be one of the following: {expected}, got {_show(value)}")
    return value


def _number(_variable: StartVariable, value: Any) -> int | float:
    number: Any = value
    if isinstance(value, str):
        try:
            number = float(value) if "." in value else int(value)
        except ValueError:
            raise _Wrong(f"in input form must be a valid number, got {_show(value)}") from None
    if isinstance(number, bool) or not isinstance(number, int | float) or not _finite(number):
        raise _Wrong(f"in input form must be a number, got {_show(value)}")
    return number


def _finite(number: float) -> bool:
    return isinstance(number, int) or math.isfinite(number)


def _checkbox(_variable: StartVariable, value: Any) -> bool:
    word = str(value).strip().lower() if isinstance(value, str | int) else ""
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise _Wrong(f"in input form must be true or false (or 1/0, yes/no, on/off), got {_show(value)}")


def _file(variable: StartVariable, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Wrong(f"in input form must be a file, got {_show(value)}")
    return read_file(
        cast("dict[str, Any]", value),
        types=variable.allowed_file_types,
        extensions=variable.allowed_file_extensions,
        methods=variable.allowed_file_upload_methods,
    )


def _files(variable: StartVariable, value: Any) -> list[dict[str, Any]]:
    items = cast("list[Any]", value if isinstance(value, list) else [None])
    if not all(isinstance(item, dict) for item in items):
        raise _Wrong(f"in input form must be a list of files, got {_show(cast('object', value))}")
    if variable.max_length and len(items) > variable.max_length:
        raise _Wrong(f"in input form must be at most {variable.max_length} files, got {len(items)} files")
    if variable.required and not items:
        raise _Wrong("is required in input form: expected file-list, got no file")
    return [_file(variable, item) for item in items]


def _object(variable: StartVariable, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Wrong(f"in input form must be a JSON object, got {_show(value)}")
    entries = cast("dict[str, Any]", value)
    if variable.json_schema is not None:
        _check_schema(variable.json_schema, entries)
    return entries


def _check_schema(schema: Mapping[str, Any], value: dict[str, Any]) -> None:
    # Imported late: most runs have no schema, and the library is slow to load.
    from jsonschema import Draft7Validator, SchemaError, ValidationError
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    # An empty registry keeps `$ref` from fetching anything over the network.
    registry: Registry[Any] = Registry()
    try:
        Draft7Validator.check_schema(schema)
        validator: Any = Draft7Validator(schema, registry=registry)
        validator.validate(value)
    except ValidationError as error:
        at = "".join(f"[{part!r}]" for part in error.absolute_path)
        raise _Wrong(f"in input form does not match its JSON schema: {error.message}{at and f' at {at}'}") from None
    except (SchemaError, Unresolvable) as error:
        raise _Wrong(f"in input form cannot be checked, its JSON schema is invalid: {error}") from None


def _anything(_variable: StartVariable, value: Any) -> Any:
    return value


_CHECKS: dict[str, Callable[[StartVariable, Any], Any]] = {
    "text-input": _text,
    "paragraph": _text,
    "select": _select,
    "number": _number,
    "checkbox": _checkbox,
    "file": _file,
    "file-list": _files,
    "json_object": _object,
    "external_data_tool": _anything,
}


def without_nul(value: Any) -> Any:
    """Drop NUL characters from all text in a value."""
    match value:
        case str():
            return value.replace("\x00", "")
        case list():
            return [without_nul(item) for item in cast("list[Any]", value)]
        case dict():
            entries = cast("dict[Any, Any]", value)
            return {without_nul(key): without_nul(item) for key, item in entries.items()}
        case _:
            return value


def _show(value: object) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 80 else text[:77] + '...'}"
