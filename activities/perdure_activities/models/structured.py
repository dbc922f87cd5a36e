"""Structured output: how a model is asked for an object, and how its answer is read.

    how       native, by a forced tool, or by words in the prompt: the best that the model can do
    instruct  the words
    read      the object, which is valid by the schema that the graph states, however it was asked for

`schemas` has the forms of a schema, `schema_fit` what it says of a value; `stream.tool_answer` makes the arguments of
the forced tool the text of the answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal, cast

from pydantic import JsonValue

from perdure_graph.loose_json import parsed, repaired, too_deep
from perdure_graph.models.messages import AnswerSchema, Message, SystemMessage, ToolSpec

from .protocol import ModelFault, Wire
from .schema_fit import Misfit, misfit, without_nulls
from .schemas import is_closed, plain_schema
from .thinking import split

How = Literal["native", "tool", "text"]

_MAX_CHARS = 1024 * 1024
_MAX_BLOCKS = 20

_NO_NAME_CHARS = re.compile(r"[^A-Za-z0-9_-]")
_FENCED = re.compile(r"```[\w+-]*[ \t]*\r?\n(.*?)(?:\n[ \t]*```|\Z)", re.DOTALL)


def how(features: Collection[str], wire: Wire, schema: Mapping[str, Any] | None = None) -> How:
    """Choose how a model is asked for an object.

    schema: of the object. Anthropic's native way takes objects only whose properties are all known.
    """
    native = wire != "anthropic-messages" or schema is None or is_closed(schema)
    if "structured-output" in features and native:
        return "native"
    if "tool-choice" in features and ("tool-call" in features or "multi-tool-call" in features):
        return "tool"
    return "text"


def plain_answer(answer: AnswerSchema) -> AnswerSchema:
    """Put the schema of an answer, as Dify's editor writes it, into JSON Schema."""
    return answer.model_copy(update={"schema_": plain_schema(answer.schema_)})


def instruct(messages: tuple[Message, ...], schema: Mapping[str, Any]) -> tuple[Message, ...]:
    """Tell the model in words what its answer must look like, before all else that the system message says."""
    words = (
        "Answer with one JSON object and nothing else: no explanation, no code fence. It must be valid by this JSON "
        f"Schema:\n{json.dumps(plain_schema(schema), ensure_ascii=False)}"
    )
    for place, message in enumerate(messages):
        if isinstance(message, SystemMessage):
            system = message.model_copy(update={"text": f"{words}\n\n{message.text}"})
            return (*messages[:place], system, *messages[place + 1 :])
    return (SystemMessage(text=words), *messages)


def answer_name(answer: AnswerSchema) -> str:
    """Give the name of an answer as providers allow it."""
    return _NO_NAME_CHARS.sub("_", answer.name)[:64] or "answer"


def answer_tool(answer: AnswerSchema) -> ToolSpec:
    """Make the tool whose arguments are the answer."""
    return ToolSpec(name=answer_name(answer), description="Give the answer.", parameters=plain_schema(answer.schema_))


def read(text: str, schema: Mapping[str, Any], *, cut: bool = False) -> dict[str, JsonValue]:
    """Read the object in an answer: JSON, else that of a code fence, else repaired JSON; always valid by `schema`.

    cut: the answer reached its limit of length; what is missing is not made up.

    Raises:
        ModelFault: protocol_error, there is no such object; bad_request, the schema is none.
    """
    if len(text) > _MAX_CHARS:
        raise _unfit(f"it is longer than {_MAX_CHARS} characters", text)
    form = plain_schema(schema)
    first: Misfit | None = None
    for value in _objects(text, repair=not cut):
        if (wrong := misfit(value, form)) is None:
            return value
        if wrong.in_schema:
            raise ModelFault("bad_request", f"the schema of the structured output is no JSON Schema: {wrong}")
        first = first or wrong
        if (pruned := without_nulls(value, form)) != value and misfit(pruned, form) is None:
            return pruned
    if first is not None:
        raise _unfit(str(first), text)
    why = "it was cut off at the limit of its length; raise max_tokens" if cut else "it holds no JSON object"
    raise _unfit(why, text)


def _unfit(why: str, text: str) -> ModelFault:
    shown = text.strip()[:200]
    said = f" (it begins {shown!r})" if shown else " (it is empty)"
    return ModelFault(
        "protocol_error", f"the answer is not the object that was asked for: {why}{said}", maybe_billed=True
    )


def _objects(text: str, *, repair: bool) -> Iterator[dict[str, JsonValue]]:
    """Give the objects that a text may mean, the likeliest first."""
    plain = text if "<think" not in text.lower() else split(text)[0]
    blocks = [found[1] for _, found in zip(range(_MAX_BLOCKS), _FENCED.finditer(plain), strict=False)]
    for source in (text, plain, *blocks):
        yield from _parsed(source)
    if not repair:
        return
    for source in (*blocks, plain):
        yield from _repaired(source)


def _parsed(text: str) -> Iterator[dict[str, JsonValue]]:
    try:
        value = parsed(text)
    except (ValueError, RecursionError):
        return
    yield from _fit(value)


def _repaired(text: str) -> Iterator[dict[str, JsonValue]]:
    value = repaired(text) if "{" in text else None
    # Several objects in a row come back as a list of them.
    yield from _fit(value)
    if isinstance(value, list):
        for item in cast("list[Any]", value)[:_MAX_BLOCKS]:
            yield from _fit(item)


def _fit(value: Any) -> Iterator[dict[str, JsonValue]]:
    if not isinstance(value, dict) or too_deep(value):
        return
    # A lone surrogate is proper JSON, and fits into no payload: it would hang the run instead of failing it.
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except ValueError:
        return
    yield cast("dict[str, JsonValue]", value)
