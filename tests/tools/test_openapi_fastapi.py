"""The document that FastAPI writes of an application, read and called over a socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import pytest
import uvicorn
from fastapi import Body, Cookie, FastAPI, File, Form, Header, HTTPException, Query, Response, Security, UploadFile
from fastapi.security import APIKeyHeader, HTTPBearer
from jsonschema import Draft202012Validator
from pydantic import BaseModel, Field

from fakes.openapi_api import context, source
from perdure_activities.files import FileStore
from perdure_activities.tools.arguments import read
from perdure_activities.tools.protocol import Tool, ToolFault
from perdure_activities.tools.schema import schema_of
from perdure_graph.agents.tools import FileOut, JsonOut, TextOut


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Node(BaseModel):
    name: str = Field(min_length=1)
    colour: Colour = Colour.RED
    since: date | None = None
    children: list[Node] = []


class Order(BaseModel):
    amount: int = Field(gt=0, lt=100)
    note: str | None = None


def _app() -> FastAPI:
    app = FastAPI()

    @app.get("/items/{item_id}", operation_id="get_item")
    async def get_item(
        item_id: int,
        tags: Annotated[list[str], Query(default_factory=list)],
        colour: Colour | None = None,
        x_trace: Annotated[str | None, Header()] = None,
        session: Annotated[str | None, Cookie()] = None,
    ) -> dict[str, Any]:
        return {"id": item_id, "tags": tags, "colour": colour, "trace": x_trace, "session": session}

    @app.post("/nodes", operation_id="add_node")
    async def add_node(node: Node) -> Node:
        return node

    @app.put("/orders/{order_id}", operation_id="put_order")
    async def put_order(order_id: str, order: Order, why: Annotated[str, Body()]) -> dict[str, Any]:
        return {"id": order_id, **order.model_dump(), "why": why}

    @app.post("/form", operation_id="send_form")
    async def send_form(name: Annotated[str, Form()], sizes: Annotated[list[int], Form()]) -> dict[str, Any]:
        return {"name": name, "sizes": sizes}

    @app.post("/upload", operation_id="upload")
    async def upload(
        one: UploadFile, more: Annotated[list[UploadFile], File()], note: Annotated[str | None, Form()] = None
    ) -> dict[str, Any]:
        files = [one, *more]
        return {"files": [[each.filename, (await each.read()).decode()] for each in files], "note": note}

    @app.get("/picture", operation_id="picture")
    async def picture() -> Response:
        return Response(b"\x89PNG", media_type="image/png")

    @app.delete("/items/{item_id}", operation_id="delete_item", status_code=204)
    async def delete_item(item_id: int) -> None:
        if item_id == 0:
            raise HTTPException(404, "no such item")

    @app.get("/keyed", operation_id="keyed")
    async def keyed(key: Annotated[str, Security(APIKeyHeader(name="X-Key"))]) -> str:
        return "in" if key == "k" else "out"

    @app.get("/bearer", operation_id="bearer")
    async def bearer(token: Annotated[Any, Security(HTTPBearer())]) -> str:
        return "in" if token.credentials == "t" else "out"

    return app


@pytest.fixture(scope="module")
async def base_url() -> AsyncIterator[tuple[FastAPI, str]]:
    app = _app()
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.01)
    yield app, f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    await serving
    listener.close()


class Tools:
    """The tools of the application; a call is read against its schema first, as a model's is."""

    def __init__(self, tools: Mapping[str, Tool], folder: Path) -> None:
        self.tools = tools
        self.folder = folder

    async def call(self, name: str, arguments: Mapping[str, Any], **secrets: str) -> Any:
        tool = self.tools[name]
        made = read(schema_of(tool.declaration), dict(arguments))
        assert isinstance(made, dict), made
        (part,) = await tool.run(made, {}, context(self.folder, **secrets))
        return part.value if isinstance(part, JsonOut) else part


@pytest.fixture
async def tools(base_url: tuple[FastAPI, str], tmp_path: Path) -> Tools:
    app, url = base_url
    found = source(tmp_path, app.openapi(), base_url=url, allow_private=True)
    tools = {tool.declaration.name: tool for tool in await found.tools()}
    assert found.problems == ()
    for tool in tools.values():
        Draft202012Validator.check_schema(schema_of(tool.declaration))
    return Tools(tools, tmp_path)


async def test_every_route_is_a_tool(base_url: tuple[FastAPI, str], tools: Tools) -> None:
    app, _ = base_url
    assert list(tools.tools) == [
        one["operationId"] for item in app.openapi()["paths"].values() for one in item.values()
    ]


async def test_parameters(tools: Tools) -> None:
    value = await tools.call(
        "get_item", {"item_id": "7", "tags": ["a b", "c&d"], "colour": "blue", "x-trace": "t", "session": "s;1"}
    )
    assert value == {"id": 7, "tags": ["a b", "c&d"], "colour": "blue", "trace": "t", "session": "s%3B1"}
    assert (await tools.call("get_item", {"item_id": 7}))["tags"] == []


async def test_bodies(tools: Tools) -> None:
    node = {"name": "a", "since": "2024-01-31", "children": [{"name": "b"}]}
    value = await tools.call("add_node", node)
    assert value["children"][0] == {"name": "b", "colour": "red", "since": None, "children": []}
    value = await tools.call("put_order", {"order_id": "x 1", "order": {"amount": 5}, "why": "w"})
    assert value == {"id": "x 1", "amount": 5, "note": None, "why": "w"}
    assert await tools.call("send_form", {"name": "a b", "sizes": [1, 2]}) == {"name": "a b", "sizes": [1, 2]}


async def test_files(tools: Tools) -> None:
    store = FileStore(tools.folder / "files")
    a, b = store.put(b"one", "a.txt"), store.put(b"two", "b.txt")
    value = await tools.call("upload", {"one": a, "more": [b, a], "note": "n"})
    assert value == {"files": [["a.txt", "one"], ["b.txt", "two"], ["a.txt", "one"]], "note": "n"}
    part = await tools.call("picture", {})
    assert isinstance(part, FileOut)
    assert store.read(str(part.file["related_id"])) == b"\x89PNG"


async def test_nothing_and_faults(tools: Tools) -> None:
    assert await tools.call("delete_item", {"item_id": 1}) == TextOut(text="Done (204 No Content, no content).")
    with pytest.raises(
        ToolFault, match=r'DELETE /items/\{item_id\} answers 404 Not Found: \{"detail":"no such item"\}'
    ):
        await tools.call("delete_item", {"item_id": 0})
    with pytest.raises(ToolFault, match=r"answers 422 .*greater than 0"):
        await tools.tools["put_order"].run({"order_id": "x", "order": {"amount": 0}, "why": "w"}, {}, context())


async def test_keys(tools: Tools) -> None:
    assert await tools.call("keyed", {}, api_key="k") == "in"
    assert await tools.call("bearer", {}, token="t") == "in"
    with pytest.raises(ToolFault, match="needs `token`"):
        await tools.call("bearer", {})
