"""Read a web page."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from perdure_graph.agents.tools import JsonOut, TextOut, ToolPart

from ...http_reply import is_text, media_type_of
from ..custom import Setting, tool
from ..protocol import ToolCallContext, ToolFault
from .text import page_text
from .web import fetched

_TIMEOUT_S = 40.0
_MAX_BYTES = 2 * 1024 * 1024


@tool(provider="webscraper", label="Web page reader", retry="safe", timeout_s=_TIMEOUT_S)
async def webscraper(
    url: Annotated[str, Field(description="Address of the page, beginning with http:// or https://.")],
    user_agent: Annotated[str, Setting()] = "",
    *,
    context: ToolCallContext,
) -> Sequence[ToolPart]:
    """Read the text of a web page."""
    headers = [("Accept", "text/html,text/plain,application/json;q=0.9,*/*;q=0.5")]
    headers += [("User-Agent", user_agent)] if user_agent.strip() else []
    reply = await fetched(
        "GET", url.strip(), headers=headers, timeout_s=min(_TIMEOUT_S, context.timeout_s), max_bytes=_MAX_BYTES
    )
    if not 200 <= reply.status_code < 300:
        raise ToolFault(
            "invoke",
            f"the page {url!r} cannot be read: its server answered with status {reply.status_code}.",
            retryable=reply.status_code in (429, 502, 503, 504),
        )
    media_type = media_type_of(reply.headers)
    if not is_text(reply.headers, reply.content):
        raise ToolFault("invoke", f"{url!r} is no page but {media_type or 'data'}, which this tool cannot read.")
    if "html" not in media_type and not reply.text.lstrip()[:15].lower().startswith(("<!doctype html", "<html")):
        return (TextOut(text=reply.text),)
    title, text = await asyncio.to_thread(page_text, reply.text)
    shown = "\n\n".join(filter(None, (f"TITLE: {title}" if title else "", text))) or "The page has no text."
    return (TextOut(text=shown), JsonOut(value={"url": reply.url, "title": title}, shown=False))
