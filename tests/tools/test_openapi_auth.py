"""Who calls: the secrets of a credential go where the specification wants them, and nowhere else."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from pydantic import ValidationError

from fakes.http_server import Recorded
from fakes.openapi_api import Api, Caller, api, context, operation, spec, tools_of
from perdure_activities.tools.openapi import OpenAPISource
from perdure_activities.tools.protocol import ToolFault
from perdure_graph.agents.tools import JsonOut

SECRET = "s3cret/ky&9"
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def server() -> AsyncIterator[Api]:
    async with api() as running:
        yield running


@pytest.fixture
def caller(server: Api, tmp_path: Path) -> Caller:
    return Caller(tmp_path, server)


def _secured(security: Any, method: str = "get", **schemes: Any) -> dict[str, Any]:
    return spec({"/p": {method: operation(security=security)}}, components={"securitySchemes": schemes})


def _key(place: str, name: str = "X-Key") -> dict[str, str]:
    return {"type": "apiKey", "in": place, "name": name}


BASIC = {"type": "http", "scheme": "Basic"}
BEARER = {"type": "http", "scheme": "bearer"}


@pytest.mark.parametrize("name", ["k", "api_key", "k.api_key", "token"])
async def test_a_key_in_a_header(caller: Caller, name: str) -> None:
    sent = await caller.sent(_secured([{"k": []}], k=_key("header")), {}, secrets={name: SECRET})
    assert sent.header("x-key") == SECRET


async def test_a_key_in_the_query_or_a_cookie(caller: Caller) -> None:
    sent = await caller.sent(_secured([{"k": []}], k=_key("query", "key")), {}, secrets={"api_key": SECRET})
    assert sent.target == "/v1/p?key=s3cret%2Fky%269"
    sent = await caller.sent(_secured([{"k": []}], k=_key("cookie", "sid")), {}, secrets={"api_key": "abc"})
    assert sent.header("cookie") == "sid=abc"


async def test_basic_and_bearer(caller: Caller) -> None:
    sent = await caller.sent(_secured([{"b": []}], b=BASIC), {}, secrets={"username": "ü", "password": "p:w"})
    assert sent.header("authorization") == "Basic " + base64.b64encode("ü:p:w".encode()).decode()
    for scheme in (BEARER, {"type": "openIdConnect"}, {"type": "oauth2", "flows": {"implicit": {}}}):
        sent = await caller.sent(_secured([{"b": []}], b=scheme), {}, secrets={"token": SECRET})
        assert sent.header("authorization") == f"Bearer {SECRET}"


async def test_all_of_an_alternative_or_the_next(caller: Caller) -> None:
    document = _secured([{"a": [], "b": []}, {"t": []}], a=_key("header", "A"), b=_key("header", "B"), t=BEARER)
    sent = await caller.sent(document, {}, secrets={"a": "one", "b": "two", "token": "three"})
    assert (sent.header("a"), sent.header("b"), sent.header("authorization")) == ("one", "two", None)
    sent = await caller.sent(document, {}, secrets={"a": "one", "token": "three"})
    assert (sent.header("a"), sent.header("b"), sent.header("authorization")) == (None, None, "Bearer three")
    # One secret never stands for two schemes.
    with pytest.raises(ToolFault, match=r"needs `a.api_key` \(scheme 'a'\) and `b.api_key` \(scheme 'b'\), or `token`"):
        await caller.call(document, {}, secrets={"key": "one"})


@pytest.mark.parametrize("security", [[], [{}], [{"k": []}, {}], None])
async def test_none_is_needed(caller: Caller, security: Any) -> None:
    sent = await caller.sent(_secured(security, k=_key("header")), {})
    assert sent.header("x-key") is None


async def test_security_of_the_document_and_of_an_operation(caller: Caller) -> None:
    paths = {"/a": {"get": operation(operationId="a")}, "/b": {"get": operation(operationId="b", security=[])}}
    document = spec(paths, security=[{"k": []}], components={"securitySchemes": {"k": _key("header")}})
    assert (await caller.sent(document, {}, name="a", secrets={"k": "1"})).header("x-key") == "1"
    assert (await caller.sent(document, {}, name="b", secrets={"k": "1"})).header("x-key") is None


async def test_missing_secrets_are_told_with_their_place(caller: Caller) -> None:
    with pytest.raises(ToolFault) as caught:
        await caller.call(_secured([{"k": []}], k=_key("header")), {}, credential="shop")
    assert caught.value.kind == "credentials"
    assert "`api_key` (scheme 'k')" in caught.value.message
    assert "the credential 'shop' in the worker's tools file" in caught.value.message
    with pytest.raises(ToolFault, match=r"http digest .* which tools cannot do"):
        await caller.call(_secured([{"d": []}], d={"type": "http", "scheme": "digest"}), {}, secrets={"token": "x"})
    assert caller.server.requests == []


async def test_the_credential_of_the_source(caller: Caller) -> None:
    async def credentials(name: str) -> Mapping[str, str]:
        return {"token": f"of {name}"}

    document = _secured([{"b": []}], b=BEARER)
    more = {"credential": "shop", "credentials": credentials}
    assert (await caller.sent(document, {}, **more)).header("authorization") == "Bearer of shop"
    sent = await caller.sent(document, {}, secrets={"token": "own"}, **more)
    assert sent.header("authorization") == "Bearer own"


async def test_headers_of_the_source(caller: Caller) -> None:
    document = spec({"/p": {"get": operation({"name": "X-Org", "in": "header", "schema": {}})}})
    headers = {"X-Org": "ours", "Authorization": {"env": "SHOP"}}
    more = {"headers": headers, "environ": {"SHOP": f"Token {SECRET}"}}
    sent = await caller.sent(document, {"X-Org": "theirs"}, **more)
    assert (sent.header("x-org"), sent.header("authorization")) == ("ours", f"Token {SECRET}")
    secured = _secured([{"b": []}], b=BEARER)
    assert (await caller.sent(secured, {}, **more)).header("authorization") == f"Token {SECRET}"
    with pytest.raises(ToolFault, match="variable SHOP, which is not set"):
        await caller.call(document, {}, headers=headers, environ={})


def test_a_source_hides_its_headers() -> None:
    source = OpenAPISource.model_validate({"id": "a", "spec": "s", "headers": {"X": SECRET}})
    assert SECRET not in repr(source)
    with pytest.raises(ValidationError) as caught:
        OpenAPISource.model_validate({"id": "a", "spec": "s", "headers": {"X": SECRET + "\n"}})
    assert SECRET not in str(caught.value)
    with pytest.raises(ValidationError, match="name a `credential` instead") as caught:
        OpenAPISource(id="a", spec="s", base_url=f"https://me:{SECRET}@host")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("url", ["ftp://h", "h", "https://", "https://h:port", "https://h?q=1", "https://h#f"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(ValidationError):
        OpenAPISource(id="a", spec="s", base_url=url)


async def test_no_secret_is_shown(caller: Caller) -> None:
    said = json.dumps({"you sent": SECRET, SECRET: [f"x{SECRET}y", "s3cret%2Fky%269"]}).encode()
    caller.server.answers["/v1/p"] = (200, JSON, said)
    document = _secured([{"k": []}], k=_key("header"))
    (part,) = await caller.call(document, {}, secrets={"k": SECRET})
    assert part == JsonOut(value={"you sent": "[hidden]", "[hidden]": ["x[hidden]y", "[hidden]"]})
    caller.server.answers["/v1/p"] = (403, {"Content-Type": "text/plain"}, f"wrong key {SECRET}".encode())
    with pytest.raises(ToolFault) as caught:
        await caller.call(document, {}, secrets={"k": SECRET})
    assert "answers 403 Forbidden: wrong key [hidden]" in caught.value.message
    tool = next(iter((await tools_of(caller.folder, document)).values()))
    assert SECRET not in repr(tool) + repr(context(k=SECRET))


async def test_a_key_does_not_follow_a_redirect(caller: Caller) -> None:
    async with api() as other:
        caller.server.answers["/v1/p"] = (302, {"Location": other.url("/p").replace("127.0.0.1", "localhost")}, b"")
        document = _secured([{"k": []}], k=_key("header"))
        with pytest.raises(ToolFault, match=r"a redirect from '127.0.0.1' led there"):
            await caller.call(document, {}, secrets={"k": SECRET})
        assert other.requests == []


class TokenUrl:
    """Gives tokens `t1`, `t2`, ..."""

    def __init__(self, server: Api, *, in_body: bool = False, lasts: Any = 3600) -> None:
        self.asked: list[Recorded] = []
        self._in_body = in_body
        self._lasts = lasts
        server.answers["/token"] = self

    def __call__(self, request: Recorded) -> Any:
        self.asked.append(request)
        form = parse_qs(request.body.decode())
        if self._in_body and "client_secret" not in form:
            return 401, JSON, b'{"error": "invalid_client"}'
        return 200, JSON, self._token()

    async def _token(self) -> bytes:
        await asyncio.sleep(0.02)
        return json.dumps({"access_token": f"t{len(self.asked)}", "expires_in": self._lasts}).encode()


def _oauth(server: Api, url: str = "") -> dict[str, Any]:
    flow = {"tokenUrl": url or server.url("/token"), "scopes": {}}
    return _secured([{"o": ["read", "write"]}], o={"type": "oauth2", "flows": {"clientCredentials": flow}})


CLIENT = {"client_id": "me", "client_secret": SECRET}


async def _calls(caller: Caller, document: Any, times: int, **secrets: str) -> list[str | None]:
    (tool,) = (await caller.tools(document)).values()
    await asyncio.gather(*(tool.run({}, {}, context(**(secrets or CLIENT))) for _ in range(times)))
    return [request.header("authorization") for request in caller.server.requests if request.target == "/v1/p"]


async def test_a_token_is_got_once(caller: Caller) -> None:
    url = TokenUrl(caller.server)
    assert await _calls(caller, _oauth(caller.server, "/token"), 4) == ["Bearer t1"] * 4
    (asked,) = url.asked
    assert parse_qs(asked.body.decode()) == {"grant_type": ["client_credentials"], "scope": ["read write"]}
    assert asked.header("authorization") == "Basic " + base64.b64encode(b"me:s3cret%2Fky%269").decode()


async def test_a_token_that_ended_is_got_again(caller: Caller) -> None:
    TokenUrl(caller.server, lasts=0)
    document = _oauth(caller.server)
    (tool,) = (await caller.tools(document)).values()
    for _ in range(2):
        await tool.run({}, {}, context(**CLIENT))
    sent = [one.header("authorization") for one in caller.server.requests if one.target == "/v1/p"]
    assert sent == ["Bearer t1", "Bearer t2"]


async def test_a_token_that_is_refused_is_got_again_once(caller: Caller) -> None:
    TokenUrl(caller.server)
    caller.server.answers["/v1/p"] = lambda request: (
        (200, JSON, b"1") if request.header("authorization") == "Bearer t2" else (401, JSON, b"{}")
    )
    assert await _calls(caller, _oauth(caller.server), 1) == ["Bearer t1", "Bearer t2"]
    caller.server.answers["/v1/p"] = (401, JSON, b"{}")
    with pytest.raises(ToolFault, match="401 Unauthorized"):
        await _calls(caller, _oauth(caller.server), 1)


async def test_credentials_in_the_body_of_a_token_request(caller: Caller) -> None:
    url = TokenUrl(caller.server, in_body=True)
    assert await _calls(caller, _oauth(caller.server), 1) == ["Bearer t2"]
    assert parse_qs(url.asked[1].body.decode())["client_secret"] == [SECRET]


async def test_a_token_that_is_there_already(caller: Caller) -> None:
    assert await _calls(caller, _oauth(caller.server), 1, token="mine") == ["Bearer mine"]


@pytest.mark.parametrize(
    ("answer", "kind", "again", "what"),
    [
        (
            (401, JSON, b'{"error": "invalid_client"}'),
            "credentials",
            False,
            r"401 \(invalid_client\). Check `client_id`",
        ),
        ((400, JSON, f'{{"error": "{SECRET}"}}'.encode()), "credentials", False, "answers 400. Check"),
        ((503, JSON, b"later"), "invoke", True, "answers 503"),
        ((200, JSON, b"[]"), "credentials", False, "gives no `access_token`"),
        ((307, {"Location": "/elsewhere"}, b""), "invoke", False, "redirects"),
    ],
)
async def test_no_token(caller: Caller, answer: Any, kind: str, again: bool, what: str) -> None:
    caller.server.answers["/token"] = answer
    with pytest.raises(ToolFault, match=what) as caught:
        await _calls(caller, _oauth(caller.server), 1)
    assert (caught.value.kind, SECRET in caught.value.message) == (kind, False)
    if again:
        assert caught.value.again
    assert not any(one.target in ("/v1/p", "/elsewhere") for one in caller.server.requests)


async def test_swagger_2_keys(caller: Caller) -> None:
    document = {
        "swagger": "2.0",
        "paths": {"/p": {"get": {"security": [{"b": []}]}}},
        "securityDefinitions": {"b": {"type": "basic"}},
    }
    sent = await caller.sent(document, {}, secrets={"b__username": "u", "b__password": "p"})
    assert sent.header("authorization") == "Basic " + base64.b64encode(b"u:p").decode()
