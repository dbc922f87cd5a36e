"""The registry of a worker: finds tools of every kind, gives their credentials, says who is asked."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence

import structlog
from pydantic import JsonValue

from perdure_graph.agents.config import Approval, ToolUse

from .approval import approval_of, asks, rule_asks
from .builtin import alias_of, builtin_sources
from .children import child_tool
from .config import ToolsConfig
from .files_of_children import agent_file, flow_file
from .protocol import Tool, ToolDeclaration, ToolFault, ToolSource
from .sources import PackageSources, PythonSources, api_source, mcp_sources

_MOST_NAMED = 30

_log = structlog.stdlib.get_logger("perdure.tools")


class ToolRegistry:
    """All tools that a worker can run. What they come from is opened when it is first asked for.

    sources: further ones, of tools that belong to the worker itself.
    """

    def __init__(
        self,
        config: ToolsConfig | None = None,
        environ: Mapping[str, str] | None = None,
        *,
        sources: Iterable[ToolSource] = (),
    ) -> None:
        self.config = ToolsConfig() if config is None else config
        self._environ = os.environ if environ is None else environ
        self._builtin = {each.provider_id: each for each in (*builtin_sources(self.config, self._environ), *sources)}
        self._python = PythonSources(self.config)
        self._packages = PackageSources()
        self._apis: dict[str, ToolSource] = {}
        # Made now: which programs their commands are is decided by PATH as it is when the worker starts.
        self._servers = mcp_sources(self.config, self._environ, self.credential)
        self._tools: dict[tuple[str, str], Mapping[str, Tool]] = {}

    async def find(self, use: ToolUse) -> Tool:
        """Find a tool.

        Raises:
            ToolFault: `unknown_tool`, with the names that there are; or its source does not answer.
        """
        match use.provider_type:
            case "workflow" | "agent":
                return child_tool(self.complete(use))
            case "dataset-retrieval":
                raise ToolFault(
                    "unknown_tool",
                    f"{use.tool_name!r} searches the knowledge base {use.provider_id!r}: this version has no knowledge "
                    "bases yet. Disable the tool.",
                )
            case "builtin":
                return await self._find_builtin(use)
            case "custom":
                return await self._among(use, [*await self._custom()])
            case "plugin":
                return await self._among(use, await self._packages.sources())
            case "api":
                return await self._among(use, self._api(use))
            case "mcp":
                return await self._among(use, self._mcp(use))

    async def sources(self) -> Sequence[ToolSource]:
        """Give all sources; what they come from is opened only when their tools are asked for."""
        apis = [source for one in self.config.openapi for source in self._api(_of_api(one.id))]
        return [*self._builtin.values(), *await self._custom(), *apis, *self._servers.values()]

    def complete(self, use: ToolUse) -> ToolUse:
        """Put the graph, or the agent, of a `workflow` or `agent` into a use that only names it.

        Raises:
            ToolFault: `unknown_tool`, no such name; or its file is wrong.
        """
        if use.provider_type == "workflow" and use.flow is None:
            return use.model_copy(update={"flow": flow_file(self.config, use.provider_id or use.tool_name)})
        if use.provider_type == "agent" and use.agent is None:
            return use.model_copy(update={"agent": agent_file(self.config, use.provider_id or use.tool_name)})
        return use

    def approval(self, use: ToolUse, declaration: ToolDeclaration) -> Approval:
        """Say whether calls of a tool wait for a person."""
        return approval_of(self.config.approval, use, declaration)

    def asks(self, use: ToolUse, arguments: Mapping[str, JsonValue]) -> bool:
        """Whether this call of a tool with approval `policy` waits for a person."""
        return asks(self.config.approval, use, arguments)

    def rule_asks(self, use: ToolUse, declaration: ToolDeclaration, arguments: Mapping[str, JsonValue]) -> bool:
        """Whether a rule of the operator wants a person for this call, whatever anybody else says."""
        return rule_asks(self.config.approval, use, declaration, arguments)

    async def secrets(self, use: ToolUse) -> Mapping[str, str]:
        """Give the secrets of a tool's credential: the one it names, else that of its source, else that of its name.

        Raises:
            ToolFault: `credentials`, they are missing; says where to put them.
        """
        name = use.credential
        if not name and use.provider_type == "api":
            name = next((one.credential for one in self.config.openapi if one.id == use.provider_id), None)
        if not name and use.provider_id in self.config.credentials:
            name = use.provider_id
        return await self.credential(name) if name else {}

    async def credential(self, name: str) -> Mapping[str, str]:
        """Give the fields of a credential of the tools file.

        Raises:
            ToolFault: `credentials`, it is not there, or the environment lacks a variable of it.
        """
        fields = self.config.credentials.get(name)
        if fields is None:
            raise ToolFault(
                "credentials", f"there is no credential {name!r}. Add it to `credentials` of {self.config.source}."
            )
        found: dict[str, str] = {}
        for field, place in fields.items():
            value = self._environ.get(place.env, "").strip()
            if not value:
                raise ToolFault(
                    "credentials",
                    f"the variable {place.env} that {field!r} of the credential {name!r} is taken from is not set. "
                    "Set it in the environment of the worker.",
                )
            found[field] = value
        return found

    async def close(self) -> None:
        """Close all sources."""
        sources = [*self._builtin.values(), *self._apis.values(), *self._servers.values()]
        for result in await asyncio.gather(*(each.close() for each in sources), return_exceptions=True):
            if isinstance(result, BaseException):
                _log.warning("a source of tools did not close", reason=str(result))

    async def _find_builtin(self, use: ToolUse) -> Tool:
        provider, name = alias_of(use.provider_id, use.tool_name)
        found = use.model_copy(update={"provider_id": provider, "tool_name": name})
        try:
            return await self._among(found, list(self._builtin.values()))
        except ToolFault:
            # What Dify has as built in comes here in packages too.
            packaged = [each for each in await self._packages.sources() if each.provider_id == use.provider_id]
            if not packaged:
                raise
            return await self._among(use, packaged)

    async def _custom(self) -> Sequence[ToolSource]:
        return [*await self._python.sources(), *await self._packages.sources()]

    def _api(self, use: ToolUse) -> Sequence[ToolSource]:
        name = use.provider_id
        if name not in self._apis and (source := self._document(name)) is not None:
            self._apis[name] = source
        return self._one_of(use, [one.id for one in self.config.openapi], self._apis, "openapi")

    def _document(self, name: str) -> ToolSource | None:
        return api_source(self.config, name, self._environ, self.credential)

    def _mcp(self, use: ToolUse) -> Sequence[ToolSource]:
        return self._one_of(use, [one.id for one in self.config.mcp], self._servers, "mcp")

    def _one_of(
        self, use: ToolUse, ids: Sequence[str], sources: Mapping[str, ToolSource], section: str
    ) -> Sequence[ToolSource]:
        if use.provider_id in sources:
            return [sources[use.provider_id]]
        raise ToolFault(
            "unknown_tool",
            f"there is not a provider named {use.provider_id!r} under `{section}` of {self.config.source}; "
            f"{_there_are(ids)}",
        )

    async def _among(self, use: ToolUse, sources: Sequence[ToolSource]) -> Tool:
        """Find a tool by name, of its provider, or of any where it names none."""
        of_it = [each for each in sources if each.provider_id == use.provider_id] if use.provider_id else sources
        if not of_it:
            ids = [each.provider_id for each in sources]
            raise ToolFault(
                "unknown_tool",
                f"there is not a {use.provider_type} provider named {use.provider_id!r}; {_there_are(ids)}",
            )
        names: list[str] = []
        for source in of_it:
            try:
                tools = await self._loaded(source)
            except ToolFault:
                if use.provider_id:
                    raise
                continue
            if use.tool_name in tools:
                return tools[use.tool_name]
            names += tools
        whose = f" of {use.provider_id!r}" if use.provider_id else ""
        raise ToolFault("unknown_tool", f"there is not a tool named {use.tool_name!r}{whose}; {_there_are(names)}")

    async def _loaded(self, source: ToolSource) -> Mapping[str, Tool]:
        # Servers may change what they have; the rest never does.
        if source.provider_type == "mcp":
            return {tool.declaration.name: tool for tool in await source.tools()}
        key = (source.provider_type, source.provider_id)
        if key not in self._tools:
            self._tools[key] = {tool.declaration.name: tool for tool in await source.tools()}
        return self._tools[key]


def _of_api(provider_id: str) -> ToolUse:
    return ToolUse(provider_type="api", provider_id=provider_id, tool_name="")


def _there_are(names: Iterable[str]) -> str:
    known = sorted(set(names))
    more = f" and {len(known) - _MOST_NAMED} more" if len(known) > _MOST_NAMED else ""
    return f"there are: {', '.join(known[:_MOST_NAMED])}{more}." if known else "there are none."
