"""The codec endpoint: lets the Temporal UI and CLI show payloads that are compressed, encrypted or kept as blobs.

    POST /decode, /encode    JSON `{"payloads": [...]}`, as Temporal's own tools send it

What comes back is clear text: without a token the endpoint answers only on loopback, and only to pages from there.
"""

from __future__ import annotations

import hmac
import ipaddress
import re

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from google.protobuf import json_format
from pydantic import Field, SecretStr
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError

from perdure_graph.errors import PlatformError

from .converter import data_converter
from .settings import PayloadSettings

LOOPBACK_PAGES = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"
_LOOPBACK_NAMES = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d+)?")
_JSON = "application/json"


class EndpointSettings(PayloadSettings):
    """Settings of the endpoint, beside those of payloads.

    codec_token: what callers must send as `Authorization: Bearer ...`; required beyond loopback.
    codec_origins: pages whose scripts may ask, comma-separated (`https://temporal.example.org`); by default loopback.
    codec_max_bytes: largest request body.
    """

    codec_token: SecretStr | None = None
    codec_origins: str = ""
    codec_max_bytes: int = Field(default=64 * 1024 * 1024, ge=1024)


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
        allow_headers=["content-type", "authorization", "x-namespace", "caller-type"],
    )

    async def read(request: Request) -> Payloads:
        _admit(request, token)
        return _parse(await _body(request, settings.codec_max_bytes))

    @app.post("/decode")
    async def decode(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        payloads = await read(request)
        try:
            return _answer([await _decoded(chosen, payload) for payload in payloads.payloads])
        except (PlatformError, ApplicationError, RuntimeError, ValueError) as error:
            raise HTTPException(422, str(error)) from error

    @app.post("/encode")
    async def encode(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        payloads = await read(request)
        assert chosen.payload_codec is not None
        return _answer(await chosen.payload_codec.encode(payloads.payloads))

    return app


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
