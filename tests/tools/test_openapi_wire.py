"""What goes over the wire: every style of parameter, every kind of body."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path
from typing import Any, cast

import pytest

from fakes.http_server import PNG, Recorded
from fakes.openapi_api import Api, Caller, api, context, operation, spec
from perdure_activities.files import FileStore
from perdure_activities.tools.protocol import ToolFault

LIST = ["blue", "b l&a,ck"]
PAIRS = {"R": 100, "G": "a b"}


@pytest.fixture
async def server() -> AsyncIterator[Api]:
    async with api() as running:
        yield running


@pytest.fixture
def caller(server: Api, tmp_path: Path) -> Caller:
    return Caller(tmp_path, server)


def _one(place: str, **fields: Any) -> dict[str, Any]:
    path = "/p/{color}/end" if place == "path" else "/p"
    parameter = {"name": "color", "in": place, "schema": {}, **fields}
    return spec({path: {"get": operation(parameter)}})


@pytest.mark.parametrize(
    ("style", "explode", "value", "query"),
    [
        ("form", True, "a b&c=é", "color=a%20b%26c%3D%C3%A9"),
        ("form", True, True, "color=true"),
        ("form", True, 1.5, "color=1.5"),
        ("form", True, "", "color="),
        ("form", True, None, ""),
        ("form", True, [], ""),
        ("form", True, LIST, "color=blue&color=b%20l%26a%2Cck"),
        ("form", False, LIST, "color=blue,b%20l%26a%2Cck"),
        ("form", True, PAIRS, "R=100&G=a%20b"),
        ("form", False, PAIRS, "color=R,100,G,a%20b"),
        ("form", True, [{"a": 1}], "color=%7B%22a%22%3A1%7D"),
        ("spaceDelimited", False, LIST, "color=blue%20b%20l%26a%2Cck"),
        ("spaceDelimited", True, LIST, "color=blue&color=b%20l%26a%2Cck"),
        ("pipeDelimited", False, LIST, "color=blue%7Cb%20l%26a%2Cck"),
        ("pipeDelimited", False, PAIRS, "color=R%7C100%7CG%7Ca%20b"),
        ("deepObject", True, PAIRS, "color%5BR%5D=100&color%5BG%5D=a%20b"),
        (
            "deepObject",
            True,
            {"a": {"b": [1, {"c": 2}]}},
            "color%5Ba%5D%5Bb%5D%5B0%5D=1&color%5Ba%5D%5Bb%5D%5B1%5D%5Bc%5D=2",
        ),
        ("deepObject", True, ["x"], "color%5B0%5D=x"),
        ("deepObject", True, 5, "color=5"),
    ],
)
async def test_queries(caller: Caller, style: str, explode: bool, value: Any, query: str) -> None:
    sent = await caller.sent(_one("query", style=style, explode=explode), {"color": value})
    assert sent.target == "/v1/p" + (f"?{query}" if query else "")


@pytest.mark.parametrize(
    ("style", "explode", "value", "text"),
    [
        ("simple", False, "a/b c?", "a%2Fb%20c%3F"),
        ("simple", False, LIST, "blue,b%20l%26a%2Cck"),
        ("simple", False, PAIRS, "R,100,G,a%20b"),
        ("simple", True, PAIRS, "R=100,G=a%20b"),
        ("label", False, "blue", ".blue"),
        ("label", False, ["a", "b"], ".a,b"),
        ("label", True, ["a", "b"], ".a.b"),
        ("label", True, PAIRS, ".R=100.G=a%20b"),
        ("matrix", False, "blue", ";color=blue"),
        ("matrix", False, ["a", "b"], ";color=a,b"),
        ("matrix", True, ["a", "b"], ";color=a;color=b"),
        ("matrix", False, PAIRS, ";color=R,100,G,a%20b"),
        ("matrix", True, PAIRS, ";R=100;G=a%20b"),
    ],
)
async def test_paths(caller: Caller, style: str, explode: bool, value: Any, text: str) -> None:
    sent = await caller.sent(_one("path", style=style, explode=explode, required=True), {"color": value})
    assert sent.target == f"/v1/p/{text}/end"


@pytest.mark.parametrize("value", ["", ".", "..", [], {}, None])
async def test_values_that_would_lead_elsewhere(caller: Caller, value: Any) -> None:
    with pytest.raises(ToolFault) as caught:
        await caller.call(_one("path", required=True), {"color": value})
    assert (caught.value.kind, caller.server.requests) == ("bad_arguments", [])


async def test_two_values_do_not_lead_out_together(caller: Caller) -> None:
    document = spec({"/p/{a}{b}": {"get": {}}})
    with pytest.raises(ToolFault, match=r"empty|lead out"):
        await caller.call(document, {"a": ".", "b": "."})


@pytest.mark.parametrize(
    ("explode", "value", "text"),
    [(False, "é x", "é x"), (False, [1, 2], "1,2"), (False, PAIRS, "R,100,G,a b"), (True, PAIRS, "R=100,G=a b")],
)
async def test_headers(caller: Caller, explode: bool, value: Any, text: str) -> None:
    sent = await caller.sent(_one("header", explode=explode), {"color": value})
    assert sent.header("color") == text


async def test_a_header_is_one_line(caller: Caller) -> None:
    with pytest.raises(ToolFault, match="without line breaks"):
        await caller.call(_one("header"), {"color": "a\r\nX-Evil: 1"})


async def test_cookies(caller: Caller) -> None:
    parameters = [{"name": name, "in": "cookie", "schema": {}} for name in ("a", "b")]
    sent = await caller.sent(spec({"/p": {"get": operation(*parameters)}}), {"a": "x; y=1", "b": ["1", "2"]})
    assert sent.header("cookie") == "a=x%3B%20y%3D1; b=1; b=2"


async def test_parameters_that_are_documents(caller: Caller) -> None:
    parameter = {"name": "filter", "in": "query", "content": {"application/json": {"schema": {"type": "object"}}}}
    sent = await caller.sent(spec({"/p": {"get": operation(parameter)}}), {"filter": {"a": [1]}})
    assert sent.target == "/v1/p?filter=%7B%22a%22%3A%5B1%5D%7D"


async def test_reserved_characters_stay_but_end_nothing(caller: Caller) -> None:
    sent = await caller.sent(_one("query", allowReserved=True), {"color": "/a:b?c,d&e=f#g"})
    assert sent.target == "/v1/p?color=/a:b?c,d%26e%3Df%23g"


async def test_fixed_values_win(caller: Caller) -> None:
    tools = await caller.tools(_one("query"))
    await tools["get_p"].run({"color": "red"}, {"color": "blue"}, context())
    assert caller.server.requests[-1].target == "/v1/p?color=blue"


BODY = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "more": {"type": "object"},
        "@type": {"type": "string"},
    },
}


async def _posted(caller: Caller, body: Any, arguments: Any, media: str = "application/json", **more: Any) -> Recorded:
    return await caller.sent(spec({"/p": {"post": operation(body=body, media=media)}}), arguments, **more)


async def test_json_bodies(caller: Caller) -> None:
    sent = await _posted(caller, BODY, {"name": "é", "more": {"a": None}, "type": "T"})
    assert json.loads(sent.body) == {"name": "é", "more": {"a": None}, "@type": "T"}
    assert sent.header("content-type") == "application/json"
    sent = await _posted(caller, {"type": "array"}, {"body": [1]}, media="application/merge-patch+json")
    assert (sent.body, sent.header("content-type")) == (b"[1]", "application/merge-patch+json")
    sent = await _posted(caller, {**BODY, "additionalProperties": True}, {"name": "n", "other": 1})
    assert json.loads(sent.body) == {"name": "n", "other": 1}


async def test_a_body_is_left_out_or_whole(caller: Caller) -> None:
    made = operation(body=BODY)
    made["requestBody"]["required"] = False
    document = spec({"/p": {"post": made}})
    sent = await caller.sent(document, {})
    assert (sent.body, sent.header("content-type")) == (b"", None)
    with pytest.raises(ToolFault, match="the body lacks `name`"):
        await caller.call(document, {"tags": []})


async def test_forms(caller: Caller) -> None:
    form = "application/x-www-form-urlencoded"
    sent = await _posted(caller, BODY, {"name": "a b&", "tags": ["x", "y"], "more": {"k": 1}}, media=form)
    assert sent.body == b"name=a+b%26&tags=x&tags=y&more=%7B%22k%22%3A1%7D"
    assert sent.header("content-type") == form
    made = operation(body=BODY, media=form)
    made["requestBody"]["content"][form]["encoding"] = {
        "more": {"style": "deepObject", "explode": True},
        "tags": {"style": "form", "explode": False},
    }
    arguments = {"name": "n", "tags": ["x y", "z"], "more": {"k": [{"a": 1}]}}
    sent = await caller.sent(spec({"/p": {"post": made}}), arguments)
    assert sent.body == b"name=n&tags=x+y,z&more%5Bk%5D%5B0%5D%5Ba%5D=1"


def _parts(sent: Recorded) -> list[tuple[str, str | None, str, bytes]]:
    head = f"Content-Type: {sent.header('content-type')}\r\n\r\n".encode()
    message = cast("EmailMessage", BytesParser(policy=HTTP).parsebytes(head + sent.body))
    return [
        (
            str(part["content-disposition"].params["name"]),
            part.get_filename(),
            part.get_content_type() if "content-type" in part else "",
            cast("bytes", part.get_payload(decode=True)),
        )
        for part in cast("list[EmailMessage]", message.iter_parts())
    ]


async def test_multipart_with_files(caller: Caller, tmp_path: Path) -> None:
    store = FileStore(tmp_path / "files")
    picture, text = store.put(PNG, "a.png", "image/png"), store.put(b"hello", "b.txt")
    binary = {"type": "string", "format": "binary"}
    body = {
        "type": "object",
        "required": ["file"],
        "properties": {
            "file": {**binary, "description": "Which file."},
            "others": {"type": "array", "items": binary},
            "note": {"type": "string"},
            "meta": {"type": "object"},
        },
    }
    document = spec({"/p": {"post": operation(body=body, media="multipart/form-data")}})
    (tool,) = (await caller.tools(document)).values()
    assert tool.declaration.parameters[0].description.startswith("Which file. (a file object, the id")
    arguments = {"file": picture, "others": [text["related_id"], text], "note": "n", "meta": {"a": 1}}
    sent = await caller.sent(document, arguments)
    assert _parts(sent) == [
        ("file", "a.png", "image/png", PNG),
        ("others", "file", "application/octet-stream", b"hello"),
        ("others", "b.txt", "text/plain", b"hello"),
        ("note", None, "", b"n"),
        ("meta", None, "application/json", b'{"a":1}'),
    ]


@pytest.mark.parametrize("value", ["no file", {"a": 1}, "0" * 64])
async def test_what_is_no_file(caller: Caller, value: Any) -> None:
    body = {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}}
    with pytest.raises(ToolFault) as caught:
        await _posted(caller, body, {"file": value}, media="multipart/form-data")
    assert (caught.value.kind, caller.server.requests) == ("bad_arguments", [])
    assert "`file`" in caught.value.message


async def test_a_file_from_a_private_address_is_not_fetched(caller: Caller) -> None:
    body = {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}}
    with pytest.raises(ToolFault, match="not a public address"):
        await _posted(caller, body, {"file": caller.server.url("/secret")}, media="multipart/form-data")
    assert caller.server.requests == []


async def test_files_and_texts_as_bodies(caller: Caller, tmp_path: Path) -> None:
    picture = FileStore(tmp_path / "files").put(PNG, "a.png", "image/png")
    for media, sent_as in [("application/octet-stream", "application/octet-stream"), ("image/*", "image/png")]:
        sent = await _posted(caller, {"type": "string", "format": "binary"}, {"body": picture}, media=media)
        assert (sent.body, sent.header("content-type")) == (PNG, sent_as)
    sent = await _posted(caller, {"type": "string"}, {"body": "héllo"}, media="text/plain")
    assert (sent.body, sent.header("content-type")) == ("héllo".encode(), "text/plain; charset=utf-8")
    sent = await _posted(caller, {"type": "object"}, {"body": "<a/>"}, media="application/xml")
    assert (sent.body, sent.header("content-type")) == (b"<a/>", "application/xml; charset=utf-8")


async def test_swagger_2_on_the_wire(caller: Caller, tmp_path: Path) -> None:
    stored = FileStore(tmp_path / "files").put(b"data", "d.bin")
    document = {
        "swagger": "2.0",
        "host": "elsewhere.example",
        "basePath": "/v1",
        "paths": {
            "/q": {
                "get": {
                    "operationId": "q",
                    "parameters": [
                        {"name": name, "in": "query", "type": "array", "items": {}, "collectionFormat": form}
                        for name, form in [("c", "csv"), ("s", "ssv"), ("t", "tsv"), ("p", "pipes"), ("m", "multi")]
                    ],
                }
            },
            "/b": {
                "post": {
                    "operationId": "b",
                    "parameters": [{"name": "x", "in": "body", "required": True, "schema": BODY}],
                }
            },
            "/f": {
                "post": {
                    "operationId": "f",
                    "parameters": [
                        {"name": "file", "in": "formData", "type": "file", "required": True},
                        {"name": "n", "in": "formData", "type": "integer"},
                    ],
                }
            },
        },
    }
    both = {name: ["1", "2"] for name in "cstpm"}
    sent = await caller.sent(document, both, name="q")
    assert sent.target == "/v1/q?c=1,2&s=1%202&t=1%092&p=1%7C2&m=1&m=2"
    assert json.loads((await caller.sent(document, {"name": "n"}, name="b")).body) == {"name": "n"}
    assert _parts(await caller.sent(document, {"file": stored, "n": 3}, name="f")) == [
        ("file", "d.bin", "application/octet-stream", b"data"),
        ("n", None, "", b"3"),
    ]
