"""Limits of time and size on what a provider sends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

import httpx2

from ..protocol import Endpoint, ModelFault

# An event stream wraps each token of a few bytes in some 250, so it may be this many times as long as its answer.
_STREAM_OVERHEAD = 4
_EVENT_END = (b"\n\n", b"\n\r\n", b"\r\r")


class Bounded(httpx2.AsyncBaseTransport):
    """Bound how long and how large the replies of an endpoint may be."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, endpoint: Endpoint) -> None:
        self._inner = inner
        self._endpoint = endpoint

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request."""
        waits = dict(request.extensions.get("timeout") or {})
        first_s = waits.get("read")
        first_by = None if first_s is None else asyncio.get_running_loop().time() + first_s
        request.extensions = {**request.extensions, "timeout": waits}
        response = await self._inner.handle_async_request(request)
        # From here on the body bounds its own waits, which differ between its first bytes and the others.
        waits["read"] = None
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        packed = response.headers.get("content-encoding", "identity").strip().lower()
        if packed not in {"", "identity"}:
            await response.stream.aclose()
            return _unpacked(response, packed)
        return httpx2.Response(
            response.status_code,
            headers=response.headers,
            stream=_Body(response.stream, response.headers, self._endpoint, first_by),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


def _unpacked(response: httpx2.Response, packed: str) -> httpx2.Response:
    """Do without a compressed body, whose size nobody knows. Of an error, status and headers say the most."""
    if response.status_code < 400:
        why = f"the server compressed its reply ({packed}) without being asked to"
        raise ModelFault("protocol_error", why, status=response.status_code, maybe_billed=True)
    dropped = {b"content-encoding", b"content-length", b"transfer-encoding"}
    kept = [(name, value) for name, value in response.headers.raw if name.lower() not in dropped]
    return httpx2.Response(response.status_code, headers=kept, content=b"")


class _Body(httpx2.AsyncByteStream):
    def __init__(
        self, stream: httpx2.AsyncByteStream, headers: Mapping[str, str], endpoint: Endpoint, first_by: float | None
    ) -> None:
        self._stream = stream
        self._endpoint = endpoint
        self._first_by = first_by
        self._begun = False
        self._events = "event-stream" in headers.get("content-type", "").lower()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        most = self._endpoint.max_reply_bytes
        total = event = 0
        tail = b""
        parts = aiter(self._stream)
        while (part := await self._next(parts)) is not None:
            total += len(part)
            event += len(part)
            if self._events:
                seen = tail + part
                if (end := max(seen.rfind(mark) for mark in _EVENT_END)) >= 0:
                    event = len(seen) - end
                tail = seen[-2:]
            if event > most or total > most * _STREAM_OVERHEAD:
                await self.aclose()
                raise ModelFault(
                    "protocol_error", f"the reply is larger than the limit of {most} bytes", maybe_billed=True
                )
            # Before it is handed on: the SDK reads what is left through a second iterator.
            self._begun = True
            yield part

    async def _next(self, parts: AsyncIterator[bytes]) -> bytes | None:
        now = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(now + self._endpoint.between_s if self._begun else self._first_by):
                return await anext(parts, None)
        except TimeoutError:
            raise httpx2.ReadTimeout("no more of the reply came in time") from None

    async def aclose(self) -> None:
        await self._stream.aclose()
