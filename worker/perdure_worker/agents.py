"""What a worker has for agents and tools: made when one is first asked for, because most runs have none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from perdure_store.recorder import Recorder

from .models import Models
from .once import Once
from .settings import WorkerSettings

if TYPE_CHECKING:
    from perdure_activities.agents.context import AgentSupport
    from perdure_activities.tools.config import ToolsConfig

# What getting ready imports; away from the event loop, because the worker takes work already.
_NEEDED = (
    "perdure_activities.agents.opening",
    "perdure_activities.agents.round",
    "perdure_activities.agents.memory_tools",
    "perdure_activities.tools.registry",
    "perdure_store.threads",
)


class Agents:
    """Gives the activities of one worker what agents and tools need."""

    def __init__(self, settings: WorkerSettings, recorder: Recorder, models: Models, tools: ToolsConfig | None) -> None:
        self._settings = settings
        self._tools = tools
        self._recorder = recorder
        self._models = models
        self._made = Once(self._make, "perdure-agents")

    async def support(self) -> AgentSupport:
        """Give it; the first caller has it made.

        Raises:
            PlatformError: the configuration of models is wrong, or a file that the tools file names.
        """
        return await self._made.get()

    async def close(self) -> None:
        """Close what tools hold: sessions, connections, child processes."""
        await self._made.close(lambda support: support.registry.close())

    async def _make(self) -> AgentSupport:
        runtime = await self._models.runtime()
        await asyncio.to_thread(lambda: [import_module(name) for name in _NEEDED])
        from perdure_activities.agents.context import AgentSupport
        from perdure_activities.agents.memory_tools import MemoryTools
        from perdure_activities.tools.config import ToolsConfig
        from perdure_activities.tools.registry import ToolRegistry
        from perdure_store.memories import Memories
        from perdure_store.threads import Threads

        config = ToolsConfig() if self._tools is None else self._tools
        memories = Memories(self._recorder)
        registry = await asyncio.to_thread(lambda: ToolRegistry(config, sources=[MemoryTools(memories)]))
        return AgentSupport(runtime, registry, Threads(self._recorder), memories, self._settings.runs_dir)


async def read_tools(settings: WorkerSettings) -> ToolsConfig | None:
    """Read the tools file, where one is named; nothing that it names is looked for.

    Raises:
        BadToolsFile: it cannot be read, or is wrong; says where.
    """
    if settings.tools is None:
        return None
    return await asyncio.to_thread(_tools_in, settings.tools.expanduser())


def _tools_in(file: Path) -> ToolsConfig:
    from perdure_activities.tools.config import ToolsConfig

    return ToolsConfig.of_file(file)


@asynccontextmanager
async def equipped(
    settings: WorkerSettings, recorder: Recorder, models: Models, tools: ToolsConfig | None
) -> AsyncGenerator[Agents]:
    """Have what agents need for the length of the block; `tools` is what `read_tools` gave."""
    agents = Agents(settings, recorder, models, tools)
    try:
        yield agents
    finally:
        await agents.close()
