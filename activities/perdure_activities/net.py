"""The one HTTP door: every URL that a graph, a tool or a document can influence is fetched through here.

    fetch / guarded_client -> httpx2 -> GuardedTransport -> httpcore2 pool -> GuardedBackend -> socket

The check sits where the socket is opened: the name is resolved once, every address it has must be public (or
allowed by `PERDURE_HTTP_ALLOW`), and the connection goes to one of the addresses that were checked. So odd
spellings, redirects and names that change their answer meet the same check, while the Host header and the TLS
name stay those of the URL. No proxy, no netrc: nothing of the environment decides where a request goes.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from ipaddress import ip_address
from typing import Any, ClassVar, cast
from urllib.parse import urlencode

import httpcore2
import httpx2

from .addresses import NetSettings
from .net_errors import AddressBlocked, BadExchange, BadUrl, ConnectFailed, NetError, Timeout, TooLarge

__all__ = [
    "AddressBlocked",
    "BadExchange",
    "BadUrl",
    "ConnectFailed",
    "Fetched",
    "GuardedBackend",
    "GuardedTransport",
    "NetError",
    "NetSettings",
    "Resolver",
    "Timeout",
    "TooLarge",
    "fetch",
    "guarded_client",
    "resolve",
]

# Both log whole URLs and headers, which carry what authors put in them: keys.
for _name in ("httpx2", "httpcore2"):
    logging.getLogger(_name).setLevel(logging.WARNING)

USER_AGENT = "Perdure"

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
SizeLimit = int | Callable[[httpx2.Headers], int]

_MAX_CONNECT_TRIES = 4
_CARRIED_ONLY_HOME = ("Authorization", "Proxy-Authorization", "Cookie")


async def resolve(host: str, port: int) -> Sequence[str]:
    """Ask the system for the addresses of a host, best first."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Open sockets only to addresses that were checked."""

    def __init__(self, settings: NetSettings, resolver: Resolver) -> None:
        self._settings = settings
        self._resolve = resolver
        self._inner = cast("httpcore2.AsyncNetworkBackend", httpcore2.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is httpcore2's
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Resolve, check every address, connect to the first that answers.

        Raises:
            AddressBlocked: one of the addresses is neither public nor allowed.
        """
        try:
            async with asyncio.timeout(timeout):
                addresses = (await self._checked(host, port))[:_MAX_CONNECT_TRIES]
                share = None if timeout is None else timeout / len(addresses)
                for address in addresses[:-1]:
                    try:
                        return await self._inner.connect_tcp(address, port, share, local_address, socket_options)
                    except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                        continue
                return await self._inner.connect_tcp(addresses[-1], port, timeout, local_address, socket_options)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout(f"no connection to {host!r}") from error

    async def _checked(self, host: str, port: int) -> list[str]:
        try:
            answers = list(dict.fromkeys(await self._resolve(host, port)))
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError(f"the name {host!r} cannot be resolved ({error})") from error
        if not answers:
            raise httpcore2.ConnectError(f"the name {host!r} has no address")
        for answer in answers:
            if not self._settings.permits(host, port, ip_address(answer)):
                raise AddressBlocked(host, answer, port)
        return answers

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ARG002, ASYNC109 - the signature is httpcore2's
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> httpcore2.AsyncNetworkStream:
        """Refuse: the door leads to hosts only."""
        raise httpcore2.ConnectError(f"unix sockets are not allowed ({path!r})")

    async def sleep(self, seconds: float) -> None:
        """Sleep (the pool's pause between its own tries)."""
        await asyncio.sleep(seconds)


@contextmanager
def _httpx_errors() -> Generator[None]:
    """Turn errors of httpcore2 into the httpx2 errors of the same names, which callers of a client expect."""
    try:
        yield
    except (
        httpcore2.TimeoutException,
        httpcore2.NetworkError,
        httpcore2.ProtocolError,
        httpcore2.UnsupportedProtocol,
    ) as error:
        raise getattr(httpx2, type(error).__name__)(str(error)) from error


class _Body(httpx2.AsyncByteStream):
    def __init__(self, stream: AsyncIterable[bytes]) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _httpx_errors():
            async for part in self._stream:
                yield part

    async def aclose(self) -> None:
        if (close := getattr(self._stream, "aclose", None)) is not None:
            await close()


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Send http and https requests over guarded sockets."""

    schemes: ClassVar = ("http", "https")

    def __init__(
        self,
        settings: NetSettings,
        *,
        verify: bool,
        resolver: Resolver,
        max_connections: int = 100,
        max_idle: int = 20,
        idle_s: float = 5.0,
    ) -> None:
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=_tls(verify),
            max_connections=max_connections,
            max_keepalive_connections=max_idle,
            keepalive_expiry=idle_s,
            network_backend=GuardedBackend(settings, resolver),
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request; redirects come back here one by one."""
        url = request.url
        if url.scheme not in self.schemes or not url.host or (url.port or 0) > 65535:
            raise httpx2.UnsupportedProtocol(f"{url.scheme}://{url.host} is no http or https URL")
        assert isinstance(request.stream, httpx2.AsyncByteStream)
        with _httpx_errors():
            reply = await self._pool.handle_async_request(
                httpcore2.Request(
                    method=request.method,
                    url=httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        assert isinstance(reply.stream, AsyncIterable)
        return httpx2.Response(
            reply.status,
            headers=reply.headers,
            stream=_Body(reply.stream),
            extensions=cast("Any", reply).extensions,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()


@functools.cache
def _tls(verify: bool) -> ssl.SSLContext:
    # SSL_CERT_FILE is honoured: it says whom the operator trusts, not where a request goes.
    return httpx2.create_ssl_context(verify=verify)


def guarded_client(
    settings: NetSettings | None = None,
    *,
    verify: bool = True,
    resolver: Resolver = resolve,
    timeout: httpx2.Timeout | float = 30.0,
    follow_redirects: bool = False,
) -> httpx2.AsyncClient:
    """Make an httpx2 client that can only open checked sockets; hand it to any library that takes one.

    `AddressBlocked` goes through it unchanged. It puts no limit on sizes: `fetch` does.
    """
    settings = settings or NetSettings()
    return httpx2.AsyncClient(
        transport=GuardedTransport(settings, verify=verify, resolver=resolver),
        trust_env=False,
        timeout=timeout,
        follow_redirects=follow_redirects,
        max_redirects=settings.max_redirects,
        headers={"User-Agent": USER_AGENT},
    )


@dataclass(frozen=True, slots=True)
class Fetched:
    """A whole response: `content` without its Content-Encoding, `url` the last of the redirects."""

    status_code: int
    url: str
    headers: httpx2.Headers
    content: bytes

    @property
    def text(self) -> str:
        """The content as text of the declared charset, else UTF-8; what does not fit is replaced."""
        header = Message()
        header["content-type"] = self.headers.get("content-type", "")
        try:
            text = self.content.decode(header.get_content_charset("utf-8"), "replace")
        except LookupError:
            text = self.content.decode("utf-8", "replace")
        # Some codecs let lone surrogates through, which no JSON payload can carry.
        return text.encode("utf-8", "replace").decode("utf-8")


async def fetch(
    method: str,
    url: str,
    *,
    headers: Sequence[tuple[str, str]] = (),
    params: Sequence[tuple[str, str]] = (),
    content: bytes = b"",
    secret_headers: Sequence[str] = (),
    timeout: httpx2.Timeout | float = 30.0,  # noqa: ASYNC109 - per phase, and part of the request
    total_s: float | None = None,
    max_bytes: SizeLimit = 10 * 1024 * 1024,
    verify: bool = True,
    settings: NetSettings | None = None,
    resolver: Resolver = resolve,
) -> Fetched:
    """Request a URL, follow redirects and read the whole response, within limits of time and size.

    params: appended to the query of the URL, in order, repeats kept.
    secret_headers: further headers that stay with the origin they were meant for.
    timeout: per phase (connect, read, write); `total_s` limits all of it together.
    max_bytes: of the decoded body; a function may choose by the response's headers.

    Raises:
        NetError: one of its kinds; statuses such as 404 are no errors.
    """
    settings = settings or NetSettings()
    with _net_errors(_host_of(url)):
        async with (
            asyncio.timeout(total_s),
            guarded_client(settings, verify=verify, resolver=resolver, timeout=timeout) as client,
        ):
            request = client.build_request(
                method,
                _with_params(httpx2.URL(url), params),
                headers=[(key.encode(), value.encode()) for key, value in headers],
                content=content or None,
            )
            private = {*(name.lower() for name in (*_CARRIED_ONLY_HOME, *secret_headers))}
            response = await _follow(client, request, private, settings.max_redirects)
            try:
                body = await _read(response, max_bytes)
            finally:
                await response.aclose()
    return Fetched(response.status_code, str(response.url), response.headers, body)


def _with_params(url: httpx2.URL, params: Sequence[tuple[str, str]]) -> httpx2.URL:
    # Appended as text: taking the query apart and writing it anew would break signed URLs.
    parts = [part for part in (url.query, urlencode(params).encode()) if part]
    return url.copy_with(query=b"&".join(parts)) if params else url


async def _follow(client: httpx2.AsyncClient, request: httpx2.Request, private: set[str], hops: int) -> httpx2.Response:
    # httpx2 would read each redirect's body whole, however large, and keep the caller's own key headers.
    first = request.url.host
    for hop in range(hops + 1):
        try:
            with _net_errors(request.url.host):
                response = await client.send(request, stream=True)
        except AddressBlocked as error:
            raise AddressBlocked(error.host, error.address, error.port, via=first if hop else "") from error
        if not response.has_redirect_location:
            return response
        await response.aclose()
        if response.next_request is None:
            raise BadUrl(f"{request.url.host!r} redirects to an unreadable URL", host=request.url.host)
        request = _without_secrets(request, response.next_request, private)
    raise BadExchange(f"more than {hops} redirects, the last from {request.url.host!r}", host=request.url.host)


def _without_secrets(request: httpx2.Request, following: httpx2.Request, private: set[str]) -> httpx2.Request:
    here, there = request.url, following.url
    upgraded = (here.scheme, there.scheme) == ("http", "https") and (here.port, there.port) == (None, None)
    if there.is_absolute_url and (here.origin == there.origin or (upgraded and here.host == there.host)):
        return following
    for name in private:
        following.headers.pop(name, None)
    return following


async def _read(response: httpx2.Response, max_bytes: SizeLimit) -> bytes:
    host = response.url.host
    limit = max_bytes if isinstance(max_bytes, int) else max_bytes(response.headers)
    declared = response.headers.get("content-length", "")
    if response.request.method != "HEAD" and declared.isdecimal() and int(declared) > limit:
        raise TooLarge(host, limit)
    body = bytearray()
    with _net_errors(host):
        async for chunk in response.aiter_bytes():
            if len(body) + len(chunk) > limit:
                raise TooLarge(host, limit)
            body += chunk
    return bytes(body)


def _host_of(url: str) -> str:
    try:
        return httpx2.URL(url).host
    except (httpx2.InvalidURL, UnicodeError) as error:
        raise BadUrl(f"the URL cannot be read: {error}") from error


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


@contextmanager
def _net_errors(host: str) -> Generator[None]:
    """Say in our own errors what httpx2 says in its own. Messages name the host only: URLs carry keys."""
    try:
        yield
    except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
        raise BadUrl(f"the URL cannot be requested: {error}", host=host) from error
    except httpx2.ConnectTimeout as error:
        raise Timeout(f"{host!r} did not accept a connection in time", host=host) from error
    except httpx2.TimeoutException as error:
        phase = "take the request" if isinstance(error, httpx2.WriteTimeout) else "answer"
        raise Timeout(f"{host!r} did not {phase} in time", host=host) from error
    except TimeoutError as error:
        raise Timeout(f"{host!r} did not finish its answer in time", host=host) from error
    except httpx2.ConnectError as error:
        raise ConnectFailed(f"no connection to {host!r}: {_said(error)}", host=host) from error
    except httpx2.NetworkError as error:
        raise ConnectFailed(f"the connection to {host!r} broke: {_said(error)}", host=host) from error
    except httpx2.RequestError as error:
        raise BadExchange(f"the exchange with {host!r} failed: {_said(error)}", host=host) from error
    except UnicodeError as error:
        raise BadExchange(f"the request to {host!r} holds text that cannot be sent: {error}", host=host) from error
