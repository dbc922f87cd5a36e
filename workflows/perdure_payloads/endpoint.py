"""The codec endpoint: lets the Temporal UI and CLI show payloads that are compressed, encrypted or kept as blobs.

    POST /decode      what can be shown; a payload that cannot be, or is too large for a page, becomes a note in words
    POST /download    payloads kept as blobs, whole, or an error
    POST /encode      what the UI or CLI is about to send

Bodies are JSON `{"payloads": [...]}`, as Temporal's own tools send it; each path also stands under `/<namespace>`.
What comes back is clear text: without a token the endpoint answers only on loopback, and only to pages from there.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import re

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from google.protobuf import json_format
from pydantic import Field, SecretStr
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.sdk.v1 import ExternalStorageReference
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError

from perdure_graph.errors import PlatformError

from .converter import data_converter
from .settings import PayloadSettings

LOOPBACK_PAGES = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"
_LOOPBACK_NAMES = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d+)?")
_JSON = "application/json"
# How the SDK marks references: by their type, later releases also by a key, as the reference is then encoded too.
_REFERENCE = ExternalStorageReference.DESCRIPTOR.full_name
_MARK = "__temporal_external_storage_reference"
_UNREADABLE = (PlatformError, ApplicationError, RuntimeError, ValueError)


class EndpointSettings(PayloadSettings):
    """Settings of the endpoint, beside those of payloads.

    codec_token: what callers must send as `Authorization: Bearer ...`; required beyond loopback.
    codec_origins: pages whose scripts may ask, comma-separated (`https://temporal.example.org`); by default loopback.
    codec_max_bytes: largest request body.
    codec_show_bytes: largest payload that `/decode` shows; in its stead stands a note. `/download` gives any.
    """

    codec_token: SecretStr | None = None
    codec_origins: str = ""
    codec_max_bytes: int = Field(default=64 * 1024 * 1024, ge=1024)
    codec_show_bytes: int = Field(default=4 * 1024 * 1024, ge=1024)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host name or address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def codec_app(settings: EndpointSettings, converter: DataConverter | None = None) -> FastAPI:
    """Build the application."""
    chosen = converter or data_converter(settings)
    token = settings.codec_token.get_secret_value() if settings.codec_token else ""
    origins = [origin.strip().rstrip("/") for origin in settings.codec_origins.split(",") if origin.strip()]
    app = FastAPI(title="Perdure codec endpoint", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_origin_regex=None if origins else LOOPBACK_PAGES,
        allow_methods=["POST"],
        allow_headers=["content-type", "authorization", "authorization-extras", "x-namespace", "caller-type"],
        # Browsers ask before a page from elsewhere may speak to this machine; `codec_origins` says which may.
        allow_private_network=True,
    )

    async def read(request: Request) -> Payloads:
        _admit(request, token)
        return _parse(await _body(request, settings.codec_max_bytes))

    async def decode(request: Request) -> Response:
        payloads = await read(request)
        # The UI asks for that when it has a button to download them.
        keep = request.query_params.get("preserveStorageRefs", "").lower() == "true"
        return _answer(
            [
                payload if keep and is_reference(payload) else await _shown(chosen, payload, settings.codec_show_bytes)
                for payload in payloads.payloads
            ]
        )

    async def download(request: Request) -> Response:
        payloads = await read(request)
        if not all(map(is_reference, payloads.payloads)):
            raise HTTPException(400, "not a reference to a large value; /decode shows what lies in the history itself")
        try:
            return _answer([await _decoded(chosen, payload) for payload in payloads.payloads])
        except _UNREADABLE as error:
            raise HTTPException(422, str(error)) from error

    async def encode(request: Request) -> Response:
        payloads = await read(request)
        assert chosen.payload_codec is not None
        # Never a blob: nobody says for which run this is, so nothing could collect it.
        return _answer(await chosen.payload_codec.encode(payloads.payloads))

    for work in (decode, download, encode):
        app.post(f"/{work.__name__}")(work)
        app.post(f"/{{namespace}}/{work.__name__}")(work)
    return app


def is_reference(payload: Payload) -> bool:
    """Whether a payload only says where a large value is kept."""
    return payload.metadata.get("messageType") == _REFERENCE.encode() or _MARK in payload.metadata


async def _shown(converter: DataConverter, payload: Payload, most: int) -> Payload:
    """Decode a payload, or say in words why it is not shown: one that is missing must not hide the others."""
    kept = sum(blob.size_bytes for blob in payload.external_payloads)
    if kept > most:
        return _note(f"a value of {kept:,} bytes, kept outside of the history; too large to show here")
    try:
        plain = await _decoded(converter, payload)
    except _UNREADABLE as error:
        return _note(str(error))
    size = len(plain.data)
    return plain if size <= most else _note(f"a value of {size:,} bytes; too large to show here")


def _note(text: str) -> Payload:
    return Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(f"[Perdure: {text}]").encode())


async def _decoded(converter: DataConverter, payload: Payload) -> Payload:
    return await converter._transform_inbound_payload(payload)  # pyright: ignore[reportPrivateUsage]


def _admit(request: Request, token: str) -> None:
    if token:
        given = request.headers.get("authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            raise HTTPException(
                401,
                "send the token of PERDURE_CODEC_TOKEN as `Authorization: Bearer ...`",
                {"WWW-Authenticate": "Bearer"},
            )
    elif not _LOOPBACK_NAMES.fullmatch(request.headers.get("host", "")):
        # A page from elsewhere whose name was made to point here would else read everything.
        raise HTTPException(403, "without PERDURE_CODEC_TOKEN only requests to a loopback address are answered")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _JSON:
        raise HTTPException(415, f"send {_JSON}")


async def _body(request: Request, most: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise HTTPException(413, f"more than {most:,} bytes (PERDURE_CODEC_MAX_BYTES)")
    return bytes(body)


def _parse(body: bytes) -> Payloads:
    try:
        return json_format.Parse(body, Payloads(), ignore_unknown_fields=True)
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise HTTPException(400, f"the body is no JSON of payloads: {error}") from error


def _answer(payloads: list[Payload]) -> Response:
    return Response(json_format.MessageToJson(Payloads(payloads=payloads), indent=None), media_type=_JSON)
