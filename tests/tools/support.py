"""What tests of tools share: a worker's support with a store, and attempts at calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from temporalio.testing import ActivityEnvironment

from perdure_activities.agents.context import AGENTS, AgentSupport
from perdure_activities.tools.activity import run_tool
from perdure_activities.tools.config import ToolsConfig
from perdure_activities.tools.protocol import ToolCallContext
from perdure_activities.tools.registry import ToolRegistry
from perdure_graph.agents.config import ToolUse
from perdure_graph.agents.effects import RunTool, ToolResult
from perdure_graph.effects import EffectMeta
from perdure_store.recorder import Recorder
from perdure_store.threads import Threads

NOTHING = cast("Any", None)


def context(folder: Path, **changes: Any) -> ToolCallContext:
    """What a call is given."""
    return replace(ToolCallContext(key="run/k#1", run_id="run", folder=folder, timeout_s=5.0), **changes)


def written(folder: Path, text: str) -> ToolsConfig:
    """A tools file."""
    path = folder / "tools.yml"
    path.write_text(text)
    return ToolsConfig.of_file(path)


@asynccontextmanager
async def support(
    folder: Path,
    config: ToolsConfig | None = None,
    environ: Mapping[str, str] | None = None,
    store: str | None = None,
) -> AsyncIterator[AgentSupport]:
    """A worker's support with a store of its own."""
    recorder = Recorder(store or f"sqlite:///{folder / 'runs.db'}", limit_s=20.0)
    registry = ToolRegistry(config, environ or {})
    try:
        yield AgentSupport(NOTHING, registry, Threads(recorder), NOTHING, folder / "runs")
    finally:
        await registry.close()
        await recorder.close()


def call(provider: str, tool: str, arguments: dict[str, Any] | None = None, **fields: Any) -> RunTool:
    """A call of an agent; `thread=""` makes it one of a graph."""
    use: dict[str, Any] = {"provider_type": "builtin", "provider_id": provider, "tool_name": tool}
    use |= {name: fields.pop(name) for name in ("provider_type", "parameters", "credential") if name in fields}
    given: dict[str, Any] = {"thread": "run/agent", "call_id": "c1", "position": 2, "timeout_s": 5.0, **fields}
    meta = EffectMeta(run_id="run", key="k", idempotency_key="run/k#1", retry=given.get("retry", "keyed"))
    return RunTool(meta=meta, use=ToolUse(**use), name=tool, arguments=arguments or {}, **given)


async def perform(given: AgentSupport, effect: RunTool, attempt: int = 1) -> ToolResult:
    """Make one attempt."""
    environment = ActivityEnvironment()
    environment.info = replace(environment.default_info(), attempt=attempt)
    token = AGENTS.set(given)
    try:
        return await environment.run(run_tool, effect)
    finally:
        AGENTS.reset(token)
