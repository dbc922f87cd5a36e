"""answer: render a template into the answer of the run."""

from __future__ import annotations

from typing import Any, Literal, cast

from ..templates import references, split
from ..values import ValueType, is_file
from .base import Context, Done, NodeData, NodeType, Outcome


class AnswerData(NodeData):
    """Data of an answer."""

    type: Literal["answer"]
    answer: str


def start(data: AnswerData, ctx: Context) -> Outcome:
    """Render the text and list the files that the template names."""
    return Done(outputs={"answer": ctx.render_markdown(data.answer), "files": _files(data.answer, ctx)})


def _files(template: str, ctx: Context) -> list[dict[str, Any]]:
    files: list[dict[str, Any]] = []
    for selector in references(template):
        value = ctx.get(selector)
        candidates = cast("list[Any]", value if isinstance(value, list) else [value])
        files += [item for item in candidates if is_file(item)]
    return files


def _outputs(_data: AnswerData) -> dict[str, ValueType]:
    return {"answer": ValueType.STRING, "files": ValueType.ARRAY_FILE}


def _segments(data: AnswerData) -> list[str | tuple[str, ...]]:
    return split(data.answer)


NODE = NodeType(name="answer", data=AnswerData, start=start, outputs=_outputs, segments=_segments, role="response")
