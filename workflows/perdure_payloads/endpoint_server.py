"""Serve the codec endpoint over HTTP, alone or beside an embedded stack."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, closing, contextmanager

import uvicorn
from temporalio.converter import DataConverter

from perdure_graph.errors import PlatformError

from .endpoint import EndpointSettings, codec_app, is_loopback

LOOPBACK = "127.0.0.1"


class _Server(uvicorn.Server):
    """Leaves signals to the process it runs in."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Capture none."""
        yield


@asynccontextmanager
async def serving(
    settings: EndpointSettings, *, host: str = LOOPBACK, port: int = 0, converter: DataConverter | None = None
) -> AsyncGenerator[str]:
    """Serve for the length of the block; gives the URL. Port 0 takes a free one.

    Raises:
        PlatformError: the port is taken, or others than this machine would be answered without a token.
    """
    if settings.codec_token is None and not is_loopback(host):
        raise PlatformError(
            f"the codec endpoint shows payloads in clear text: on {host!r} it needs a token. Set PERDURE_CODEC_TOKEN."
        )
    app = codec_app(settings, converter)
    with closing(_listening(host, port)) as listening:
        shown = f"[{host}]" if ":" in host else host
        config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off")
        server = _Server(config)
        task = asyncio.create_task(server.serve(sockets=[listening]), name="perdure-codec")
        try:
            # The socket listens already: who connects before the server is up, waits for it.
            yield f"http://{shown}:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen()
    except OSError as error:
        listening.close()
        raise PlatformError(
            f"the codec endpoint cannot use {host}:{port} ({error.strerror}). Choose another port."
        ) from error
    return listening
