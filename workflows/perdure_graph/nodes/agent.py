"""agent: let a strategy call models and tools until it has an answer. The agent runs as a child."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

from ..agents.effects import AgentAnswer, RunAgent
from ..agents.node_config import STRATEGIES, config_of, strategy_of
from ..errors import NodeError
from ..models.asking import hidden, memo_of
from ..models.drawn import MemoryConfig, VisionConfig
from ..models.prompt import context_text, conversation, files_in
from ..options import RetryClass
from ..values import ValueType, to_text
from .base import Context, Done, Missing, NodeData, NodeType, Outcome, Perform, system


class AgentParameter(BaseModel):
    """A parameter of the strategy: a value whose texts are templates, or the selector of a variable."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: str = "constant"
    value: JsonValue = None


class AgentData(NodeData):
    """Data of an agent."""

    type: Literal["agent"]
    agent_strategy_provider_name: str
    agent_strategy_name: str
    agent_strategy_label: str = ""
    agent_parameters: dict[str, AgentParameter] = Field(default_factory=dict[str, AgentParameter])
    memory: MemoryConfig | None = None
    vision: VisionConfig = VisionConfig()
    tool_node_version: str | None = None

    @field_validator("vision", mode="before")
    @classmethod
    def _null_is_default(cls, value: object) -> object:
        return VisionConfig() if value is None else value


def start(data: AgentData, ctx: Context) -> Outcome:
    """Make an agent of what is drawn, and run it."""
    if lacks := _lacks(data):
        raise NodeError(f"agent needs {lacks}; pin its outputs to run it", "NodeNotAvailable")
    given = {name: _value(parameter, ctx) for name, parameter in data.agent_parameters.items()}
    query = to_text(given["query"] if given.get("query") is not None else system(ctx, "query"))
    if not query.strip():
        raise NodeError(
            f"Agent node {ctx.node_id!r} has no query, or an empty one. Write what is asked into its 'query'.",
            "AgentNodeError",
        )
    config = config_of(
        data.title or ctx.node_id, data.agent_strategy_name, given, memory=data.memory, vision=data.vision, ctx=ctx
    )
    cited = context_text(given.get("context"))[1] if "context" in given else []
    files = files_in(ctx.get(data.vision.configs.variable_selector)) if data.vision.enabled else []
    effect = RunAgent(config=config, query=query, files=tuple(files), conversation_id=conversation(data.memory, ctx))
    inputs: dict[str, Any] = {
        "query": hidden(query, ctx),
        "instruction": hidden(config.instruction, ctx),
        "strategy": data.agent_strategy_name,
        "model_provider": config.model.provider,
        "model_name": config.model.name,
        "maximum_iterations": config.limits.max_iteration,
        "tools": [use.tool_name for use in config.tools if use.enabled],
    }
    memo: dict[str, JsonValue] = {"cited": cast("JsonValue", cited)}
    about = {"model_provider": config.model.provider, "model_name": config.model.name}
    return Perform(effect, inputs=inputs, memo={**memo, "about": cast("JsonValue", about)})


def resume(_data: AgentData, ctx: Context, reply: AgentAnswer) -> Outcome:
    """Put out the answer."""
    memo = memo_of(ctx)
    ended: dict[str, Any] = {"end": reply.end, "rounds": reply.rounds, "calls": reply.calls}
    usage = reply.usage.as_dify()
    process = {**memo.get("about", {}), "usage": usage, **ended, "simulated": reply.simulated}
    if cited := memo.get("cited"):
        process["retriever_resources"] = cited
    outputs = {"text": reply.text, "usage": usage, "files": list(reply.files), "json": [ended]}
    return Done(outputs=outputs, process_data=process)


def _value(parameter: AgentParameter, ctx: Context) -> Any:
    """Give a parameter its value; None where its variable does not exist."""
    if parameter.type != "variable":
        return _filled(parameter.value, ctx)
    selector = parameter.value
    if not isinstance(selector, list) or not all(isinstance(part, str) for part in selector):
        raise NodeError(
            f"a parameter of agent node {ctx.node_id!r} is a variable, so it must name one; it is {selector!r}. "
            "Choose the variable again in the editor.",
            "AgentVariableTypeError",
        )
    value = ctx.get(cast("list[str]", selector))
    return None if isinstance(value, Missing) else value


def _filled(value: Any, ctx: Context) -> Any:
    """Fill the texts within a value, each for itself: what a variable holds never becomes part of its structure."""
    if isinstance(value, str):
        return ctx.render(value)
    if isinstance(value, list):
        return [_filled(item, ctx) for item in cast("list[Any]", value)]
    if isinstance(value, Mapping):
        return {name: _filled(item, ctx) for name, item in cast("Mapping[str, Any]", value).items()}
    return value


def _lacks(data: AgentData) -> str:
    """Say that the strategy is not one of those that are built in."""
    if strategy_of(data.agent_strategy_name) is not None:
        return ""
    known = ", ".join(map(repr, STRATEGIES))
    return (
        f"the agent strategy {data.agent_strategy_name!r} of {data.agent_strategy_provider_name!r}, "
        f"which this version does not have (it has {known})"
    )


def _outputs(_data: AgentData) -> dict[str, ValueType]:
    return {
        "text": ValueType.STRING,
        "usage": ValueType.OBJECT,
        "files": ValueType.ARRAY_FILE,
        "json": ValueType.ARRAY_OBJECT,
    }


def _repeats(_data: AgentData) -> RetryClass:
    """Nobody knows what its tools do."""
    return "keyed"


NODE = NodeType(
    name="agent",
    data=AgentData,
    start=start,
    resume=resume,
    outputs=_outputs,
    effects=(RunAgent,),
    lacks=_lacks,
    repeats=_repeats,
    streams=("text",),
    waits=True,
)
