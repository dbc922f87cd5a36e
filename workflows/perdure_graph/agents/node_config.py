"""From the parameters of an agent node, filled, to an agent: its model, its tools, its limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast, get_args

from pydantic import ValidationError

from ..errors import NodeError
from ..models.drawn import MemoryConfig, VisionConfig
from ..nodes.base import Context, Missing
from .config import (
    AgentConfig,
    AgentLimits,
    AgentModel,
    ConversationMemory,
    Strategy,
    ToolType,
    ToolUse,
)
from .limits import DEFAULT_ROUNDS, MOST_ROUNDS

# As Dify's strategies are called, and what they are here.
STRATEGIES: dict[str, Strategy] = {"function_calling": "function_calling", "ReAct": "react"}

_PLAIN: dict[str, Strategy] = {
    "functioncalling": "function_calling",
    "functioncall": "function_calling",
    "react": "react",
}
_ROUNDS = ("maximum_iterations", "max_iterations", "max_iteration")


def strategy_of(name: str) -> Strategy | None:
    """Find a strategy by its name; None where there is none of it."""
    return _PLAIN.get("".join(char for char in name.lower() if char.isalnum()))


def config_of(
    name: str,
    strategy: str,
    given: Mapping[str, Any],
    *,
    memory: MemoryConfig | None,
    vision: VisionConfig,
    ctx: Context,
) -> AgentConfig:
    """Make an agent of the parameters of its strategy.

    Raises:
        NodeError: names the parameter that does not fit.
    """
    try:
        return AgentConfig(
            name=name,
            model=_model(given.get("model")),
            strategy=strategy_of(strategy),
            instruction=_text(given, "instruction"),
            tools=tuple(_tools(given.get("tools"), ctx)),
            allowed_tools=given.get("allowed_tools") or (),
            limits=AgentLimits(max_iteration=_rounds(given)),
            memory=_memory(memory),
            vision=vision.detail if vision.enabled else "off",
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        path = ".".join(str(part) for part in first["loc"])
        raise _wrong(path or "agent_parameters", str(first["msg"])) from error


def _model(given: Any) -> AgentModel:
    drawn = _mapping(given)
    provider, name = drawn.get("provider"), drawn.get("model") or drawn.get("name")
    if not provider or not name:
        raise _wrong("model", "no model is chosen")
    parameters = _mapping(drawn.get("completion_params"))
    return AgentModel(
        provider=str(provider),
        name=str(name),
        mode="completion" if drawn.get("mode") == "completion" else "chat",
        completion_params={key: value for key, value in parameters.items() if value is not None},
    )


def _rounds(given: Mapping[str, Any]) -> int:
    """Read the limit; more than may be is taken as the most, as editors allow it."""
    name = next((name for name in _ROUNDS if given.get(name) not in (None, "")), None)
    if name is None:
        return DEFAULT_ROUNDS
    try:
        rounds = int(float(given[name]))
    except (TypeError, ValueError, OverflowError):
        raise _wrong(name, f"{given[name]!r} is no number") from None
    return min(max(rounds, 1), MOST_ROUNDS)


def _memory(memory: MemoryConfig | None) -> ConversationMemory:
    if memory is None:
        return ConversationMemory()
    size = memory.window.size if memory.window.enabled else None
    return ConversationMemory(enabled=True, size=size if size is not None and size > 0 else None)


def _tools(given: Any, ctx: Context) -> Sequence[ToolUse]:
    if given in (None, ""):
        return []
    if not isinstance(given, list):
        raise _wrong("tools", f"a list is needed, got {type(given).__name__}")
    tools: list[ToolUse] = []
    for index, raw in enumerate(cast("list[Any]", given)):
        if not isinstance(raw, Mapping):
            raise _wrong(f"tools[{index}]", f"an object is needed, got {type(raw).__name__}")
        tools.append(_tool(cast("Mapping[str, Any]", raw), f"tools[{index}]", ctx))
    return tools


def _tool(raw: Mapping[str, Any], path: str, ctx: Context) -> ToolUse:
    name = raw.get("tool_name")
    if not isinstance(name, str) or not name:
        raise _wrong(f"{path}.tool_name", "the tool has no name")
    kind = raw.get("type") or raw.get("provider_type") or "builtin"
    if kind not in get_args(ToolType):
        raise _wrong(f"{path}.type", f"tool {name!r} is of type {kind!r}; known are {', '.join(get_args(ToolType))}")
    return ToolUse(
        provider_type=cast("ToolType", kind),
        provider_id=str(raw.get("provider_name") or raw.get("provider_id") or ""),
        tool_name=name,
        description=str(_mapping(raw.get("extra")).get("description") or ""),
        parameters={**_fixed(raw.get("parameters"), ctx), **_settings(raw.get("settings"), ctx)},
        credential=raw.get("credential_id") or None,
        enabled=raw.get("enabled") is not False,
    )


def _fixed(given: Any, ctx: Context) -> dict[str, Any]:
    """Give the values that the author set: the model neither sees nor gives these parameters."""
    fixed: dict[str, Any] = {}
    for name, parameter in _mapping(given).items():
        value: Any = parameter
        if isinstance(parameter, Mapping):
            drawn = _mapping(cast("object", parameter))
            # The model gives it, unless the switch is off.
            value = _chosen(drawn.get("value"), ctx) if drawn.get("auto", 1) in (0, False) else None
        if value is not None:
            fixed[name] = value
    return fixed


def _settings(given: Any, ctx: Context) -> dict[str, Any]:
    values = {
        name: _chosen(_mapping(cast("object", value)).get("value") if isinstance(value, Mapping) else value, ctx)
        for name, value in _mapping(given).items()
    }
    return {name: value for name, value in values.items() if value is not None}


def _chosen(value: Any, ctx: Context) -> Any:
    """Give a value that is drawn with its kind (`{type, value}`), or as it is."""
    if not isinstance(value, Mapping):
        return value
    drawn = _mapping(cast("object", value))
    if set(drawn) != {"type", "value"}:
        return dict(drawn)
    if drawn["type"] != "variable":
        return drawn["value"]
    found = ctx.get(cast("list[str]", drawn["value"])) if isinstance(drawn["value"], list) else None
    return None if isinstance(found, Missing) else found


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    if value is None or isinstance(value, str):
        return value or ""
    raise _wrong(name, f"text is needed, got {type(value).__name__}")


def _wrong(field: str, problem: str) -> NodeError:
    return NodeError(f"the agent's parameter {field!r} does not fit: {problem}. Set it again.", "AgentNodeError")
