"""Perform `SendHttp`: one request of a graph through the HTTP door, its body and files put together here.

Whatever is wrong with the request or the answer is told to the graph (a non-retryable `ApplicationError` whose
type is the error type that Dify shows): the graph's own retries and error branches decide what comes next.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Mapping
from typing import assert_never
from urllib.parse import quote, urlencode

import httpx2
from pydantic import JsonValue
from temporalio import activity
from temporalio.exceptions import ApplicationError

from perdure_graph.effects import HttpAuth, HttpBody, HttpReply, SendHttp

from .failures import user_failure
from .file_bytes import FileNotStored, FileRefused, name_of, read_file
from .files import FileStore, default_store
from .heartbeat import heartbeats
from .http_reply import filename_of, is_text, reading_of
from .net import AddressBlocked, BadUrl, Fetched, NetError, NetSettings, Resolver, TooLarge, fetch, resolve

IDEMPOTENCY_KEY = "Idempotency-Key"
# What well-known services accept at most.
_MAX_KEY_CHARS = 255
_KEY_CHARS = "/#[]:,.!~@"

_BODILESS = frozenset({204, 304})
_MEDIA_TYPES = {
    "text": "text/plain",
    "json": "application/json",
    "urlencoded": "application/x-www-form-urlencoded",
}

File = Mapping[str, JsonValue]
Parts = list[tuple[str, tuple[str | None, bytes] | tuple[str, bytes, str]]]


@activity.defn(name=SendHttp.activity)
async def send_http(request: SendHttp) -> HttpReply:
    """Send the request of an http-request node."""
    async with heartbeats():
        return await execute_http(request)


async def execute_http(
    request: SendHttp,
    *,
    files: FileStore | None = None,
    settings: NetSettings | None = None,
    resolver: Resolver = resolve,
) -> HttpReply:
    """Send a request and sort the answer into text or a stored file.

    Raises:
        ApplicationError: the request failed; its type is `HttpAddressBlocked`, `ResponseSizeError`,
            `InvalidURLError`, `FileFetchError`, `RequestBodyError` or `HttpRequestNodeError`.
    """
    call = _Call(request, files or default_store(), settings or NetSettings(), resolver)
    return await call.perform()


class _Call:
    """One request and what it needs on its way."""

    def __init__(self, request: SendHttp, files: FileStore, settings: NetSettings, resolver: Resolver) -> None:
        self._request = request
        self._files = files
        self._settings = settings
        self._resolver = resolver

    async def perform(self) -> HttpReply:
        request = self._request
        content, media_type = await self._encode(request.body)
        headers = _headers(request, media_type)
        try:
            fetched = await fetch(
                request.method.upper(),
                request.url,
                headers=headers,
                params=request.params,
                content=content,
                secret_headers=(request.auth.header,) if request.auth.scheme != "none" else (),
                timeout=httpx2.Timeout(
                    connect=request.connect_s,
                    read=request.read_s,
                    write=request.write_s,
                    pool=request.connect_s,
                ),
                # Below the activity's own limit: Temporal would retry what the graph should hear of.
                total_s=request.budget_s() - 5.0,
                max_bytes=self._limit,
                verify=request.verify_tls,
                settings=self._settings,
                resolver=self._resolver,
            )
        except NetError as error:
            raise self._failure(error) from error
        return await self._reply(fetched)

    def _limit(self, headers: httpx2.Headers) -> int:
        text = reading_of(headers) == "text"
        return self._request.max_text_bytes if text else self._request.max_file_bytes

    async def _reply(self, fetched: Fetched) -> HttpReply:
        headers = dict(fetched.headers)
        bodiless = self._request.method.upper() == "HEAD" or fetched.status_code in _BODILESS
        if bodiless or is_text(fetched.headers, fetched.content):
            if len(fetched.content) > self._request.max_text_bytes:
                raise self._failure(TooLarge(httpx2.URL(fetched.url).host, self._request.max_text_bytes))
            return HttpReply(status_code=fetched.status_code, headers=headers, body=fetched.text)
        name, media_type = filename_of(fetched.headers, fetched.url)
        file = await asyncio.to_thread(self._files.put, fetched.content, name, media_type)
        return HttpReply(status_code=fetched.status_code, headers=headers, body="", files=(file,))

    async def _encode(self, body: HttpBody) -> tuple[bytes, str | None]:
        """Give the bytes of a body and the media type it has when the graph names none."""
        try:
            match body.kind:
                case "none":
                    return b"", None
                case "text":
                    return body.text.encode(), _MEDIA_TYPES["text"]
                case "json":
                    text = json.dumps(body.json_value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
                    return text.encode(), _MEDIA_TYPES["json"]
                case "urlencoded":
                    pairs = [(part.key, part.text or "") for part in body.parts]
                    return urlencode(pairs).encode(), _MEDIA_TYPES["urlencoded"]
                case "form":
                    return await self._form(body)
                case "binary":
                    return b"".join([await self._read(file) for file in body.files]), None
                case _:
                    assert_never(body.kind)
        except ValueError as error:
            raise _error(
                "RequestBodyError",
                f"The body ({body.kind}) cannot be sent: {error}. Correct the node's body.",
            ) from error

    async def _form(self, body: HttpBody) -> tuple[bytes, str | None]:
        parts: Parts = []
        for part in body.parts:
            if part.text is not None:
                parts.append((part.key, (None, part.text.encode())))
            for file in part.files:
                name, media_type = str(file.get("filename") or "file"), str(file.get("mime_type") or "")
                content = await self._read(file)
                parts.append((part.key, (name, content, media_type or "application/octet-stream")))
        if not parts:
            return b"", None
        encoded = httpx2.Request("POST", "http://form", files=parts)
        return await encoded.aread(), encoded.headers["content-type"]

    async def _read(self, file: File) -> bytes:
        name = name_of(file)
        try:
            read = await read_file(
                file,
                store=self._files,
                total_s=self._request.read_s,
                settings=self._settings,
                resolver=self._resolver,
            )
        except FileNotStored as error:
            raise _error("FileFetchError", f"The file {name!r} cannot be read: {error}") from error
        except FileRefused as error:
            raise _error("FileFetchError", f"The file {name!r} cannot be fetched: {error}.") from error
        except NetError as error:
            failure = self._failure(error)
            raise _error(failure.type or "FileFetchError", f"The file {name!r}: {failure.message}") from error
        return read.content

    def _failure(self, error: NetError) -> ApplicationError:
        match error:
            case AddressBlocked():
                return _error("HttpAddressBlocked", str(error))
            case TooLarge():
                what = "Text" if error.limit == self._request.max_text_bytes else "File"
                return _error(
                    "ResponseSizeError",
                    f"{what} size is too large, max size is {error.limit / 1024 / 1024:.2f} MB: the rest of "
                    f"the response of {error.host!r} was not read. Ask the server for less.",
                )
            case BadUrl():
                return _error("InvalidURLError", f"{error}. Correct the node's url.")
            case _:
                return _error("HttpRequestNodeError", f"{error}. {_advice(error)}")


def _advice(error: NetError) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "Set SSL_CERT_FILE of the worker to the server's authority, or the node's ssl_verify to false."
    if error.code == "timeout":
        return "Raise the node's timeout, or check the server."
    return "Check the url and the server, or let the node retry."


def _error(kind: str, message: str) -> ApplicationError:
    return user_failure(message, kind)


def _headers(request: SendHttp, media_type: str | None) -> list[tuple[str, str]]:
    """Add authentication (it replaces a header of that name), the body's media type and the key (they do not)."""
    headers = list(request.headers)
    if (authentication := _authentication(request.auth)) is not None:
        headers = [pair for pair in headers if pair[0].lower() != authentication[0].lower()]
        headers.append(authentication)
    if request.body.kind == "form":
        # Only the encoder knows the boundary.
        headers = [pair for pair in headers if pair[0].lower() != "content-type"]
    if media_type is not None and all(name.lower() != "content-type" for name, _ in headers):
        headers.append(("Content-Type", media_type))
    key = _idempotency_key(request)
    if key is not None and all(name.lower() != IDEMPOTENCY_KEY.lower() for name, _ in headers):
        headers.append((IDEMPOTENCY_KEY, key))
    return headers


def _idempotency_key(request: SendHttp) -> str | None:
    """Give the key by which the other side knows a repeated request; None for one that may simply be repeated."""
    if request.meta is None or request.meta.retry == "safe" or not request.meta.idempotency_key:
        return None
    key = quote(request.meta.idempotency_key, safe=_KEY_CHARS)
    return key if len(key) <= _MAX_KEY_CHARS else hashlib.sha256(key.encode()).hexdigest()


def _authentication(auth: HttpAuth) -> tuple[str, str] | None:
    match auth.scheme:
        case "none":
            return None
        case "basic":
            encoded = base64.b64encode(auth.secret.encode()).decode() if ":" in auth.secret else auth.secret
            return auth.header, f"Basic {encoded}"
        case "bearer":
            return auth.header, f"Bearer {auth.secret}"
        case "custom":
            return auth.header, auth.secret
        case _:
            assert_never(auth.scheme)
