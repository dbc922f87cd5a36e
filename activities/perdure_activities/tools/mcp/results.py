"""What a call gave, as tool parts. Bytes go to the file store, never into a history."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from perdure_graph.agents.tools import FileOut, JsonOut, LinkOut, TextOut, ToolPart

from ...files import FileStore
from ..protocol import ToolFault
from .secret_values import Resolved, as_json

if TYPE_CHECKING:
    from mcp_types import CallToolResult, ContentBlock, EmbeddedResource, ResourceLink


async def parts_of(result: CallToolResult, *, tool: str, store: FileStore, secrets: Resolved) -> Sequence[ToolPart]:
    """Turn a result into parts, in order; structured content comes last, and is shown where no text says the same.

    Raises:
        ToolFault: `invoke`, the tool itself failed, or its result cannot be read.
    """
    if result.is_error:
        raise ToolFault("invoke", secrets.hide(_error_text(result.content)) or f"{tool!r} failed without saying why")
    parts = [part for block in result.content for part in await _parts(block, tool, store, secrets)]
    if result.structured_content is not None:
        said = any(isinstance(part, TextOut) for part in parts)
        parts.append(JsonOut(value=secrets.hide_in(as_json(result.structured_content)), shown=not said))
    return parts


def _error_text(content: Sequence[ContentBlock]) -> str:
    return "\n".join(block.text for block in content if block.type == "text").strip()


async def _parts(block: ContentBlock, tool: str, store: FileStore, secrets: Resolved) -> list[ToolPart]:
    match block.type:
        case "text":
            return [TextOut(text=secrets.hide(block.text))]
        case "image" | "audio":
            return [await _stored(block.data, block.mime_type, "", tool, store)]
        case "resource_link":
            return [_link(block, secrets)]
        case "resource":
            return await _embedded(block, tool, store, secrets)


def _link(block: ResourceLink, secrets: Resolved) -> ToolPart:
    uri = secrets.hide(str(block.uri))
    if urlsplit(uri).scheme in {"http", "https"}:
        return LinkOut(url=uri, image=(block.mime_type or "").startswith("image/"))
    # Only the server itself can read it.
    about = " ".join(part for part in (block.title or block.name, block.description) if part)
    return TextOut(text=secrets.hide(f"resource {uri}: {about}" if about else f"resource {uri}"))


async def _embedded(block: EmbeddedResource, tool: str, store: FileStore, secrets: Resolved) -> list[ToolPart]:
    from mcp_types import TextResourceContents

    resource = block.resource
    if isinstance(resource, TextResourceContents):
        return [TextOut(text=secrets.hide(resource.text))]
    name = PurePosixPath(unquote(urlsplit(str(resource.uri)).path)).name
    return [await _stored(resource.blob, resource.mime_type or "", secrets.hide(name), tool, store)]


async def _stored(data: str, mime_type: str, name: str, tool: str, store: FileStore) -> ToolPart:
    try:
        content = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise ToolFault("invoke", f"{tool!r} gave a file ({mime_type or 'of no type'}) that is no base64") from None
    return FileOut(file=await asyncio.to_thread(store.put, content, name, mime_type))
