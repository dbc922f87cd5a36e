"""What an agent is: its model, its strategy, its tools and its limits. The entity behind YAML files, agent nodes of
the DSL and agents that are tools of others.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from ..document import Document
from .limits import DEFAULT_ROUNDS, MOST_ROUNDS, OnOscillation, Repeats

Strategy = Literal["function_calling", "react"]
ToolType = Literal["builtin", "custom", "api", "mcp", "workflow", "agent", "dataset-retrieval", "plugin"]
Approval = Literal["never", "required", "policy"]

DEFAULT_PARALLEL = 5
MOST_DEPTH = 5


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ToolUse(_Part):
    """A tool as an agent, or a tool node, is given it.

    provider_type, provider_id, tool_name: where it is from. For `dataset-retrieval` the id is that of a knowledge base,
        for `workflow` and `agent` the name under which the worker's tools file knows it, unless it comes along here.
    parameters: values that the model may neither see nor change.
    approval: None is what the tool declares.
    credential: name of a credential of the worker's tools file.
    flow, agent: the graph, or the agent, that the tool is; a client puts them in where a file names another.
    """

    provider_type: ToolType
    provider_id: str = ""
    tool_name: str
    description: str = ""
    parameters: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    approval: Approval | None = None
    credential: str | None = None
    enabled: bool = True
    flow: Document | None = None
    agent: AgentConfig | None = None


class AgentModel(_Part):
    """Which model, and the parameters of its calls."""

    provider: str
    name: str
    mode: Literal["chat", "completion"] = "chat"
    completion_params: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])


class AgentLimits(_Part):
    """When to stop; see `limits.Limits`. 0 switches one off, except the rounds.

    max_iteration: rounds with tools; one more without tools closes.
    """

    max_iteration: int = Field(default=DEFAULT_ROUNDS, ge=1, le=MOST_ROUNDS)
    max_tool_failures: int = Field(default=5, ge=0)
    max_tool_failures_in_row: int = Field(default=3, ge=0)
    repeats: Repeats = 3
    cycles: Repeats = 3
    on_oscillation: OnOscillation = "nudge"


class ApprovalPolicy(_Part):
    """What becomes of a call that nobody approves.

    timeout_s: None waits for ever. on_timeout: `deny` tells the model so, `approve` makes the call, `stop` ends the
        agent with what there is.
    """

    timeout_s: float | None = Field(default=None, gt=0)
    on_timeout: Literal["deny", "approve", "stop"] = "deny"


class ConversationMemory(_Part):
    """Past turns of the conversation that are sent along. size: turns; None is as many as fit."""

    enabled: bool = False
    size: int | None = Field(default=None, ge=1)


class LongTermMemory(_Part):
    """Facts about a user that outlast conversations. top_k: so many of them are given to the model at the start."""

    enabled: bool = False
    top_k: int = Field(default=5, ge=1, le=50)


def _names(given: Any) -> Any:
    """Take names as a list, as the JSON of a list, or one alone."""
    if not isinstance(given, str):
        return given
    text = given.strip()
    if not text.startswith("["):
        return (text,) if text else ()
    try:
        return json.loads(text)
    except ValueError:
        raise ValueError("this begins like a list, but is no JSON: write a list of names, or one name") from None


class AgentConfig(_Part):
    """An agent.

    strategy: None is what the model can: function calling where it calls tools, else ReAct.
    instruction: the system prompt; `{{name}}` stands for an input. prompt_template: in place of ours, for ReAct.
    allowed_tools: names of tools, those of its memory too; others are not given to the model. Empty allows all.
    max_parallel_tools: calls of one round at once.
    max_observation_bytes: of one result, for the model.
    """

    name: str = "agent"
    description: str = ""
    model: AgentModel
    strategy: Strategy | None = None
    instruction: str = ""
    prompt_template: str = ""
    tools: tuple[ToolUse, ...] = ()
    allowed_tools: Annotated[tuple[str, ...], BeforeValidator(_names)] = ()
    limits: AgentLimits = AgentLimits()
    approval: ApprovalPolicy = ApprovalPolicy()
    memory: ConversationMemory = ConversationMemory()
    long_term: LongTermMemory = LongTermMemory()
    vision: Literal["off", "low", "high"] = "off"
    keep_images: bool = True
    max_parallel_tools: int = Field(default=DEFAULT_PARALLEL, ge=1, le=64)
    max_observation_bytes: int = Field(default=32 * 1024, ge=256)
    max_depth: int = Field(default=MOST_DEPTH, ge=1, le=MOST_DEPTH)


ToolUse.model_rebuild()
