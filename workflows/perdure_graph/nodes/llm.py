"""llm: ask a model; its text is the answer, streamed while it is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, cast

from pydantic import JsonValue, field_validator

from ..effects import Rendered, RenderTemplate
from ..errors import NodeError
from ..models import prompt
from ..models.asking import about, ask, cut, hidden, memo_of, shown, told
from ..models.drawn import Drawn, MemoryConfig, ModelConfig, VisionConfig
from ..models.effects import InvokeModel, ModelAnswer
from ..models.messages import AnswerSchema, Message, TextPart, UserMessage
from ..plain_template import fill as fill_plain
from ..values import ValueType
from .base import Context, Done, Missing, NodeData, NodeType, Outcome, Perform
from .template_transform import NamedSelector


class Written(Drawn):
    """A text of a prompt; `edition_type` says which of the two counts."""

    text: str = ""
    edition_type: str = ""
    jinja2_text: str = ""

    @property
    def jinja(self) -> str | None:
        """The Jinja2 template, where it is one."""
        return self.jinja2_text if self.edition_type == "jinja2" else None


class ChatMessage(Written):
    """A message of the prompt."""

    role: Literal["system", "user", "assistant"]


class CompletionPrompt(Written):
    """The prompt of a completion model."""


class PromptConfig(Drawn):
    """Variables of Jinja2 messages."""

    jinja2_variables: tuple[NamedSelector, ...] = ()


class ContextConfig(Drawn):
    """The variable inserted at `{{#context#}}`."""

    enabled: bool = False
    variable_selector: tuple[str, ...] = ()


class LlmData(NodeData):
    """Data of an llm."""

    type: Literal["llm"]
    model: ModelConfig
    prompt_template: tuple[ChatMessage, ...] | CompletionPrompt
    prompt_config: PromptConfig = PromptConfig()
    context: ContextConfig = ContextConfig()
    memory: MemoryConfig | None = None
    vision: VisionConfig = VisionConfig()
    structured_output: dict[str, JsonValue] | None = None
    structured_output_enabled: bool = False
    structured_output_switch_on: bool = False
    reasoning_format: Literal["tagged", "separated"] = "tagged"

    @field_validator("prompt_config", "context", "vision", "reasoning_format", mode="before")
    @classmethod
    def _null_is_default(cls, value: object, info: Any) -> object:
        return cls.model_fields[info.field_name].default if value is None else value

    @field_validator("structured_output_enabled", "structured_output_switch_on", mode="before")
    @classmethod
    def _null_is_off(cls, value: object) -> object:
        return False if value is None else value

    @property
    def texts(self) -> tuple[Written, ...]:
        """The texts of the prompt, in order."""
        return (self.prompt_template,) if isinstance(self.prompt_template, CompletionPrompt) else self.prompt_template

    @property
    def structured(self) -> bool:
        """Whether the answer is to be an object."""
        wanted = self.structured_output_enabled or self.structured_output_switch_on
        return wanted and self.structured_output is not None


def start(data: LlmData, ctx: Context) -> Outcome:
    """Put the prompt together and ask; texts that need the template engine are rendered first."""
    return _go_on(data, ctx, {})


def resume(data: LlmData, ctx: Context, reply: Rendered | ModelAnswer) -> Outcome:
    """Go on with a rendered text, or give the answer."""
    memo = memo_of(ctx)
    if isinstance(reply, Rendered):
        return _go_on(data, ctx, {**memo["rendered"], memo["next"]: reply.text})
    outputs: dict[str, Any] = {
        "text": _text(reply),
        "reasoning_content": reply.reasoning if data.reasoning_format == "separated" else "",
        "usage": reply.usage.as_dify(),
        "finish_reason": reply.finish,
    }
    if data.structured:
        if reply.structured is None:
            why = f"the model refused: {reply.refusal}" if reply.refusal else f"its answer ended with {reply.finish!r}"
            raise NodeError(f"Structured output is missing: {why}.", "LLMNodeError")
        outputs["structured_output"] = reply.structured
    if reply.files:
        outputs["files"] = list(reply.files)
    process = told(data.model, memo.get("prompts"), reply)
    cited = memo.get("cited")
    return Done(outputs=outputs, process_data=process | ({"retriever_resources": cited} if cited else {}))


def _text(reply: ModelAnswer) -> str:
    if not reply.text and reply.refusal:
        return reply.refusal
    if not reply.text and reply.structured is not None:
        return json.dumps(reply.structured, ensure_ascii=False)
    return reply.text


def _go_on(data: LlmData, ctx: Context, rendered: Mapping[str, str]) -> Outcome:
    """Render the next text that is a template, or ask. `rendered` are those that are, by their place."""
    ready = dict(rendered)
    variables = _jinja_variables(data, ctx)
    for place, text in enumerate(data.texts):
        if text.jinja is None or str(place) in ready:
            continue
        plain = fill_plain(text.jinja, variables)
        if plain is None:
            effect = RenderTemplate(template=text.jinja, variables=variables, max_chars=ctx.limits.text_chars)
            return Perform(effect, memo={"rendered": dict(rendered), "next": str(place)})
        ready[str(place)] = plain
    return _ask(data, ctx, ready, variables)


def _jinja_variables(data: LlmData, ctx: Context) -> dict[str, Any]:
    if all(text.jinja is None for text in data.texts):
        return {}
    named = data.prompt_config.jinja2_variables
    return {each.variable: prompt.required(each.value_selector, each.variable, ctx) for each in named}


def _ask(data: LlmData, ctx: Context, rendered: Mapping[str, str], variables: Mapping[str, Any]) -> Perform:
    inputs: dict[str, Any] = dict(variables)
    context, cited = _context(data, ctx)
    query = prompt.query_of(data.memory, ctx)
    detail = data.vision.detail
    inserts = _inserts(data, ctx, context, query.text)
    messages: list[Message] = []
    for place, text in enumerate(data.texts):
        done = rendered.get(str(place))
        filled = prompt.fill(text.text, ctx, inserts) if done is None else prompt.Filled(done)
        inputs |= filled.inputs
        messages += prompt.message(text.role if isinstance(text, ChatMessage) else "user", filled, detail)
    if not isinstance(data.prompt_template, CompletionPrompt):
        messages += prompt.message("user", query, detail)
    if not messages and any(
        text.text for text in data.texts if not isinstance(text, ChatMessage) or text.role == "user"
    ):
        # A prompt is drawn, and the variables that it is made of are empty: the user said nothing. That can be asked.
        messages = [UserMessage(content=(TextPart(text=""),))]
    messages, files = prompt.with_vision(messages, data.vision, ctx)
    answer = _schema(data) if data.structured else None
    effect = ask(data.model, messages, data.memory, ctx, answer=answer, think=data.reasoning_format)
    inputs |= query.inputs
    if files:
        inputs["#files#"] = files
    if context:
        inputs["#context#"] = cut(context)
    inputs = {name: hidden(value, ctx) if isinstance(value, str) else value for name, value in inputs.items()}
    memo: JsonValue = {"prompts": shown(messages, ctx), "cited": cast("list[JsonValue]", cited)}
    return Perform(effect, inputs=inputs | about(data.model), memo=memo)


def _context(data: LlmData, ctx: Context) -> tuple[str, list[dict[str, Any]]]:
    if not data.context.enabled or not data.context.variable_selector:
        return "", []
    value = ctx.get(data.context.variable_selector)
    return ("", []) if isinstance(value, Missing) else prompt.context_text(value)


def _inserts(data: LlmData, ctx: Context, context: str, query: str) -> dict[str, str]:
    inserts = {prompt.CONTEXT: context}
    if isinstance(data.prompt_template, CompletionPrompt):
        asked = ctx.get(("sys", "query"))
        inserts[prompt.QUERY] = query or (asked if isinstance(asked, str) else "")
        # Where there is a past, the runtime puts it there: it goes by reference.
        if data.model.kind != "completion" or prompt.remember(data.memory, data.model, ctx) is None:
            inserts[prompt.HISTORIES] = ""
    return inserts


def _schema(data: LlmData) -> AnswerSchema:
    schema: Any = (data.structured_output or {}).get("schema")
    if isinstance(schema, str):
        try:
            schema = json.loads(schema)
        except (ValueError, RecursionError):
            schema = None
    if not isinstance(schema, dict):
        raise NodeError(
            "Invalid structured output schema (stage=schema, path=$.schema): expected a JSON object. "
            "Draw the structured output again.",
            "LLMNodeError",
        )
    return AnswerSchema(schema=cast("dict[str, Any]", schema))


def _outputs(data: LlmData) -> dict[str, ValueType]:
    outputs = {
        "text": ValueType.STRING,
        "reasoning_content": ValueType.STRING,
        "usage": ValueType.OBJECT,
        "finish_reason": ValueType.STRING,
        "files": ValueType.ARRAY_FILE,
    }
    if data.structured_output_enabled or data.structured_output_switch_on:
        outputs["structured_output"] = ValueType.OBJECT
    return outputs


NODE = NodeType(
    name="llm",
    data=LlmData,
    start=start,
    resume=resume,
    outputs=_outputs,
    effects=(RenderTemplate, InvokeModel),
    retries=True,
    streams=("text",),
    default_pin={"text": "Mocked LLM response"},
)
