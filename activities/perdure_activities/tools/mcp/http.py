"""The way to a server over streamable HTTP: guarded sockets, no redirects to elsewhere, no proxies, bounded sizes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx2

from ...addresses import NetSettings
from ...net import USER_AGENT, GuardedTransport, Resolver, resolve

if TYPE_CHECKING:
    from mcp.client._transport import TransportStreams

_SESSION = "mcp-session-id"
_WRITE_S = 60.0
# A stream may be silent for as long as nothing happens; calls have limits of their own.
_SILENT_S = 3600.0


class HttpLink:
    """Speaks to one endpoint as one caller."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        settings: NetSettings,
        max_bytes: int,
        connect_s: float,
        resolver: Resolver = resolve,
    ) -> None:
        self._url = url
        self._headers = dict(headers)
        self._settings = settings
        self._max_bytes = max_bytes
        self._connect_s = connect_s
        self._resolver = resolver
        self.status: int | None = None
        self.forgotten = False

    @asynccontextmanager
    async def streams(self, gone: Callable[[], None]) -> AsyncGenerator[TransportStreams]:  # noqa: ARG002
        """Get ready; the first message opens a connection. The SDK itself notices when one breaks."""
        from mcp.client.streamable_http import streamable_http_client

        def heard(request: httpx2.Request, response: httpx2.Response) -> None:
            if request.method == "POST" and response.status_code >= 400:
                self.status = response.status_code
            if response.status_code == 404 and _SESSION in request.headers:
                self.forgotten = True

        guarded = GuardedTransport(
            self._settings, verify=True, resolver=self._resolver, max_connections=1000, max_idle=20, idle_s=30.0
        )
        timeout = httpx2.Timeout(_SILENT_S, connect=self._connect_s, write=_WRITE_S, pool=self._connect_s)
        async with (
            httpx2.AsyncClient(
                transport=_Bounded(guarded, self._max_bytes, heard),
                trust_env=False,
                follow_redirects=False,
                max_redirects=self._settings.max_redirects,
                timeout=timeout,
                headers={"User-Agent": USER_AGENT, **self._headers, "Accept-Encoding": "identity"},
            ) as client,
            streamable_http_client(self._url, http_client=client, max_sse_event_size=self._max_bytes) as streams,
        ):
            yield streams

    def said(self) -> str:
        """Tell that the server has forgotten the session; the SDK tells the rest."""
        return "it does not know the session any more" if self.forgotten else ""


def door_to(url: str, *, allow_private: bool) -> NetSettings:
    """Give the settings of the HTTP door for an endpoint that the operator wrote down.

    Raises:
        ValueError: it is no http or https URL with a host.
    """
    settings = NetSettings()
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, UnicodeError) as error:
        raise ValueError(str(error)) from None
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise ValueError("it is no http or https URL with a host")
    if not allow_private:
        return settings
    host = f"[{parsed.host}]" if ":" in parsed.host else parsed.host
    port = parsed.port or {"http": 80, "https": 443}[parsed.scheme]
    return settings.model_copy(update={"allow": (*settings.allow, f"{host}:{port}")})


class _Bounded(httpx2.AsyncBaseTransport):
    """Bound the size of what a server sends in one piece; an event stream is bounded event by event, by its reader."""

    def __init__(
        self,
        inner: httpx2.AsyncBaseTransport,
        most: int,
        heard: Callable[[httpx2.Request, httpx2.Response], None],
    ) -> None:
        self._inner = inner
        self._most = most
        self._heard = heard

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request."""
        response = await self._inner.handle_async_request(request)
        self._heard(request, response)
        packed = response.headers.get("content-encoding", "identity").strip().lower()
        if packed not in {"", "identity"}:
            await response.aclose()
            raise httpx2.RemoteProtocolError(f"it compressed its answer ({packed}) without being asked to")
        if "event-stream" in response.headers.get("content-type", "").lower():
            return response
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        return httpx2.Response(
            response.status_code,
            headers=response.headers,
            stream=_Body(response.stream, self._most),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


class _Body(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, most: int) -> None:
        self._stream = stream
        self._most = most

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._stream:
            size += len(part)
            if size > self._most:
                # The SDK fails the one call that was to get it, not the session.
                raise httpx2.StreamError(f"the answer is larger than {self._most} bytes")
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()
