"""Specifications for tests, and a real server that answers whatever they name."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fakes.http_server import HttpServer, Recorded, listening
from perdure_activities.files import FileStore
from perdure_activities.tools.openapi import OpenAPISource, OpenAPITools
from perdure_activities.tools.protocol import Tool, ToolCallContext
from perdure_graph.agents.tools import ToolPart

Answer = tuple[int, Mapping[str, str], bytes]
Answering = Any


@dataclass
class Api(HttpServer):
    """Answers by path: bytes with a status and headers, or what a function makes of the request; else `{}`."""

    answers: dict[str, Answering] = field(default_factory=dict)

    async def _answer(self, request: Recorded, writer: asyncio.StreamWriter) -> None:
        given = self.answers.get(request.target.partition("?")[0], (200, {"Content-Type": "application/json"}, b"{}"))
        status, headers, body = given(request) if callable(given) else given
        if asyncio.iscoroutine(body):
            body = await body
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *(f"{k}: {v}" for k, v in headers.items())]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (b"" if request.method == "HEAD" else body))


@asynccontextmanager
async def api() -> AsyncIterator[Api]:
    """Serve on a free port until the block ends."""
    server = Api()
    async with listening(server.handle) as server.port:
        yield server


def spec(paths: Mapping[str, Any], *, version: str = "3.0.3", **more: Any) -> dict[str, Any]:
    """Make a document of OpenAPI 3."""
    return {"openapi": version, "info": {"title": "t", "version": "1"}, "paths": paths, **more}


def operation(
    *parameters: Mapping[str, Any], body: Any = None, media: str = "application/json", **more: Any
) -> dict[str, Any]:
    """Make an operation; body: the schema of what it takes."""
    made: dict[str, Any] = {"parameters": list(parameters), "responses": {"200": {"description": "ok"}}, **more}
    if body is not None:
        made["requestBody"] = {"required": True, "content": {media: {"schema": body}}}
    return made


def source(folder: Path, document: Any, **more: Any) -> OpenAPITools:
    """Write a document to a file and make a source of it."""
    text = document if isinstance(document, str) else json.dumps(document)
    (folder / "spec.yaml").write_text(text)
    fields = {"id": "api", "spec": "spec.yaml", "base_url": "http://127.0.0.1:9/v1", **more}
    own = {name: fields.pop(name) for name in ("files", "credentials", "environ", "resolver") if name in fields}
    return OpenAPITools(OpenAPISource(**fields), folder, **{"files": FileStore(folder / "files"), **own})


async def tools_of(folder: Path, document: Any, **more: Any) -> dict[str, Tool]:
    """Give the tools of a document by name."""
    return {tool.declaration.name: tool for tool in await source(folder, document, **more).tools()}


def context(folder: Path = Path("unused"), *, timeout_s: float = 5.0, **secrets: str) -> ToolCallContext:
    """Say who calls; a `__` in the name of a secret is a dot."""
    named = {name.replace("__", "."): value for name, value in secrets.items()}
    return ToolCallContext(key="run/1/call_1", run_id="run", folder=folder, timeout_s=timeout_s, secrets=named)


@dataclass
class Caller:
    """Calls operations of a document at a server."""

    folder: Path
    server: Api

    async def call(
        self, document: Any, arguments: Mapping[str, Any], *, name: str = "", secrets: Any = None, **more: Any
    ) -> Sequence[ToolPart]:
        """Call one operation, the first where none is named."""
        tools = await self.tools(document, **more)
        return await (tools[name] if name else next(iter(tools.values()))).run(
            arguments, {}, context(self.folder, **(secrets or {}))
        )

    async def tools(self, document: Any, **more: Any) -> dict[str, Tool]:
        """Give the tools of a document that stands for the server."""
        fields = {"base_url": self.server.url("/v1"), "allow_private": True, **more}
        return await tools_of(self.folder, document, **fields)

    async def sent(self, document: Any, arguments: Mapping[str, Any], **more: Any) -> Recorded:
        """Call an operation and give what came over the wire."""
        await self.call(document, arguments, **more)
        return self.server.requests[-1]
