"""Long-term memory as tools: an agent notes facts about its user, finds and forgets them.

Whose facts these are is not the model's to say: tenant and user come from the run, the agent from its settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import JsonValue

from perdure_graph.agents.config import ToolType
from perdure_graph.agents.tools import TextOut, ToolPart
from perdure_store.ledger_records import LedgerAway
from perdure_store.memories import Fact, Owner

from ..tools.protocol import Tool, ToolCallContext, ToolDeclaration, ToolFault, ToolParameter

if TYPE_CHECKING:
    from perdure_store.memories import Memories

PROVIDER = "memory"
TOOLS = ("remember", "recall", "forget")
# The setting that names the agent; the toolset fills it in.
AGENT = "agent"

_MOST_FOUND = 20
_AGENT = ToolParameter(name=AGENT, form="form", description="Whose memory it is; the agent's own name by itself.")
_DECLARED = {
    "remember": ToolDeclaration(
        provider_type="builtin",
        provider_id=PROVIDER,
        name="remember",
        label="Remember",
        description="Note a lasting fact about the user for later talks, in a sentence that can be understood alone.",
        parameters=(ToolParameter(name="fact", required=True, description="The fact."), _AGENT),
        retry="safe",
    ),
    "recall": ToolDeclaration(
        provider_type="builtin",
        provider_id=PROVIDER,
        name="recall",
        label="Recall",
        description="Find what was noted about the user before, with the id of each fact.",
        parameters=(
            ToolParameter(name="query", required=True, description="What to look for, in words."),
            _AGENT,
        ),
        retry="safe",
    ),
    "forget": ToolDeclaration(
        provider_type="builtin",
        provider_id=PROVIDER,
        name="forget",
        label="Forget",
        description="Delete a fact about the user that is wrong, or that the user wants forgotten.",
        parameters=(ToolParameter(name="id", required=True, description="The id of the fact, from recall."), _AGENT),
        retry="safe",
    ),
}


class MemoryTools:
    """The source of the three tools."""

    def __init__(self, memories: Memories) -> None:
        self._tools = tuple(_MemoryTool(_DECLARED[name], memories) for name in TOOLS)

    @property
    def provider_type(self) -> ToolType:
        """Kind of provider."""
        return "builtin"

    @property
    def provider_id(self) -> str:
        """Its name."""
        return PROVIDER

    async def tools(self) -> Sequence[Tool]:
        """Give its tools."""
        return self._tools

    async def close(self) -> None:
        """Do nothing: the store is the worker's."""


class _MemoryTool:
    def __init__(self, declaration: ToolDeclaration, memories: Memories) -> None:
        self._declaration = declaration
        self._memories = memories

    @property
    def declaration(self) -> ToolDeclaration:
        return self._declaration

    async def run(
        self, arguments: Mapping[str, JsonValue], settings: Mapping[str, JsonValue], context: ToolCallContext
    ) -> Sequence[ToolPart]:
        agent = settings.get(AGENT)
        if not context.user or not isinstance(agent, str) or not agent:
            raise ToolFault("refused", "There is no user, or no agent, whose memory this would be.")
        try:
            text = await self._run(Owner(context.tenant, context.user, agent), arguments)
        except LedgerAway as away:
            raise ToolFault("invoke", f"The memory cannot be reached now. {away}", retryable=True) from None
        return [TextOut(text=text)]

    async def _run(self, owner: Owner, arguments: Mapping[str, JsonValue]) -> str:
        name = self._declaration.name
        said = str(arguments.get({"remember": "fact", "recall": "query", "forget": "id"}[name]) or "").strip()
        if name == "recall":
            return _listed(await self._memories.search(owner, said, _MOST_FOUND))
        if not said:
            raise ToolFault("bad_arguments", f"{name!r} needs a text that is not empty.")
        if name == "remember":
            return f"Noted as {(await self._memories.add(owner, said)).id}."
        gone = await self._memories.delete(owner, said)
        return "It is forgotten." if gone else f"There is no fact {said!r}: use recall to find its id."


def _listed(facts: Sequence[Fact]) -> str:
    return "\n".join(f"{fact.id}: {fact.text}" for fact in facts) or "Nothing is known of the user yet."
