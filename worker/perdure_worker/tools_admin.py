"""What an operator asks of the tools a worker would have: which there are, and whether what they need is there."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from perdure_activities.agents.memory_tools import MemoryTools
from perdure_activities.tools.config import ToolsConfig
from perdure_activities.tools.protocol import ToolFault, ToolSource
from perdure_activities.tools.registry import ToolRegistry
from perdure_graph.agents.config import ToolType, ToolUse
from perdure_store.memories import Memories
from perdure_store.recorder import Recorder

from .tools_needs import Checked, needs_of

if TYPE_CHECKING:
    from perdure_activities.tools.protocol import ToolDeclaration

_NOT_ASKED = "not asked: --live starts it, or connects"


@dataclass(frozen=True, slots=True)
class ListedTool:
    """A tool. approval: what it asks for, or what the rules of the file make of that."""

    provider_type: ToolType
    provider_id: str
    tool_name: str
    description: str
    parameters: tuple[str, ...]
    approval: str
    retry: str


@dataclass(frozen=True, slots=True)
class Tools:
    """The tools, where they were read, and the providers that gave none: (type, id, why)."""

    source: str
    tools: tuple[ListedTool, ...]
    without: tuple[tuple[str, str, str], ...]


class Admin:
    """The tools of a configuration."""

    def __init__(self, config: ToolsConfig, registry: ToolRegistry) -> None:
        self.config = config
        self._registry = registry

    async def tools(self, provider: str | None = None, *, live: bool = False) -> Tools:
        """List the tools of all providers, or of one by its id or type. live: also those of MCP servers."""
        found: list[ListedTool] = []
        without: list[tuple[str, str, str]] = []
        for source in await self._registry.sources():
            kind, name = source.provider_type, source.provider_id
            if provider not in (None, kind, name):
                continue
            if kind == "mcp" and not live:
                without.append((kind, name, _NOT_ASKED))
                continue
            try:
                found += [self._listed(tool.declaration) for tool in await source.tools()]
            except ToolFault as fault:
                without.append((kind, name, fault.message))
        for use in self._children():
            if provider not in (None, use.provider_type, use.provider_id):
                continue
            try:
                found.append(self._listed((await self._registry.find(use)).declaration))
            except ToolFault as fault:
                without.append((use.provider_type, use.provider_id, fault.message))
        return Tools(self.config.source, tuple(found), tuple(without))

    async def check(self, *, live: bool = False) -> list[Checked]:
        """Check all that the file names. live: also start its MCP servers, or connect, and ask for their tools."""
        sources = [one for one in await self._registry.sources() if one.provider_type != "builtin"]
        asked = [one for one in sources if live or one.provider_type != "mcp"]
        found = await asyncio.gather(*(_source(one) for one in asked), *(self._child(use) for use in self._children()))
        return [*found, *needs_of(self.config, os.environ)]

    async def _child(self, use: ToolUse) -> Checked:
        try:
            declaration = (await self._registry.find(use)).declaration
        except ToolFault as fault:
            return Checked(use.provider_type, use.provider_id, ok=False, detail=fault.message)
        takes = ", ".join(one.name for one in declaration.parameters) or "nothing"
        return Checked(use.provider_type, use.provider_id, ok=True, detail=f"takes {takes}")

    def _children(self) -> list[ToolUse]:
        config = self.config
        flows = [ToolUse(provider_type="workflow", provider_id=name, tool_name=name) for name in config.workflows]
        return [*flows, *(ToolUse(provider_type="agent", provider_id=name, tool_name=name) for name in config.agents)]

    def _listed(self, declaration: ToolDeclaration) -> ListedTool:
        use = ToolUse(
            provider_type=declaration.provider_type, provider_id=declaration.provider_id, tool_name=declaration.name
        )
        return ListedTool(
            provider_type=declaration.provider_type,
            provider_id=declaration.provider_id,
            tool_name=declaration.name,
            description=declaration.description.strip().partition("\n")[0],
            parameters=tuple(one.name for one in declaration.parameters if one.form == "llm"),
            approval=self._registry.approval(use, declaration),
            retry=declaration.retry,
        )


@asynccontextmanager
async def administering(file: Path | None) -> AsyncGenerator[Admin]:
    """Read the tools file; without one there are the built-in tools and those of packages.

    Raises:
        BadToolsFile: it cannot be read, or is wrong; says where.
    """
    config = ToolsConfig() if file is None else await asyncio.to_thread(_read, file)
    recorder = Recorder("off")
    registry = ToolRegistry(config, sources=[MemoryTools(Memories(recorder))])
    try:
        yield Admin(config, registry)
    finally:
        await registry.close()
        await recorder.close()


def _read(file: Path) -> ToolsConfig:
    return ToolsConfig.of_file(file.expanduser())


async def _source(source: ToolSource) -> Checked:
    kind, name = source.provider_type, source.provider_id
    try:
        tools: Sequence[object] = await source.tools()
    except ToolFault as fault:
        return Checked(kind, name, ok=False, detail=fault.message)
    detail = f"{len(tools)} {'tool' if len(tools) == 1 else 'tools'}"
    problems = tuple(str(one) for one in getattr(source, "problems", ()))
    return Checked(kind, name, ok=bool(tools), detail=detail if tools else "it gives no tools", problems=problems)
