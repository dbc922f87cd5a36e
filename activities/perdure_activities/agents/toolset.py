"""The tools of an agent: found by the registry, under names that providers take."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog

from perdure_graph.agents.config import AgentConfig, ToolUse
from perdure_graph.agents.tools import ToolFacts, Toolset

from ..tools.names import safe_names
from ..tools.protocol import ToolFault
from ..tools.schema import spec_of
from .memory_tools import AGENT, PROVIDER, TOOLS

if TYPE_CHECKING:
    from ..tools.protocol import Registry, ToolDeclaration

_log = structlog.stdlib.get_logger("perdure.agents")

# A server that starts slowly costs the agent its tools, not the run.
_LOADS_S = 90.0

_Found = tuple[ToolUse, "ToolDeclaration"]


async def load(registry: Registry, config: AgentConfig, depth: int) -> Toolset:
    """Load the tools of an agent; one that does not load is skipped with its reason. depth: of the agent's run."""
    allowed = config.allowed_tools
    listed = [use for use in (*config.tools, *_of_memory(config)) if use.enabled]
    uses = [use for use in listed if not allowed or use.tool_name in allowed]
    found = await asyncio.gather(*(_find(registry, use, config, depth) for use in uses))
    loaded = [one for one in found if not isinstance(one, str)]
    skipped = tuple((use.tool_name, why) for use, why in zip(uses, found, strict=True) if isinstance(why, str))
    names = safe_names([declaration.name for _, declaration in loaded])
    pairs = list(zip(names, loaded, strict=True))
    return Toolset(
        facts=tuple(_facts(registry, name, use, declaration) for name, (use, declaration) in pairs),
        specs=tuple(spec_of(_told(use, declaration), name, fixed=use.parameters) for name, (use, declaration) in pairs),
        skipped=skipped,
    )


def _of_memory(config: AgentConfig) -> Sequence[ToolUse]:
    """Give an agent with a long-term memory the tools for it, but those that it lists itself."""
    if not config.long_term.enabled:
        return ()
    listed = {use.tool_name for use in config.tools if _is_memory(use)}
    return [
        ToolUse(provider_type="builtin", provider_id=PROVIDER, tool_name=name) for name in TOOLS if name not in listed
    ]


def _is_memory(use: ToolUse) -> bool:
    return use.provider_type == "builtin" and use.provider_id == PROVIDER


async def _find(registry: Registry, use: ToolUse, config: AgentConfig, depth: int) -> _Found | str:
    """Find a tool; or say why not."""
    try:
        async with asyncio.timeout(_LOADS_S):
            use = registry.complete(use)
            declaration = (await registry.find(use)).declaration
    except ToolFault as fault:
        return fault.message
    except TimeoutError:
        return f"it did not load within {_LOADS_S:g} s"
    except Exception as error:
        # A bug of a source. Its text may hold anything, so only its type is told.
        _log.warning("a tool did not load", tool=use.tool_name, provider=use.provider_id, error=type(error).__name__)
        return f"it did not load ({type(error).__name__})"
    if declaration.runner != "activity" and depth >= config.max_depth:
        return f"agents and graphs may be {config.max_depth} deep at most (max_depth), and this one is"
    if _is_memory(use):
        # Whose memory it is must not be the model's to say, nor that of whoever lists the tool.
        use = use.model_copy(update={"parameters": {**use.parameters, AGENT: config.name}})
    return use, declaration


def _facts(registry: Registry, name: str, use: ToolUse, declaration: ToolDeclaration) -> ToolFacts:
    return ToolFacts(
        name=name,
        use=use,
        runner=declaration.runner,
        retry=declaration.retry,
        interrupted=declaration.interrupted,
        approval=registry.approval(use, declaration),
        sequential=declaration.sequential,
        timeout_s=declaration.timeout_s,
        label=declaration.label,
    )


def _told(use: ToolUse, declaration: ToolDeclaration) -> ToolDeclaration:
    return declaration.model_copy(update={"description": use.description}) if use.description else declaration
