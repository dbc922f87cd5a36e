"""Take values out of JSON."""

from __future__ import annotations

import json
from typing import Annotated, Any, cast

from pydantic import Field, JsonValue

from ..custom import tool
from ..protocol import ToolFault
from .json_path import BadPath, select

_MAX_CHARS = 5_000_000


@tool(provider="json", label="JSON query", retry="safe")
def json_query(
    content: Annotated[JsonValue, Field(description="The JSON, as text or as it is.")] = None,
    path: Annotated[
        str, Field(description="JSONPath such as `$.items[0].name`, `$..price` or `$.books[?(@.price < 10)].title`.")
    ] = "$",
    json_filter: Annotated[str | None, Field(description="The same as path.")] = None,
    json_string: Annotated[str | None, Field(description="The same as content.")] = None,
) -> str:
    """Take values out of JSON by a path: one value as it is, several as a list."""
    given = json_string if content is None else content
    value = _read(given)
    try:
        found = select(value, json_filter or path)
    except BadPath as error:
        raise ToolFault("bad_arguments", f"the path {(json_filter or path)[:200]!r} cannot be read: {error}.") from None
    if not found:
        raise ToolFault("invoke", f"nothing is at {json_filter or path!r}. {_shape(value)}")
    several = len(found) > 1 or any(sign in path for sign in ("*", "..", "?", ":"))
    result = found if several else found[0]
    return result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)


def _read(given: JsonValue) -> Any:
    if not isinstance(given, str):
        return given
    if len(given) > _MAX_CHARS:
        raise ToolFault("bad_arguments", f"the JSON is longer than {_MAX_CHARS} characters.")
    try:
        return json.loads(given, strict=False)
    except json.JSONDecodeError as error:
        raise ToolFault(
            "bad_arguments", f"the content is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from None
    except (ValueError, RecursionError):
        raise ToolFault("bad_arguments", "the content is not JSON.") from None


def _shape(value: Any) -> str:
    if isinstance(value, dict):
        return f"The object has: {', '.join([*cast('dict[str, Any]', value)][:30])}."
    return f"It is a list of {len(cast('list[Any]', value))}." if isinstance(value, list) else f"It is {value!r:.50}."
