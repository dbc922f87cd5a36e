"""parameter-extractor: let a model read typed parameters out of a text."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from ..models import prompt
from ..models.asking import about, ask, cut, hidden, memo_of, shown, told
from ..models.drawn import MemoryConfig, ModelConfig, VisionConfig
from ..models.effects import InvokeModel, ModelAnswer
from ..models.extract import Parameter, call_shown, outputs, question, read, tool_of
from ..values import ValueType, to_text
from .base import Context, Done, Missing, NodeData, NodeType, Outcome, Perform


class ParameterExtractorData(NodeData):
    """Data of a parameter-extractor."""

    type: Literal["parameter-extractor"]
    model: ModelConfig
    query: tuple[str, ...]
    parameters: tuple[Parameter, ...] = ()
    instruction: str | None = None
    reasoning_mode: Literal["function_call", "prompt"] = "function_call"
    memory: MemoryConfig | None = None
    vision: VisionConfig | None = None

    @field_validator("reasoning_mode", mode="before")
    @classmethod
    def _empty_is_default(cls, value: object) -> object:
        return value or "function_call"

    @property
    def by_tool(self) -> bool:
        """Whether the model is to call a function; a completion model has none."""
        return self.reasoning_mode == "function_call" and self.model.kind == "chat"


def start(data: ParameterExtractorData, ctx: Context) -> Outcome:
    """Ask for the parameters of the query; a query that does not exist is empty."""
    value = ctx.get(data.query)
    query = "" if isinstance(value, Missing) else to_text(value)
    instruction = ctx.render(data.instruction or "")
    one_text = data.model.kind == "completion"
    messages = question(query, data.parameters, instruction, by_tool=data.by_tool, one_text=one_text)
    messages, files = prompt.with_vision(messages, data.vision, ctx)
    call = tool_of(data.parameters) if data.by_tool else None
    effect = ask(data.model, messages, data.memory, ctx, call=call)
    inputs = {
        "query": hidden(query, ctx),
        "files": files,
        "parameters": [parameter.model_dump(mode="json") for parameter in data.parameters],
        "instruction": data.instruction,
        **about(data.model),
    }
    return Perform(effect, inputs=inputs, memo={"prompts": shown(messages, ctx)})


def resume(data: ParameterExtractorData, ctx: Context, reply: ModelAnswer) -> Outcome:
    """Give what the model read; empty values and the reason where that cannot be used."""
    found = read(data.parameters, reply.text, reply.tool_calls)
    process = told(data.model, memo_of(ctx).get("prompts"), reply)
    process |= {
        "function": tool_of(data.parameters).model_dump(mode="json") if data.by_tool else {},
        "tool_call": call_shown(reply.tool_calls),
        "llm_text": cut(reply.text),
    }
    return Done(outputs=outputs(found, reply.usage.as_dify()), process_data=process)


def _outputs(data: ParameterExtractorData) -> dict[str, ValueType]:
    return {
        **{parameter.name: parameter.value_type for parameter in data.parameters},
        "__is_success": ValueType.NUMBER,
        "__reason": ValueType.STRING,
        "__usage": ValueType.OBJECT,
    }


NODE = NodeType(
    name="parameter-extractor",
    data=ParameterExtractorData,
    start=start,
    resume=resume,
    outputs=_outputs,
    effects=(InvokeModel,),
)
