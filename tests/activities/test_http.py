"""Performing `SendHttp` against a real server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path
from typing import Any, cast

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from fakes.http_server import BIG, PNG, HttpServer, Recorded, http_server
from perdure_activities import heartbeat
from perdure_activities.files import FileStore
from perdure_activities.http import execute_http, send_http
from perdure_activities.net import NetSettings
from perdure_graph.effects import EffectMeta, HttpAuth, HttpBody, HttpPart, HttpReply, SendHttp

OPEN = NetSettings(allow=("127.0.0.1",))


@pytest.fixture
async def server() -> AsyncIterator[HttpServer]:
    async with http_server() as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path)


async def _send(
    server: HttpServer, path: str = "/echo", *, store: FileStore | None = None, **request: Any
) -> HttpReply:
    request = {"method": "POST", "url": server.url(path), **request}
    return await execute_http(SendHttp(**request), files=store or FileStore(Path("unused")), settings=OPEN)


async def _sent(server: HttpServer, **request: Any) -> Recorded:
    await _send(server, **request)
    return server.requests[-1]


async def _fails(server: HttpServer, path: str, *, store: FileStore | None = None, **request: Any) -> ApplicationError:
    with pytest.raises(ApplicationError) as caught:
        await _send(server, path, store=store, **request)
    assert caught.value.non_retryable
    return caught.value


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "get"])
async def test_methods(server: HttpServer, method: str) -> None:
    reply = await _send(server, method=method)
    assert reply.status_code == 200
    assert json.loads(reply.body)["method"] == method.upper()
    assert reply.headers["content-type"] == "application/json"
    assert reply.files == ()


async def test_head_gives_headers_only(server: HttpServer) -> None:
    reply = await _send(server, "/picture.png", method="HEAD")
    assert (reply.status_code, reply.body, reply.files) == (200, "", ())
    assert reply.headers["content-length"] == str(len(PNG))


@pytest.mark.parametrize("status", [404, 500, 204, 201])
async def test_any_status_is_an_answer(server: HttpServer, status: int) -> None:
    assert (await _send(server, f"/status/{status}")).status_code == status


async def test_headers_and_params(server: HttpServer) -> None:
    sent = await _sent(server, headers=(("X-A", "1"), ("X-U", "grün")), params=(("a", "1"), ("a", "2")))
    assert sent.target == "/echo?a=1&a=2"
    assert (sent.header("x-a"), sent.header("x-u")) == ("1", "grün")


@pytest.mark.parametrize(
    ("auth", "name", "value"),
    [
        (HttpAuth(scheme="bearer", secret="k"), "Authorization", "Bearer k"),
        (HttpAuth(scheme="basic", secret="user:pass"), "Authorization", "Basic dXNlcjpwYXNz"),
        (HttpAuth(scheme="basic", secret="dXNlcjpwYXNz"), "Authorization", "Basic dXNlcjpwYXNz"),
        (HttpAuth(scheme="custom", header="X-Key", secret="k"), "X-Key", "k"),
        (HttpAuth(scheme="bearer", header="X-Token", secret="k"), "X-Token", "Bearer k"),
    ],
)
async def test_authentication(server: HttpServer, auth: HttpAuth, name: str, value: str) -> None:
    sent = await _sent(server, auth=auth, headers=((name.lower(), "drawn by hand"),))
    assert [text for key, text in sent.headers if key.lower() == name.lower()] == [value]


def _meta(key: str = "run-1/it[3].book#0/1", **more: Any) -> EffectMeta:
    return EffectMeta(run_id="run-1", key="book", idempotency_key=key, **more)


@pytest.mark.parametrize("retry", ["keyed", "never"])
async def test_a_request_that_changes_something_carries_its_key(server: HttpServer, retry: str) -> None:
    for _attempt in range(2):
        sent = await _sent(server, meta=_meta(retry=retry))
        assert sent.header("Idempotency-Key") == "run-1/it[3].book#0/1"


async def test_the_key_of_the_graph_wins_and_a_safe_request_has_none(server: HttpServer) -> None:
    drawn = await _sent(server, meta=_meta(retry="keyed"), headers=(("idempotency-key", "order-7"),))
    assert [value for name, value in drawn.headers if name.lower() == "idempotency-key"] == ["order-7"]
    assert (await _sent(server, meta=_meta(retry="safe"))).header("Idempotency-Key") is None
    assert (await _sent(server)).header("Idempotency-Key") is None


async def test_any_key_fits_a_header(server: HttpServer) -> None:
    sent = await _sent(server, meta=_meta("läuf\r\nX-Evil: 1/k", retry="keyed"))
    assert (sent.header("Idempotency-Key"), sent.header("X-Evil")) == ("l%C3%A4uf%0D%0AX-Evil:%201/k", None)
    long = [await _sent(server, meta=_meta("r" * 300 + end, retry="keyed")) for end in "abb"]
    keys = [sent.header("Idempotency-Key") or "" for sent in long]
    assert [len(key) for key in keys] == [64, 64, 64]
    assert (keys[0] != keys[1], keys[1] == keys[2]) == (True, True)


@pytest.mark.parametrize("name", ["Authorization", "X-Key"])
async def test_keys_stay_at_home(server: HttpServer, name: str) -> None:
    async with http_server() as other:
        auth = HttpAuth(scheme="custom", header=name, secret="k")
        await _send(server, "/redirect?to=" + other.url("/json"), auth=auth)
        assert server.requests[0].header(name) == "k"
        assert other.requests[0].header(name) is None


@pytest.mark.parametrize(
    ("body", "sent_bytes", "media_type"),
    [
        (HttpBody(), b"", None),
        (HttpBody(kind="text", text="grün"), "grün".encode(), "text/plain"),
        (HttpBody(kind="json", json_value={"a": [1, None, "ü"]}), '{"a":[1,null,"ü"]}'.encode(), "application/json"),
        (HttpBody(kind="json", json_value=None), b"null", "application/json"),
        (
            HttpBody(kind="urlencoded", parts=(HttpPart(key="a b", text="1&2"), HttpPart(key="ü", text=""))),
            b"a+b=1%262&%C3%BC=",
            "application/x-www-form-urlencoded",
        ),
        (HttpBody(kind="form"), b"", None),
    ],
)
async def test_bodies(server: HttpServer, body: HttpBody, sent_bytes: bytes, media_type: str | None) -> None:
    sent = await _sent(server, body=body)
    assert (sent.body, sent.header("content-type")) == (sent_bytes, media_type)


async def test_the_media_type_of_the_author_wins(server: HttpServer) -> None:
    sent = await _sent(server, body=HttpBody(kind="text", text="a"), headers=(("content-type", "text/x"),))
    assert [value for key, value in sent.headers if key.lower() == "content-type"] == ["text/x"]


def _parts(sent: Recorded) -> list[tuple[str, str | None, str, bytes]]:
    head = f"Content-Type: {sent.header('content-type')}\r\n\r\n".encode()
    message = cast("EmailMessage", BytesParser(policy=HTTP).parsebytes(head + sent.body))
    return [
        (
            str(part.get_param("name", header="content-disposition")),
            part.get_filename(),
            part.get_content_type(),
            cast("bytes", part.get_payload(decode=True)),
        )
        for part in message.iter_parts()
    ]


async def test_forms_carry_texts_and_files(server: HttpServer, store: FileStore) -> None:
    stored = store.put(PNG, "a.png", "image/png")
    remote = {"transfer_method": "remote_url", "remote_url": server.url("/json"), "filename": "r.json"}
    body = HttpBody(
        kind="form",
        parts=(HttpPart(key="note", text="grün"), HttpPart(key="files", files=(stored, remote))),
    )
    sent = await _sent(server, body=body, store=store, headers=(("Content-Type", "multipart/form-data"),))
    assert _parts(sent) == [
        ("note", None, "text/plain", "grün".encode()),
        ("files", "a.png", "image/png", PNG),
        ("files", "r.json", "application/octet-stream", b'{"ok":true}'),
    ]


async def test_a_form_of_texts_is_multipart_too(server: HttpServer) -> None:
    sent = await _sent(server, body=HttpBody(kind="form", parts=(HttpPart(key="a", text="1"),)))
    assert _parts(sent) == [("a", None, "text/plain", b"1")]


async def test_a_file_is_sent_as_it_is(server: HttpServer, store: FileStore) -> None:
    file = store.put(PNG, "a.png", "image/png")
    sent = await _sent(server, body=HttpBody(kind="binary", files=(file,)), store=store)
    assert (sent.body, sent.header("content-type")) == (PNG, None)


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ({"transfer_method": "tool_file", "related_id": "../../etc/passwd"}, "FileFetchError"),
        ({"transfer_method": "local_file", "related_id": "a" * 64}, "FileFetchError"),
        ({"transfer_method": "local_file"}, "FileFetchError"),
        ({"transfer_method": "remote_url", "remote_url": "http://169.254.169.254/"}, "HttpAddressBlocked"),
        ({"transfer_method": "remote_url", "remote_url": None}, "InvalidURLError"),
        ({"transfer_method": "remote_url", "remote_url": "{gone}"}, "FileFetchError"),
    ],
)
async def test_files_that_cannot_be_read(server: HttpServer, store: FileStore, file: dict[str, Any], kind: str) -> None:
    file = {key: server.url("/gone") if value == "{gone}" else value for key, value in file.items()}
    error = await _fails(server, "/echo", store=store, body=HttpBody(kind="binary", files=(file,)))
    assert error.type == kind
    assert all(request.target != "/echo" for request in server.requests)


async def test_a_picture_becomes_a_stored_file(server: HttpServer, store: FileStore) -> None:
    reply = await _send(server, "/picture.png?size=1", method="GET", store=store)
    (file,) = reply.files
    assert reply.body == ""
    assert store.read(str(file["related_id"])) == PNG
    assert (file["filename"], file["type"], file["mime_type"], file["size"]) == (
        "picture.png",
        "image",
        "image/png",
        len(PNG),
    )


async def test_an_attachment_is_a_file_with_a_harmless_name(server: HttpServer, store: FileStore) -> None:
    (file,) = (await _send(server, "/attachment", store=store)).files
    assert (file["filename"], file["mime_type"]) == ("t.csv", "text/csv")


@pytest.mark.parametrize(
    ("media_type", "content", "text"),
    [
        ("application/json", b"{}", True),
        ("application/problem%2Bjson", b"{}", True),
        ("application/atom%2Bxml", b"<a/>", True),
        ("application/javascript", b"x()", True),
        ("application/x-www-form-urlencoded", b"a=1", True),
        ("text/csv", b"a,b", True),
        ("", b"a", True),
        ("application/octet-stream", b'{"a": 1}', True),
        ("application/octet-stream", b"\x00\x01", False),
        ("application/pdf", b"{ascii", False),
        ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", b"PK", False),
        ("audio/mpeg", b"{", False),
        ("image/svg%2Bxml", b"<svg/>", False),
    ],
)
async def test_text_or_file(server: HttpServer, store: FileStore, media_type: str, content: bytes, text: bool) -> None:
    body = HttpBody(kind="text", text=content.decode("latin-1"))
    reply = await _send(server, f"/typed?type={media_type}", body=body, store=store)
    assert (reply.files == ()) is text
    assert reply.body == (content.decode("latin-1") if text else "")


@pytest.mark.parametrize("charset", ["utf-8", "latin-1", "utf-16", "cp1252"])
async def test_charsets(server: HttpServer, charset: str) -> None:
    assert (await _send(server, f"/charset?name={charset}")).body == "Grüße"


@pytest.mark.parametrize("charset", ["no-such", "hex"])
async def test_an_unknown_charset_is_read_as_utf8(server: HttpServer, charset: str) -> None:
    body = HttpBody(kind="text", text="grün")
    reply = await _send(server, f"/typed?type=text/plain;charset%3D{charset}", body=body)
    assert reply.body == "grün"


async def test_text_that_no_payload_can_carry_is_mended(server: HttpServer) -> None:
    body = HttpBody(kind="text", text="a+2AA-b")
    reply = await _send(server, "/typed?type=text/plain;charset%3Dutf-7", body=body)
    assert reply.body == "a?b"


@pytest.mark.parametrize("path", ["/big?declared=yes", "/big"])
async def test_a_response_too_large(server: HttpServer, path: str) -> None:
    error = await _fails(server, path)
    assert (error.type, server.sent < BIG / 2) == ("ResponseSizeError", True)
    assert "Text size is too large, max size is 1.00 MB" in error.message


async def test_files_have_a_limit_of_their_own(server: HttpServer, store: FileStore) -> None:
    assert (await _send(server, "/picture.png", store=store, max_text_bytes=1)).files
    error = await _fails(server, "/picture.png", store=store, max_file_bytes=10)
    assert error.message.startswith("File size is too large")
    late = await _fails(server, "/typed?type=application/octet-stream", store=store, max_text_bytes=3)
    assert late.message.startswith("Text size is too large")


@pytest.mark.parametrize(
    ("url", "kind", "says"),
    [
        ("http://10.0.0.1/x?key=hush", "HttpAddressBlocked", "PERDURE_HTTP_ALLOW"),
        ("http://0177.0.0.1/?key=hush", "InvalidURLError", "url"),
        ("http://127.0.0.1:1/?key=hush", "HttpRequestNodeError", "127.0.0.1"),
    ],
)
async def test_failures_are_told_to_the_graph(server: HttpServer, url: str, kind: str, says: str) -> None:
    error = await _fails(server, "", url=url)
    assert error.type == kind
    assert says in error.message
    assert "hush" not in error.message


async def test_a_slow_server_fails_the_request(server: HttpServer) -> None:
    error = await _fails(server, "/wait", read_s=0.05)
    assert error.type == "HttpRequestNodeError"
    assert "timeout" in error.message


async def test_a_broken_answer_fails_the_request(server: HttpServer) -> None:
    assert (await _fails(server, "/broken")).type == "HttpRequestNodeError"


async def test_a_body_that_cannot_be_sent(server: HttpServer) -> None:
    error = await _fails(server, "/echo", body=HttpBody(kind="json", json_value=float("nan")))
    assert error.type == "RequestBodyError"
    assert server.requests == []


async def test_the_activity_heartbeats_until_the_answer_comes(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERDURE_HTTP_ALLOW", "127.0.0.1")
    monkeypatch.setattr(heartbeat, "HEARTBEAT_S", 0.01)
    environment, beats = ActivityEnvironment(), 0

    def beat(*_details: Any) -> None:
        nonlocal beats
        beats += 1
        if beats == 3:
            server.release.set()

    environment.on_heartbeat = beat
    reply = await environment.run(send_http, SendHttp(method="GET", url=server.url("/wait")))
    assert reply.body == "at last"
    assert beats >= 3


async def test_a_cancelled_activity_lets_go_of_the_connection(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERDURE_HTTP_ALLOW", "127.0.0.1")
    request = SendHttp(method="GET", url=server.url("/wait"))
    task = asyncio.ensure_future(ActivityEnvironment().run(send_http, request))
    while not server.requests:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
