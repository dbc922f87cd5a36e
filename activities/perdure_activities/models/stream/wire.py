"""Bounded connections to model providers, and what the headers of their replies say."""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Generic, Literal, TypeVar

import httpx2

from ...addresses import NetSettings
from ...net import GuardedTransport, resolve
from ..protocol import Endpoint, Headers, ModelFault
from .bounded import Bounded

SIMULATED_HEADER = "x-perdure-simulated"

_MOST_IDLE_CLIENTS = 64
_WRITE_S = 60.0
_WARM_S = 3.0

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")


async def read_out(rest: AsyncGenerator[object], seconds: float = 0.1) -> None:
    """Read to the end of a body whose answer is whole, for a while: its connection can then be used again."""
    # What goes wrong there costs that connection, and nothing else.
    with suppress(Exception):
        async with asyncio.timeout(seconds):
            async for _ in rest:
                pass


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Read how long a server asks to wait: `retry-after-ms`, or `retry-after` as seconds or as a date.

    None when it does not say, or names a time that is over.
    """
    if (ms := _number(headers.get("retry-after-ms"))) is not None:
        return ms / 1000 if ms > 0 else None
    said = headers.get("retry-after")
    seconds = _number(said)
    if seconds is None and said:
        seconds = _until(said)
    return seconds if seconds is not None and seconds > 0 else None


def rate_headers(headers: Mapping[str, str]) -> Headers:
    """Read what is left of the limits, as OpenAI and Anthropic say it: the least of each kind, the last reset."""
    kinds = ("tokens", "input-tokens", "output-tokens")
    tokens = [headers.get("x-ratelimit-remaining-tokens")]
    tokens += [headers.get(f"anthropic-ratelimit-{kind}-remaining") for kind in kinds]
    requests = [headers.get("x-ratelimit-remaining-requests"), headers.get("anthropic-ratelimit-requests-remaining")]
    resets = [_duration(headers.get(f"x-ratelimit-reset-{kind}")) for kind in ("requests", "tokens")]
    resets += [_until(headers.get(f"anthropic-ratelimit-{kind}-reset")) for kind in ("requests", *kinds)]
    return Headers(
        request_id=headers.get("x-request-id") or headers.get("request-id") or "",
        remaining_requests=_least(requests),
        remaining_tokens=_least(tokens),
        reset_s=max((reset for reset in resets if reset is not None), default=None),
    )


def is_simulated(headers: Mapping[str, str]) -> bool:
    """Whether the server says that it is a fake."""
    return headers.get(SIMULATED_HEADER) == "1"


def body_kind(headers: Mapping[str, str]) -> Literal["events", "json"]:
    """Say how a successful reply is to be read.

    Raises:
        ModelFault: it is a page for people, such as the login of a proxy.
    """
    media = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media == "application/json" or media.endswith("+json"):
        return "json"
    if media in {"text/html", "application/xhtml+xml", "text/xml", "application/xml"}:
        raise ModelFault(
            "protocol_error",
            f"the server answered with {media!r} instead of a model's reply; "
            "check that the base URL is that of the API and that no proxy asks for a login",
            status=200,
        )
    return "events"


def in_one_piece(endpoint: Endpoint) -> httpx2.Timeout:
    """Give the waits for an answer whose first bytes are its last: only the time of the attempt bounds it."""
    return _waits(endpoint, None)


def _waits(endpoint: Endpoint, first_s: float | None) -> httpx2.Timeout:
    return httpx2.Timeout(first_s, connect=endpoint.connect_s, write=_WRITE_S, pool=10.0)


def http_client(endpoint: Endpoint) -> httpx2.AsyncClient:
    """Make a client for one endpoint: guarded sockets, no redirects, no proxies, bounded waits and sizes.

    Raises:
        ModelFault: the base URL cannot be requested.
    """
    transport = GuardedTransport(
        _door(endpoint), verify=True, resolver=resolve, max_connections=1000, max_idle=100, idle_s=30.0
    )
    return httpx2.AsyncClient(
        transport=Bounded(transport, endpoint),
        trust_env=False,
        follow_redirects=False,
        timeout=_waits(endpoint, endpoint.first_token_s),
        # Replies are bounded as they come: a small compressed one could be any size.
        headers={"Accept-Encoding": "identity"},
    )


def _door(endpoint: Endpoint) -> NetSettings:
    settings = NetSettings()
    try:
        url = httpx2.URL(endpoint.base_url)
        if url.scheme not in {"http", "https"} or not url.host:
            raise ValueError("it is no http or https URL with a host")
        if not endpoint.allow_private:
            return settings
        host = f"[{url.host}]" if ":" in url.host else url.host
        port = url.port or {"http": 80, "https": 443}[url.scheme]
        return NetSettings(
            allow=(*settings.allow, f"{host}:{port}"),
            max_redirects=settings.max_redirects,
            max_upload_bytes=settings.max_upload_bytes,
        )
    except (httpx2.InvalidURL, ValueError) as error:
        why = f"the base URL of deployment {endpoint.deployment!r} cannot be requested: {error}"
        raise ModelFault("bad_request", why) from None


Client = TypeVar("Client")


@dataclass(slots=True)
class _Pooled(Generic[Client]):
    http: httpx2.AsyncClient
    client: Client | None = None
    users: int = 0


@dataclass(slots=True)
class Clients(Generic[Client]):
    """Clients of one wire, by where and as whom they call; those least lately used are closed when there are many.

    make: for an endpoint, upon connections that are already its own. end: closes one with its connections.
    """

    make: Callable[[Endpoint, httpx2.AsyncClient], Client]
    end: Callable[[Client], Awaitable[None]]
    _pooled: dict[Endpoint, _Pooled[Client]] = field(default_factory=dict[Endpoint, "_Pooled[Client]"])

    @asynccontextmanager
    async def use(self, endpoint: Endpoint) -> AsyncGenerator[Client]:
        """Give the client of an endpoint, made when it is first asked for."""
        async with self._use(endpoint) as pooled:
            if pooled.client is None:
                pooled.client = self.make(endpoint, pooled.http)
            yield pooled.client

    async def warm(self, endpoint: Endpoint) -> None:
        """Connect to an endpoint, so that its first call finds an open connection; failing is no matter.

        The client is not made for it, and its key not sent: the server is only asked for headers.
        """
        # Whatever goes wrong here, the call that needs the connection says it better.
        with suppress(Exception):
            async with self._use(endpoint) as pooled, asyncio.timeout(_WARM_S):
                await pooled.http.head(endpoint.base_url)

    @asynccontextmanager
    async def _use(self, endpoint: Endpoint) -> AsyncGenerator[_Pooled[Client]]:
        key = _who(endpoint)
        pooled = self._pooled.pop(key, None) or _Pooled[Client](http_client(endpoint))
        self._pooled[key] = pooled
        pooled.users += 1
        try:
            yield pooled
        finally:
            pooled.users -= 1
            await self._close_spare()

    async def _close_spare(self) -> None:
        spare = len(self._pooled) - _MOST_IDLE_CLIENTS
        for key in [key for key, pooled in self._pooled.items() if not pooled.users][: max(0, spare)]:
            await self._end(self._pooled.pop(key))

    async def close(self) -> None:
        """Close them all."""
        pooled, self._pooled = list(self._pooled.values()), {}
        for one in pooled:
            await self._end(one)

    async def _end(self, pooled: _Pooled[Client]) -> None:
        if pooled.client is None:
            await pooled.http.aclose()
        else:
            await self.end(pooled.client)


def _who(endpoint: Endpoint) -> Endpoint:
    # Deployments that differ in name only share connections; the pool keeps no key in the clear.
    secret = repr((endpoint.api_key, endpoint.headers)).encode()
    digest = hashlib.sha256(secret).hexdigest()
    return replace(endpoint, deployment="", provider="", profile="", api_key=digest, headers=())


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _least(texts: list[str | None]) -> int | None:
    return min((int(text) for text in texts if text and re.fullmatch(r"\d{1,15}", text)), default=None)


def _until(text: str | None) -> float | None:
    """Seconds until a date of HTTP or of ISO 8601."""
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            moment = read(text or "")
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0.0, (moment - datetime.now(UTC)).total_seconds())
    return None


def _duration(text: str | None) -> float | None:
    """Seconds of `1s`, `6m0s`, `20ms`."""
    if (plain := _number(text)) is not None:
        return plain
    if not text or not (found := _DURATION.fullmatch(text)):
        return None
    return sum(float(part or 0) * unit for part, unit in zip(found.groups(), (86400, 3600, 60, 1, 0.001), strict=True))
