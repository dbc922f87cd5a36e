"""Graphs and agents as tools: what a model is asked for. A child workflow performs them, never `run_tool`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic import JsonValue, ValidationError

from perdure_graph.agents.config import AgentConfig, ToolUse
from perdure_graph.agents.tools import ToolPart
from perdure_graph.graph import Document
from perdure_graph.nodes.start import StartData, StartVariable, VariableKind

from .protocol import ParameterType, ToolCallContext, ToolDeclaration, ToolFault, ToolParameter

# What is asked of an agent, or of a chat flow.
QUERY = "query"

_TYPES: dict[VariableKind, ParameterType] = {
    "text-input": "string",
    "paragraph": "string",
    "external_data_tool": "string",
    "select": "select",
    "number": "number",
    "checkbox": "boolean",
    "file": "file",
    "file-list": "files",
    "json_object": "object",
}
_ASKED = ToolParameter(name=QUERY, required=True, description="What is to be done, with all that must be known for it.")


class ChildTool:
    """A graph, or an agent, that is a tool."""

    def __init__(self, declaration: ToolDeclaration) -> None:
        self._declaration = declaration

    @property
    def declaration(self) -> ToolDeclaration:
        """What it is."""
        return self._declaration

    async def run(
        self,
        arguments: Mapping[str, JsonValue],  # noqa: ARG002 - the signature is that of all tools
        settings: Mapping[str, JsonValue],  # noqa: ARG002
        context: ToolCallContext,  # noqa: ARG002
    ) -> Sequence[ToolPart]:
        """Refuse: it is a run of its own.

        Raises:
            ToolFault: always.
        """
        kind = "a graph" if self._declaration.runner == "workflow" else "an agent"
        raise ToolFault(
            "refused",
            f"{self._declaration.name!r} is {kind}, which only an agent can use as a tool. Let an agent node call it.",
        )


def child_tool(use: ToolUse) -> ChildTool:
    """Make the tool of a use that holds its graph or agent.

    Raises:
        ToolFault: it holds neither, or a graph that nobody can start.
    """
    if use.agent is not None:
        return ChildTool(_of_agent(use, use.agent))
    if use.flow is not None:
        return ChildTool(_of_flow(use, use.flow))
    raise ToolFault("unknown_tool", f"there is not a {use.provider_type} named {use.provider_id or use.tool_name!r}")


def _of_agent(use: ToolUse, agent: AgentConfig) -> ToolDeclaration:
    return ToolDeclaration(
        provider_type="agent",
        provider_id=use.provider_id,
        name=use.tool_name,
        label=agent.name,
        description=use.description or agent.description or f"Ask the agent {agent.name!r}.",
        parameters=(_ASKED,),
        runner="agent",
    )


def _of_flow(use: ToolUse, flow: Document) -> ToolDeclaration:
    parameters = [_parameter(variable) for variable in _variables(use, flow)]
    if flow.mode == "advanced-chat" and all(parameter.name != QUERY for parameter in parameters):
        parameters.insert(0, _ASKED)
    return ToolDeclaration(
        provider_type="workflow",
        provider_id=use.provider_id,
        name=use.tool_name,
        label=flow.name,
        description=use.description or f"Run the workflow {flow.name or use.tool_name!r}.",
        parameters=tuple(parameters),
        runner="workflow",
    )


def _variables(use: ToolUse, flow: Document) -> Sequence[StartVariable]:
    for node in flow.nodes:
        if node.data.get("type") == "start":
            try:
                return StartData.model_validate(node.data).variables
            except ValidationError as error:
                first = error.errors(include_url=False, include_input=False)[0]
                path = ".".join(str(part) for part in first["loc"])
                raise ToolFault(
                    "unknown_tool", f"the start of the workflow {use.tool_name!r} is wrong: {path}: {first['msg']}"
                ) from None
    raise ToolFault("unknown_tool", f"the workflow {use.tool_name!r} has no start node, so nothing can call it")


def _parameter(variable: StartVariable) -> ToolParameter:
    kind = _TYPES[variable.type]
    schema = cast("dict[str, Any] | None", variable.json_schema) if kind == "object" else None
    return ToolParameter(
        name=variable.variable,
        type=kind,
        required=variable.required,
        description=variable.label,
        options=variable.options if kind == "select" else (),
        default=variable.default,
        schema=schema,
    )
