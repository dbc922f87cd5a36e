"""Calls: what an answer becomes, what goes wrong, what is told, how often it may be tried."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fakes.http_server import PNG
from fakes.openapi_api import Api, Caller, api, context, operation, spec
from perdure_activities.files import FileStore
from perdure_activities.tools.openapi import replies
from perdure_activities.tools.protocol import ToolFault
from perdure_graph.agents.tools import FileOut, JsonOut, TextOut

PLAIN = spec({"/p": {"get": operation()}})
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def server() -> AsyncIterator[Api]:
    async with api() as running:
        yield running


@pytest.fixture
def caller(server: Api, tmp_path: Path) -> Caller:
    return Caller(tmp_path, server)


@pytest.mark.parametrize(
    ("headers", "body", "part"),
    [
        (JSON, b'{"a": [1, null]}', JsonOut(value={"a": [1, None]})),
        ({"Content-Type": "application/problem+json; charset=utf-8"}, b"3", JsonOut(value=3)),
        (JSON, b"{not json", TextOut(text="{not json")),
        (JSON, b"[NaN]", TextOut(text="[NaN]")),
        (JSON, b"[" * 100_000, TextOut(text="[" * 100_000)),
        (JSON, b'"\\ud800"', JsonOut(value="?")),
        ({"Content-Type": "text/plain; charset=latin-1"}, "é".encode("latin-1"), TextOut(text="é")),
        ({"Content-Type": "application/x-ndjson"}, b"{}\n{}", TextOut(text="{}\n{}")),
        ({}, b"", TextOut(text="Done (200 OK, no content).")),
    ],
)
async def test_answers(caller: Caller, headers: Any, body: bytes, part: Any) -> None:
    caller.server.answers["/v1/p"] = (200, headers, body)
    assert list(await caller.call(PLAIN, {})) == [part]


async def test_a_binary_answer_is_a_file(caller: Caller, tmp_path: Path) -> None:
    caller.server.answers["/v1/p"] = (200, {"Content-Type": "image/png"}, PNG)
    (part,) = await caller.call(PLAIN, {})
    assert isinstance(part, FileOut)
    assert (part.file["type"], part.file["mime_type"]) == ("image", "image/png")
    assert FileStore(tmp_path / "files").read(str(part.file["related_id"])) == PNG


async def test_head(caller: Caller) -> None:
    caller.server.answers["/v1/p"] = (200, {"X-Total": "7", "Set-Cookie": "a=b"}, b"")
    (part,) = await caller.call(spec({"/p": {"head": operation()}}), {})
    assert isinstance(part, JsonOut)
    assert isinstance(part.value, dict)
    assert part.value["status"] == 200
    assert json.dumps(part.value).count("7") >= 1
    assert "a=b" not in json.dumps(part.value)


@pytest.mark.parametrize(
    ("status", "again"),
    [(400, False), (404, False), (409, False), (408, True), (429, True), (500, True), (503, True), (304, False)],
)
async def test_other_statuses_are_faults(caller: Caller, status: int, again: bool) -> None:
    said = b'{"detail": "no\\n  such thing"}'
    caller.server.answers["/v1/p"] = (status, {**JSON, "Retry-After": "30"}, said if status != 304 else b"")
    with pytest.raises(ToolFault) as caught:
        await caller.call(PLAIN, {})
    assert (caught.value.kind, caught.value.again) == ("invoke", again)
    assert caught.value.message.startswith(f"GET /p answers {status} ")
    if status == 429:
        assert caught.value.message.endswith(': {"detail": "no\\n such thing"} It asks to wait: 30.')


async def test_a_long_error_is_cut(caller: Caller) -> None:
    caller.server.answers["/v1/p"] = (500, {"Content-Type": "text/html"}, b"<p>word " * 10_000)
    with pytest.raises(ToolFault) as caught:
        await caller.call(PLAIN, {})
    assert len(caught.value.message) < 2200


async def test_slow_servers(caller: Caller) -> None:
    async def never() -> bytes:
        await asyncio.sleep(60)
        return b""

    caller.server.answers["/v1/p"] = lambda _: (200, JSON, never())
    (tool,) = (await caller.tools(PLAIN)).values()
    with pytest.raises(ToolFault, match=r"did not (finish its )?answer in time") as caught:
        await tool.run({}, {}, context(timeout_s=0.2))
    assert (caught.value.kind, caught.value.again) == ("timeout", True)


async def test_a_cancelled_call_ends(caller: Caller) -> None:
    waiting = asyncio.Event()

    async def never() -> bytes:
        waiting.set()
        await asyncio.sleep(60)
        return b""

    caller.server.answers["/v1/p"] = lambda _: (200, JSON, never())
    call = asyncio.create_task(caller.call(PLAIN, {}))
    await asyncio.wait_for(waiting.wait(), 5)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_no_server(caller: Caller) -> None:
    with pytest.raises(ToolFault, match=r"no connection to '127.0.0.1'") as caught:
        await caller.call(PLAIN, {}, base_url="http://127.0.0.1:1")
    assert (caught.value.kind, caught.value.again) == ("invoke", True)


async def test_private_servers_are_the_operators_to_open(caller: Caller) -> None:
    with pytest.raises(ToolFault, match=r"not a public address.*`allow_private`") as caught:
        await caller.call(PLAIN, {}, allow_private=False)
    assert (caught.value.again, caller.server.requests) == (False, [])


async def test_large_answers_are_refused(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replies, "MAX_TEXT_BYTES", 1000)
    caller.server.answers["/v1/p"] = (200, JSON, b"1" * 1001)
    with pytest.raises(ToolFault, match="larger than 1000 bytes") as caught:
        await caller.call(PLAIN, {})
    assert not caught.value.again


@pytest.mark.parametrize(
    ("method", "retry", "key"),
    [
        ("get", None, None),
        ("head", None, None),
        ("post", None, "run/1/call_1"),
        ("put", "never", "run/1/call_1"),
        ("delete", None, "run/1/call_1"),
        ("post", "safe", None),
    ],
)
async def test_the_key_of_a_call(caller: Caller, method: str, retry: Any, key: str | None) -> None:
    more = {} if retry is None else {"retry": retry}
    sent = await caller.sent(spec({"/p": {method: operation()}}), {}, **more)
    assert sent.header("idempotency-key") == key
    assert sent.header("accept") == "application/json, */*;q=0.8"


@pytest.mark.parametrize(
    ("base", "servers", "target"),
    [
        ("", [{"url": "/api/v3/"}], "/api/v3/p"),
        ("", [{"url": "https://elsewhere.example/v9"}], "/p"),
        ("/own/", [{"url": "/api/v3"}], "/own/p"),
        ("", [], "/p"),
    ],
)
async def test_where_a_base_url_leads(caller: Caller, base: str, servers: Any, target: str) -> None:
    document = {**PLAIN, "servers": servers}
    assert (await caller.sent(document, {}, base_url=caller.server.url(base))).target == target


async def test_servers_of_the_document(caller: Caller) -> None:
    port = str(caller.server.port)
    url = {
        "url": "http://{host}:{port}/{base}",
        "variables": {"host": {"default": "127.0.0.1"}, "base": {"default": "b"}},
    }
    own = [{"url": caller.server.url("/own")}]
    paths = {"/p": {"get": operation(operationId="p")}, "/o": {"get": operation(operationId="o", servers=own)}}
    document = spec(paths, servers=[url])
    more = {"base_url": None, "variables": {"port": port}}
    assert (await caller.sent(document, {}, name="p", **more)).target == "/b/p"
    assert (await caller.sent(document, {}, name="o", **more)).target == "/own/o"


async def test_redirects_are_followed_at_home(caller: Caller) -> None:
    caller.server.answers["/v1/p"] = (302, {"Location": "/there"}, b"")
    caller.server.answers["/there"] = (200, JSON, b'"found"')
    assert list(await caller.call(PLAIN, {})) == [JsonOut(value="found")]
