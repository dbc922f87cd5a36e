"""What both OpenAI wires send in the same way: files, schemas, users. Pure."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any, cast

from perdure_graph.models.messages import AnswerSchema, FilePart, ToolCall

from .files import key_of
from .protocol import LoadedFile, ModelCall, ModelFault
from .schemas import is_closed, strict_schema
from .structured import answer_name

# Of parameters, what is no field of the request: what it stands for is made of the call itself.
NOT_SENT = frozenset(
    {"json_schema", "response_format", "stop", "stream", "stream_options", "messages", "input", "model"}
)


def loaded(call: ModelCall, part: FilePart) -> LoadedFile:
    """Give the file of a part.

    Raises:
        ModelFault: it was not read.
    """
    key = key_of(part.file)
    if (found := call.files.get(key)) is None:
        raise ModelFault("bad_request", f"the {part.kind} {key!r} of a message was not loaded before the call")
    return found


def data_url(file: LoadedFile) -> str:
    """Give the URL of a file, or its bytes as one."""
    if file.content is None:
        return file.url or ""
    return f"data:{file.media_type};base64,{in_base64(file)}"


def in_base64(file: LoadedFile) -> str:
    """Give the bytes of a file.

    Raises:
        ModelFault: there is only its URL.
    """
    if file.content is None:
        raise ModelFault("bad_request", f"{file.name!r} is known by its URL only, but must be sent whole")
    return base64.b64encode(file.content).decode("ascii")


def answer_format(answer: AnswerSchema) -> dict[str, Any]:
    """Describe structured output, in the form that the provider can enforce where the schema has one.

    What may be left out is null there; `structured.read` takes that out again.
    """
    name, schema = answer_name(answer), answer.schema_
    if is_strict(schema):
        return {"name": name, "schema": schema, "strict": True}
    if is_closed(schema):
        return {"name": name, "schema": strict_schema(schema), "strict": True}
    return {"name": name, "schema": schema, "strict": False}


def is_strict(schema: object) -> bool:
    """Whether a schema keeps to strict mode: objects are closed, and all of their properties required."""
    if isinstance(schema, list):
        return all(is_strict(part) for part in cast("list[object]", schema))
    if not isinstance(schema, dict):
        return True
    schema = cast("dict[str, Any]", schema)
    if schema.get("type") == "object" or "properties" in schema:
        names = set(schema.get("properties") or ())
        if schema.get("additionalProperties") is not False or set(schema.get("required") or ()) != names:
            return False
    inner = ("properties", "$defs", "definitions")
    parts = [part for name in inner for part in cast("dict[str, Any]", schema.get(name) or {}).values()]
    parts += [schema[name] for name in ("items", "anyOf", "allOf", "oneOf", "prefixItems") if name in schema]
    return all(is_strict(part) for part in parts)


def asked_format(call: ModelCall) -> dict[str, Any] | None:
    """Read what the parameters `response_format` and `json_schema` ask for, as Dify's declarations name them."""
    asked = call.parameters.get("response_format")
    if isinstance(asked, dict):
        return dict(asked)
    if not isinstance(asked, str):
        return None
    match asked.lower():
        case "json" | "json_object":
            return {"type": "json_object"}
        case "json_schema":
            return {"type": "json_schema", "json_schema": _schema_parameter(call)}
        case _:
            return None


def _schema_parameter(call: ModelCall) -> dict[str, Any]:
    schema: object = call.parameters.get("json_schema")
    if isinstance(schema, str):
        try:
            schema = json.loads(schema)
        except ValueError as error:
            raise ModelFault("bad_request", f"the parameter `json_schema` is no JSON: {error}") from None
    if not isinstance(schema, dict):
        raise ModelFault("bad_request", "the parameter `json_schema` must be given where the format is `json_schema`")
    schema = cast("dict[str, Any]", schema)
    # Both are in use: the schema itself, and the API's wrapper of it with a name.
    return schema if "schema" in schema else answer_format(AnswerSchema(schema=schema))


def sent_arguments(part: ToolCall) -> str:
    """Give the arguments of a call back. Servers read them, so what is no object is left out."""
    try:
        value = json.loads(part.arguments)
    except (ValueError, RecursionError):
        return "{}"
    return part.arguments if isinstance(value, dict) else "{}"


def pseudonym(user: str) -> str:
    """Give a user a name that tells users apart but not who they are."""
    return hashlib.sha256(user.encode()).hexdigest()
