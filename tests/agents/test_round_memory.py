"""Long-term memory as tools: what an agent notes of its user it finds again, and nobody else does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from perdure_activities.agents.memory_tools import PROVIDER, TOOLS, MemoryTools
from perdure_activities.tools.protocol import ToolCallContext, ToolFault
from perdure_activities.tools.registry import ToolRegistry
from perdure_graph.agents.config import ToolUse
from perdure_graph.agents.tools import TextOut
from perdure_store.memories import Memories, Owner
from perdure_store.recorder import Recorder

ANN = Owner("acme", "ann", "helper")


class Talk:
    """Runs the tools for one user."""

    def __init__(self, memories: Memories, folder: Path, user: str = "ann", tenant: str = "acme") -> None:
        self.registry = ToolRegistry(sources=[MemoryTools(memories)])
        self.context = ToolCallContext(key="k", run_id="r", folder=folder, timeout_s=5, user=user, tenant=tenant)

    async def __call__(self, name: str, said: str, agent: str | None = "helper", **more: Any) -> str:
        tool = await self.registry.find(ToolUse(provider_type="builtin", provider_id=PROVIDER, tool_name=name))
        parameter = tool.declaration.parameters[0].name
        settings = {} if agent is None else {"agent": agent}
        (part,) = await tool.run({parameter: said, **more}, settings, self.context)
        assert isinstance(part, TextOut)
        return part.text


async def test_facts_are_noted_found_and_forgotten(tmp_path: Path) -> None:
    recorder = Recorder(f"sqlite:///{tmp_path}/runs.db", limit_s=4.0)
    memories = Memories(recorder)
    talk = Talk(memories, tmp_path)
    assert await talk("recall", "cat") == "Nothing is known of the user yet."
    noted = await talk("remember", "Ann has a cat.")
    await talk("remember", "Ann lives in Paris.")
    assert await talk("remember", "Ann has a cat.") == noted
    found = await talk("recall", "which cats?")
    fact_id = found.partition(":")[0]
    assert found.splitlines()[0] == f"{fact_id}: Ann has a cat."
    assert fact_id in noted
    assert "no fact 'fact_0'" in await talk("forget", "fact_0")
    for other in (Talk(memories, tmp_path, "bob"), Talk(memories, tmp_path, tenant="evil")):
        assert "Nothing" in await other("recall", "cat")
        assert "no fact" in await other("forget", fact_id)
    # What the model says of itself is nothing to the tool.
    assert "Nothing" in await talk("recall", "cat", "other", user="ann", tenant="acme")
    assert await talk("forget", fact_id) == "It is forgotten."
    assert [fact.text for fact in await memories.facts(ANN)] == ["Ann lives in Paris."]
    with pytest.raises(ToolFault, match="not empty"):
        await talk("remember", "  ")
    await recorder.close()


async def test_without_a_user_or_a_store_nothing_is_remembered(tmp_path: Path) -> None:
    memories = Memories(Recorder("off"))
    for talk, agent in ((Talk(memories, tmp_path, user=""), "helper"), (Talk(memories, tmp_path), None)):
        with pytest.raises(ToolFault) as caught:
            await talk("recall", "x", agent)
        assert caught.value.kind == "refused"
    with pytest.raises(ToolFault, match="cannot be reached") as away:
        await Talk(memories, tmp_path)("remember", "x")
    assert away.value.again


async def test_the_source_has_its_tools() -> None:
    source = MemoryTools(Memories(Recorder("off")))
    assert (source.provider_type, source.provider_id) == ("builtin", PROVIDER)
    assert tuple(tool.declaration.name for tool in await source.tools()) == TOOLS
    await source.close()
