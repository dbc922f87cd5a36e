"""question-classifier: let a model choose a branch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..models import prompt
from ..models.asking import about, ask, hidden, memo_of, shown, told
from ..models.classify import QuestionClass, chosen, question
from ..models.drawn import MemoryConfig, ModelConfig, VisionConfig
from ..models.effects import InvokeModel, ModelAnswer
from ..values import ValueType, to_text
from .base import Context, Done, Missing, NodeData, NodeType, Outcome, Perform


class QuestionClassifierData(NodeData):
    """Data of a question-classifier."""

    type: Literal["question-classifier"]
    query_variable_selector: tuple[str, ...]
    model: ModelConfig
    classes: tuple[QuestionClass, ...] = Field(min_length=1)
    instruction: str | None = None
    memory: MemoryConfig | None = None
    vision: VisionConfig | None = None


def start(data: QuestionClassifierData, ctx: Context) -> Outcome:
    """Ask for the category of the query; a query that does not exist is empty."""
    value = ctx.get(data.query_variable_selector)
    query = None if isinstance(value, Missing) else value
    names = [ctx.render(each.name) for each in data.classes]
    instruction = ctx.render(data.instruction or "")
    one_text = data.model.kind == "completion"
    messages = question(to_text(query), data.classes, names, instruction, one_text=one_text)
    messages, _ = prompt.with_vision(messages, data.vision, ctx)
    effect = ask(data.model, messages, data.memory, ctx)
    inputs = {"query": hidden(query, ctx) if isinstance(query, str) else query, **about(data.model)}
    return Perform(effect, inputs=inputs, memo={"prompts": shown(messages, ctx), "names": [*names]})


def resume(data: QuestionClassifierData, ctx: Context, reply: ModelAnswer) -> Outcome:
    """Take the branch that the model chose; the first one where its answer names none."""
    memo = memo_of(ctx)
    choice = chosen(reply.text, data.classes, memo["names"])
    return Done(
        outputs={
            "class_name": choice.name,
            "class_label": choice.label,
            "class_id": choice.id,
            "usage": reply.usage.as_dify(),
        },
        handle=choice.id,
        process_data=told(data.model, memo.get("prompts"), reply),
    )


def _outputs(_data: QuestionClassifierData) -> dict[str, ValueType]:
    return {
        "class_name": ValueType.STRING,
        "class_label": ValueType.STRING,
        "class_id": ValueType.STRING,
        "usage": ValueType.OBJECT,
    }


def _handles(data: QuestionClassifierData) -> tuple[str, ...]:
    return tuple(choice.id for choice in data.classes)


NODE = NodeType(
    name="question-classifier",
    data=QuestionClassifierData,
    start=start,
    resume=resume,
    outputs=_outputs,
    handles=_handles,
    role="branch",
    effects=(InvokeModel,),
    pinned_handle="class_id",
)
