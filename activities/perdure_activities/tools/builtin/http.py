"""Send an HTTP request."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from typing import Annotated, Literal
from urllib.parse import quote

from pydantic import Field, JsonValue

from perdure_graph.agents.tools import FileOut, JsonOut, TextOut, ToolPart
from perdure_graph.effects import SAFE_METHODS

from ...files import default_store
from ...http import IDEMPOTENCY_KEY
from ...http_reply import filename_of, is_text
from ..custom import tool
from ..protocol import ToolCallContext
from .web import fetched

_TIMEOUT_S = 60.0
_MAX_BYTES = 10 * 1024 * 1024
_MAX_KEY_CHARS = 255
_KEY_CHARS = "/#[]:,.!~@"
# Those of the connection, and those by which one server speaks to another, are not the model's to choose.
_KEPT = frozenset({"host", "content-length", "transfer-encoding", "connection", "upgrade", "proxy-authorization"})

Method = Literal["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]


@tool(provider="http", label="HTTP request", retry="keyed", timeout_s=_TIMEOUT_S)
async def http_request(
    url: Annotated[str, Field(description="Address, beginning with http:// or https://.")],
    method: Annotated[Method, Field(description="Method.")] = "GET",
    headers: Annotated[dict[str, str] | None, Field(description="Headers, by name.")] = None,
    params: Annotated[dict[str, JsonValue] | None, Field(description="What is added to the query of the URL.")] = None,
    body: Annotated[JsonValue, Field(description="Body: text is sent as it is, all else as JSON.")] = None,
    *,
    context: ToolCallContext,
) -> Sequence[ToolPart]:
    """Send an HTTP request; gives the status and the body of the answer, whatever the status is."""
    content, media_type = _content(body)
    sent = {name: value for name, value in (headers or {}).items() if name.lower() not in _KEPT}
    given = {name.lower() for name in sent}
    if media_type and "content-type" not in given:
        sent["Content-Type"] = media_type
    if method not in SAFE_METHODS and IDEMPOTENCY_KEY.lower() not in given:
        sent[IDEMPOTENCY_KEY] = key_header(context.key)
    reply = await fetched(
        method,
        url.strip(),
        headers=[*sent.items()],
        params=[(name, str(value)) for name, value in (params or {}).items()],
        content=content,
        secret_headers=[*sent],
        timeout_s=min(_TIMEOUT_S, context.timeout_s),
        max_bytes=_MAX_BYTES,
    )
    answer: dict[str, JsonValue] = {"status_code": reply.status_code, "headers": dict(reply.headers)}
    if method == "HEAD" or is_text(reply.headers, reply.content):
        said = f"HTTP {reply.status_code}\n{reply.text}".strip()
        return (TextOut(text=said), JsonOut(value={**answer, "body": reply.text}, shown=False))
    name, kind = filename_of(reply.headers, reply.url)
    file = await asyncio.to_thread(default_store().put, reply.content, name, kind)
    return (TextOut(text=f"HTTP {reply.status_code}"), JsonOut(value=answer, shown=False), FileOut(file=file))


def _content(body: JsonValue) -> tuple[bytes, str]:
    if body is None or body == "":
        return b"", ""
    if not isinstance(body, str):
        return json.dumps(body, ensure_ascii=False).encode(), "application/json"
    is_json = body.lstrip()[:1] in ("{", "[")
    return body.encode("utf-8", "replace"), "application/json" if is_json else "text/plain; charset=utf-8"


def key_header(key: str) -> str:
    """Write a key as services accept it."""
    text = quote(key, safe=_KEY_CHARS)
    return text if len(text) <= _MAX_KEY_CHARS else hashlib.sha256(text.encode()).hexdigest()
