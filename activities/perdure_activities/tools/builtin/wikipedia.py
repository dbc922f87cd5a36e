"""Look things up in Wikipedia, through the API of MediaWiki."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, cast

from pydantic import Field

from ..custom import FunctionTool, tool
from ..protocol import ToolCallContext
from .text import readable
from .web import at, fetched_json

if TYPE_CHECKING:
    from ..config import Wikipedia

_TIMEOUT_S = 30.0
_MOST_CHARS = 4_000


def wikipedia_tool(place: Wikipedia) -> FunctionTool:
    """Make the tool for an API."""

    @tool(provider="wikipedia", label="Wikipedia", retry="safe", timeout_s=_TIMEOUT_S)
    async def wikipedia_search(
        query: Annotated[str, Field(description="What to look up, in few words.", min_length=1, max_length=300)],
        language: Annotated[
            str,
            Field(
                description="Code of the language, such as `en`, `de` or `zh`.", pattern=r"^[a-z]{2,3}(-[a-z]{2,10})*$"
            ),
        ] = "en",
        *,
        context: ToolCallContext,
    ) -> str:
        """Look something up in Wikipedia; gives the summaries of the articles that fit best."""
        params = {
            "action": "query",
            "format": "json",
            "formatversion": "2",
            "generator": "search",
            "gsrsearch": query,
            "gsrlimit": "3",
            "prop": "extracts|info",
            "inprop": "url",
            "exintro": "1",
            "explaintext": "1",
            "exlimit": "max",
            "redirects": "1",
        }
        answer = await fetched_json(
            place.url.replace("{language}", language),
            params=[*params.items()],
            timeout_s=min(_TIMEOUT_S, context.timeout_s),
            allow_private=place.allow_private,
        )
        return _text(answer) or f"No article was found for {query!r}."

    return wikipedia_search


def _text(answer: Any) -> str:
    pages: Any = at(answer, "query.pages")
    listed = [*cast("dict[str, Any]", pages).values()] if isinstance(pages, dict) else cast("list[Any]", pages or [])
    listed.sort(key=lambda page: at(page, "index") or 0)
    articles = [_article(page) for page in listed if at(page, "title")]
    return "\n\n".join(articles)


def _article(page: Any) -> str:
    summary = readable(str(at(page, "extract") or "")[: 2 * _MOST_CHARS])[:_MOST_CHARS]
    return f"Page: {at(page, 'title')}\nSummary: {summary}\n{at(page, 'fullurl') or ''}".strip()
