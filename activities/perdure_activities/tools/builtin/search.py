"""Search the web through the endpoint that the tools file names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, cast
from urllib.parse import quote

from pydantic import Field

from perdure_graph.agents.tools import JsonOut, TextOut, ToolPart

from ..custom import FunctionTool, tool
from ..protocol import ToolCallContext, ToolFault
from .text import readable
from .web import at, fetched_json

if TYPE_CHECKING:
    from ..config import SearchEndpoint

_TIMEOUT_S = 30.0
_MAX_SNIPPET = 500


def search_tool(endpoint: SearchEndpoint | None, environ: Mapping[str, str]) -> FunctionTool:
    """Make the tool of an endpoint; without one it says so when it is called."""

    @tool(provider="search", label="Search the web", retry="safe", timeout_s=_TIMEOUT_S)
    async def search(
        query: Annotated[str, Field(description="What to search for.", min_length=1)],
        count: Annotated[int, Field(description="How many results.", ge=1, le=20)] = 5,
        *,
        context: ToolCallContext,
    ) -> Sequence[ToolPart]:
        """Search the web; gives titles, links and excerpts of the best results."""
        if endpoint is None:
            raise ToolFault(
                "refused",
                "this worker has no search engine. Name one under `search` of the worker's tools file, as in "
                "`search: {url: https://host/search?q={query}&format=json}`.",
            )
        url = endpoint.url.replace("{query}", quote(query, safe="")).replace("{count}", str(count))
        answer = await fetched_json(
            url,
            headers=_headers(endpoint, environ),
            timeout_s=min(_TIMEOUT_S, context.timeout_s),
            allow_private=endpoint.allow_private,
        )
        return _parts(endpoint, answer, query, count)

    return search


def _headers(endpoint: SearchEndpoint, environ: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, place in endpoint.headers.items():
        if not (value := environ.get(place.env, "").strip()):
            raise ToolFault(
                "credentials",
                f"the variable {place.env} that the header {name!r} of `search` is taken from is not set. Set it in "
                "the environment of the worker.",
            )
        found[name] = value
    return found


def _parts(endpoint: SearchEndpoint, answer: Any, query: str, count: int) -> Sequence[ToolPart]:
    listed = at(answer, endpoint.results)
    if not isinstance(listed, list):
        raise ToolFault(
            "invoke",
            f"the search engine gave no list under {endpoint.results!r}. Correct `search.results` of the tools file.",
        )
    results = [
        {
            "title": _first(item, endpoint.title),
            "url": _first(item, endpoint.link),
            "snippet": _first(item, endpoint.snippet)[:_MAX_SNIPPET],
        }
        for item in cast("list[Any]", listed)[:count]
    ]
    lines = [f"{n}. {each['title']}\n{each['url']}\n{each['snippet']}".strip() for n, each in enumerate(results, 1)]
    text = "\n\n".join(lines) or f"Nothing was found for {query!r}."
    return (TextOut(text=text), JsonOut(value={"query": query, "results": cast("Any", results)}, shown=False))


def _first(item: Any, names: Sequence[str]) -> str:
    values = (at(item, name) for name in names)
    return next((readable(str(value)[: 10 * _MAX_SNIPPET]) for value in values if value not in (None, "")), "")
