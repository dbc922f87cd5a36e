"""Where tools come from besides our own: functions of modules and packages, OpenAPI documents, MCP servers."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, cast

from perdure_graph.agents.config import ToolType
from perdure_graph.naming import TOOL_PLUGINS

from ..files import default_store
from .config import ToolsConfig
from .custom import FunctionTool
from .protocol import Tool, ToolFault, ToolSource

Credentials = Callable[[str], Awaitable[Mapping[str, str]]]

# Agents ask for several tools at once, and a module that is only half imported has only half of its tools.
_IMPORTING = threading.Lock()


class FixedSource:
    """Tools that are there from the start."""

    def __init__(self, provider_type: ToolType, provider_id: str, tools: Iterable[Tool]) -> None:
        self._type: ToolType = provider_type
        self._id = provider_id
        self._tools = tuple(tools)

    @property
    def provider_type(self) -> ToolType:
        """Kind of provider."""
        return self._type

    @property
    def provider_id(self) -> str:
        """Its name."""
        return self._id

    async def tools(self) -> Sequence[Tool]:
        """Give its tools."""
        return self._tools

    async def close(self) -> None:
        """Do nothing: it holds nothing."""


class BrokenSource(FixedSource):
    """A source that does not load: whoever wants a tool of it is told why."""

    def __init__(self, provider_type: ToolType, provider_id: str, why: str) -> None:
        super().__init__(provider_type, provider_id, ())
        self._why = why

    async def tools(self) -> Sequence[Tool]:
        """Say why there are none.

        Raises:
            ToolFault: always.
        """
        raise ToolFault("unknown_tool", self._why)


class PythonSources:
    """Functions of the modules under `python` of the tools file."""

    def __init__(self, config: ToolsConfig) -> None:
        self._config = config
        self._found: list[ToolSource] | None = None

    async def sources(self) -> Sequence[ToolSource]:
        """Give a source for each provider that the functions name; importing them takes place in a thread, once."""
        if self._found is None:
            self._found = await asyncio.to_thread(self._load)
        return self._found

    def _load(self) -> list[ToolSource]:
        with _IMPORTING:
            return self._imported()

    def _imported(self) -> list[ToolSource]:
        broken: list[ToolSource] = []
        tools: list[FunctionTool] = []
        for name in self._config.python:
            try:
                tools += _functions(self._module(name))
            except Exception as error:
                why = (
                    f"`python` of {self._config.source}: {name!r} cannot be imported ({type(error).__name__}: {error})"
                )
                broken.append(
                    BrokenSource("custom", name.rpartition("/")[2].removesuffix(".py").rpartition(".")[2], why)
                )
        return [*_by_provider(tools), *broken]

    def _module(self, name: str) -> ModuleType:
        if not name.endswith(".py"):
            return import_module(name)
        path = self._config.beside(name).resolve()
        # Files of one name in different folders are different modules.
        own = f"perdure_tools_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}.{path.stem}"
        if own in sys.modules:
            return sys.modules[own]
        spec = importlib.util.spec_from_file_location(own, path)
        if spec is None or spec.loader is None:
            raise ImportError(f"{path} is no Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[own] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[own]
            raise
        return module


class PackageSources:
    """Tools of installed packages: the entry points `perdure.tools`. The name of one is the id of its provider.

    An entry point leads to a module, a tool, a list of tools, or a `ToolSource`.
    """

    def __init__(self, points: Iterable[EntryPoint] | None = None) -> None:
        self._points = points
        self._found: list[ToolSource] | None = None

    async def sources(self) -> Sequence[ToolSource]:
        """Give a source for each; loading them takes place in a thread, once."""
        if self._found is None:
            self._found = await asyncio.to_thread(self._load)
        return self._found

    def _load(self) -> list[ToolSource]:
        points = entry_points(group=TOOL_PLUGINS) if self._points is None else self._points
        return [_packaged(point) for point in sorted(points, key=lambda each: (each.name, each.value))]


def _packaged(point: EntryPoint) -> ToolSource:
    where = f"entry point {point.name!r} ({point.dist.name if point.dist else 'unknown package'}: {point.value})"
    try:
        value: Any = point.load()
    except Exception as error:
        return BrokenSource("plugin", point.name, f"{where} does not load ({type(error).__name__}: {error})")
    if isinstance(value, ModuleType):
        value = _functions(value)
    many = cast("list[Any]", [*value]) if isinstance(value, list | tuple) else [value]
    if len(many) == 1 and hasattr(many[0], "tools") and hasattr(many[0], "provider_id"):
        return cast("ToolSource", many[0])
    if not many or not all(hasattr(each, "declaration") and hasattr(each, "run") for each in many):
        why = f"{where} must lead to tools (`@tool`), a module with tools, or a source of tools"
        return BrokenSource("plugin", point.name, why)
    tools = [each.provided_by("plugin", point.name) if isinstance(each, FunctionTool) else each for each in many]
    return FixedSource("plugin", point.name, tools)


def _functions(module: ModuleType) -> list[FunctionTool]:
    """Give the tools of a module, those that it imported too, each once and in order."""
    found = [value for value in vars(module).values() if isinstance(value, FunctionTool)]
    return list(dict.fromkeys(found))


def _by_provider(tools: Iterable[FunctionTool]) -> list[ToolSource]:
    grouped: dict[str, list[Tool]] = {}
    for each in tools:
        grouped.setdefault(each.declaration.provider_id, []).append(each)
    return [FixedSource("custom", name, members) for name, members in grouped.items()]


def mcp_sources(config: ToolsConfig, environ: Mapping[str, str], credentials: Credentials) -> dict[str, ToolSource]:
    """Make a source of each MCP server, by its id; none is started before its tools are asked for."""
    if not config.mcp:
        return {}
    from .mcp import McpSource
    from .mcp.commands import AllowedCommands

    allowed = AllowedCommands(config.allow_commands, path=environ.get("PATH"))
    store = default_store()
    return {
        server.id: McpSource(server, allowed, store, credentials=credentials, environ=environ) for server in config.mcp
    }


def api_source(
    config: ToolsConfig, provider_id: str, environ: Mapping[str, str], credentials: Credentials
) -> ToolSource | None:
    """Make the source of an OpenAPI document; its file is read when its tools are asked for."""
    from .openapi import OpenAPITools

    found = next((one for one in config.openapi if one.id == provider_id), None)
    if found is None:
        return None
    return OpenAPITools(found, config.folder, credentials=credentials, environ=environ)
