"""The tools that come along: one module each, written as anybody would write theirs, with `@tool`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ..sources import FixedSource
from .calculator import calculator
from .files import file_list, file_read, file_write
from .http import http_request
from .json_query import json_query
from .search import search_tool
from .time import current_time, localtime_to_timestamp, timestamp_to_localtime, timezone_conversion, weekday
from .webscraper import webscraper
from .wikipedia import wikipedia_tool

if TYPE_CHECKING:
    from ..config import ToolsConfig
    from ..custom import FunctionTool

# Tools of Dify that ours stand in for: (provider, tool) there -> here.
_ALIASES = {
    ("maths", "eval_expression"): ("calculator", "calculator"),
    ("json_process", "parse"): ("json", "json_query"),
    ("builtin", "json_parse"): ("json", "json_query"),
    ("searxng", "searxng_search"): ("search", "search"),
}


def builtin_sources(config: ToolsConfig, environ: Mapping[str, str]) -> Sequence[FixedSource]:
    """Give the sources of all of them, by provider. What searches is told where by the tools file."""
    times = (current_time, timezone_conversion, weekday, localtime_to_timestamp, timestamp_to_localtime)
    tools = (
        *times,
        calculator,
        webscraper,
        http_request,
        json_query,
        wikipedia_tool(config.wikipedia),
        search_tool(config.search, environ),
        file_read,
        file_write,
        file_list,
    )
    return _by_provider(tools)


def alias_of(provider_id: str, tool_name: str) -> tuple[str, str]:
    """Say which of ours is meant by a provider and a tool; ids may be whole, as in `langgenius/time/time`.

    A provider that is none of ours, `builtin` or nothing, means a tool of any.
    """
    provider = provider_id.rpartition("/")[2]
    provider, name = _ALIASES.get((provider, tool_name), (provider, tool_name))
    return ("" if provider in ("builtin", tool_name) and provider not in PROVIDERS else provider), name


def _by_provider(tools: Iterable[FunctionTool]) -> list[FixedSource]:
    grouped: dict[str, list[FunctionTool]] = {}
    for each in tools:
        provider = each.declaration.provider_id
        grouped.setdefault(provider, []).append(each.provided_by("builtin", provider))
    return [FixedSource("builtin", provider, members) for provider, members in grouped.items()]


PROVIDERS = frozenset({"time", "calculator", "webscraper", "http", "json", "wikipedia", "search", "files"})
