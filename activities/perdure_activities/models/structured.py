"""Structured output: how a model is asked for an object, and how its answer is read.

    how       native, by a forced tool, or by words in the prompt: the best that the model can do
    instruct  the words
    by_tool   the arguments of the forced tool take the place of the text
    read      the object, which is valid by the schema that the graph states, however it was asked for

`schemas` has the forms of a schema, `schema_fit` what it says of a value.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Collection, Iterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Literal, cast

from pydantic import JsonValue

from perdure_graph.models.messages import AnswerSchema, Message, SystemMessage, ToolSpec

from .protocol import Delta, Finished, ModelFault, TextDelta, ToolCallDelta, Wire
from .schema_fit import Misfit, misfit, without_nulls
from .schemas import is_closed, plain_schema, strict_schema
from .thinking import split

__all__ = ["How", "answer_tool", "by_tool", "how", "instruct", "plain_answer", "read", "strict_schema"]

How = Literal["native", "tool", "text"]

_MAX_CHARS = 1024 * 1024
_MAX_DEPTH = 64
# The repair backtracks at each bracket: 100 KB of them took it over ten minutes, which blocks the worker.
_MAX_REPAIR_CHARS = 100_000
_MAX_REPAIR_WORK = 1_000_000
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


def answer_tool(answer: AnswerSchema) -> ToolSpec:
    """Make the tool whose arguments are the answer; its name is the answer's, as providers allow it."""
    name = _NO_NAME_CHARS.sub("_", answer.name)[:64] or "answer"
    return ToolSpec(name=name, description="Give the answer.", parameters=plain_schema(answer.schema_))


async def by_tool(deltas: AsyncGenerator[Delta], answer: AnswerSchema) -> AsyncGenerator[Delta]:
    """Put the arguments of the answer's tool in the place of the text; other calls stay what they are.

    What the model says around its call is no part of the answer. Where it does not call the tool, its text is given.
    """
    name = answer_tool(answer).name
    slot: int | None = None
    others: set[int] = set()
    spare: set[int] = set()
    said: list[TextDelta] = []
    async with aclosing(deltas):
        async for delta in deltas:
            match delta:
                case TextDelta():
                    if slot is None:
                        said.append(delta)
                case ToolCallDelta() if delta.slot in others:
                    yield delta
                case ToolCallDelta() if slot in {None, delta.slot} and delta.name in {name, ""}:
                    slot = delta.slot
                    if delta.arguments:
                        yield TextDelta(delta.arguments)
                case ToolCallDelta() if delta.slot in spare or delta.name == name:
                    spare.add(delta.slot)
                case ToolCallDelta():
                    others.add(delta.slot)
                    yield delta
                case Finished():
                    if slot is None:
                        for piece in said:
                            yield piece
                    done = slot is not None and not others and delta.finish == "tool_calls"
                    yield replace(delta, finish="stop") if done else delta
                case _:
                    yield delta


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
        value = json.loads(text, strict=False, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return
    yield from _fit(value)


def _repaired(text: str) -> Iterator[dict[str, JsonValue]]:
    work = len(text) * (text.count("{") + text.count("["))
    if "{" not in text or len(text) > _MAX_REPAIR_CHARS or work > _MAX_REPAIR_WORK:
        return
    from json_repair import repair_json

    try:
        value = json.loads(repair_json(text, skip_json_loads=True), strict=False, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return
    # Several objects in a row come back as a list of them.
    yield from _fit(value)
    if isinstance(value, list):
        for item in cast("list[Any]", value)[:_MAX_BLOCKS]:
            yield from _fit(item)


def _fit(value: Any) -> Iterator[dict[str, JsonValue]]:
    if not isinstance(value, dict) or _depth(value) > _MAX_DEPTH:
        return
    # A lone surrogate is proper JSON, and fits into no payload: it would hang the run instead of failing it.
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except ValueError:
        return
    yield cast("dict[str, JsonValue]", value)


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level and depth <= _MAX_DEPTH:
        depth += 1
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner += cast("dict[str, Any]", item).values()
            elif isinstance(item, list):
                inner += cast("list[Any]", item)
        level = inner
    return depth


def _no_constant(name: str) -> JsonValue:
    raise ValueError(f"{name} is no JSON")
