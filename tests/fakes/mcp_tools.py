"""A real MCP server, made of the SDK's own classes: `python mcp_tools.py stdio` or `python mcp_tools.py http PORT`.

What it was told goes, line by line, into the file that CALLS names.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import mcp_types as types
from mcp.server.mcpserver import Context, Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel, Field

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(64))
server = MCPServer("tools", version="1.0", log_level="CRITICAL")
READS = types.ToolAnnotations(read_only_hint=True)


def note(**what: Any) -> None:
    if path := os.environ.get("CALLS"):
        with Path(path).open("a") as file:
            file.write(json.dumps(what) + "\n")


@server.tool(title="Echo", annotations=READS)
def echo(text: str, ctx: Context) -> str:
    """Say it again."""
    note(tool="echo", key=(ctx.request_context.meta or {}).get("perdure/idempotency-key"))
    return text


@server.tool(annotations=READS)
async def slow(seconds: float) -> str:
    """Take a while."""
    note(tool="slow", began=True)
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        note(tool="slow", cancelled=True)
        raise
    return "slept"


@server.tool(annotations=types.ToolAnnotations(destructive_hint=True, idempotent_hint=True))
def crash() -> str:
    """End the server."""
    sys.stderr.write(f"about to end, key {os.environ.get('SERVICE_KEY', '')}\n")
    sys.stderr.flush()
    os.kill(os.getpid(), signal.SIGKILL)
    return ""


@server.tool()
async def hang() -> str:
    """Hold up the whole server."""
    time.sleep(60)
    return ""


@server.tool()
async def book(what: str, seconds: float = 0) -> str:
    """Do what must not be done twice, and say nothing of that."""
    note(tool="book", what=what)
    await asyncio.sleep(seconds)
    return f"booked {what}"


class Sum(BaseModel):
    total: int


@server.tool(annotations=types.ToolAnnotations(idempotent_hint=True))
def add(a: int, b: Annotated[int, Field(description="the second")] = 1) -> Sum:
    """Add two numbers."""
    return Sum(total=a + b)


@server.tool()
def image() -> Image:
    """Draw."""
    return Image(data=PNG, format="png")


@server.tool()
def mixed() -> list[types.ContentBlock]:
    """Give a bit of everything."""
    return [
        types.TextContent(text="first"),
        types.AudioContent(data="UklGRg==", mime_type="audio/wav"),
        types.ResourceLink(name="page", uri="https://example.org/page"),
        types.ResourceLink(name="notes", uri="file:///srv/notes.txt", description="what was said"),
        types.EmbeddedResource(resource=types.TextResourceContents(uri="memo://1", text="embedded text")),
        types.EmbeddedResource(
            resource=types.BlobResourceContents(
                uri="file:///a/report.pdf", blob="JVBERi0=", mime_type="application/pdf"
            )
        ),
    ]


@server.tool()
def error(message: str) -> str:
    """Fail."""
    raise ToolError(message)


@server.tool()
def env() -> dict[str, str]:
    """Show the environment."""
    return dict(os.environ)


@server.tool()
def arguments() -> str:
    """Note what it was started with."""
    texts = [value for name, value in sorted(os.environ.items(), key=_number) if name.startswith("TEXT_")]
    note(tool="arguments", given=sys.argv[1:], env=texts)
    return "noted"


def _number(entry: tuple[str, str]) -> int:
    return int(entry[0].removeprefix("TEXT_")) if entry[0].startswith("TEXT_") else -1


@server.tool()
def where() -> str:
    """Say which process, and which folder."""
    return json.dumps({"pid": os.getpid(), "cwd": str(Path.cwd())})


@server.tool()
def big(size: int) -> str:
    """Say a lot."""
    return "x" * size


@server.tool()
async def grow(ctx: Context) -> str:
    """Have one tool more."""

    def grown() -> str:
        """Be new."""
        return "grown"

    server.add_tool(grown)
    await ctx.notify_tools_changed()
    await ctx.session.send_tool_list_changed()
    return "done"


class Node(BaseModel):
    name: str
    children: list[Node] = []


@server.tool(name="odd.names/and:schemas")
def odd(tree: Node, pick: int | str | None = None, free: dict[str, Any] | None = None) -> str:
    """Take unusual arguments."""
    return f"{tree.name}:{len(tree.children)}:{pick!r}:{free!r}"


def main() -> None:
    if sys.argv[1] == "stdio":
        print("hello from a program that prints")
        sys.stdout.flush()
        server.run("stdio")
        return
    import uvicorn

    app = server.streamable_http_app(json_response=bool(os.environ.get("AS_JSON")))
    wanted = os.environ.get("WANTED")

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            headers = {name.decode(): value.decode() for name, value in scope["headers"]}
            note(method=scope["method"], agent=headers.get("user-agent"), session="mcp-session-id" in headers)
            if wanted and headers.get("authorization") != f"Bearer {wanted}":
                await send({"type": "http.response.start", "status": 401, "headers": []})
                await send({"type": "http.response.body", "body": b"no"})
                return
        await app(scope, receive, send)

    uvicorn.run(guarded, host="127.0.0.1", port=int(sys.argv[2]), log_level="critical", timeout_graceful_shutdown=1)


if __name__ == "__main__":
    main()
