"""What the tools that fetch have in common: the door, faults, addresses that the operator opened."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast
from urllib.parse import urlsplit

from ...net import AddressBlocked, BadUrl, Fetched, NetError, NetSettings, TooLarge, fetch
from ..protocol import ToolFault

_MAX_JSON_BYTES = 2 * 1024 * 1024


async def fetched(
    method: str,
    url: str,
    *,
    headers: Sequence[tuple[str, str]] = (),
    params: Sequence[tuple[str, str]] = (),
    content: bytes = b"",
    secret_headers: Sequence[str] = (),
    timeout_s: float,
    max_bytes: int,
    settings: NetSettings | None = None,
) -> Fetched:
    """Fetch through the guarded door.

    Raises:
        ToolFault: no answer; `refused` where the address is not one that tools may reach.
    """
    try:
        return await fetch(
            method,
            url,
            headers=headers,
            params=params,
            content=content,
            secret_headers=secret_headers,
            timeout=timeout_s,
            total_s=timeout_s,
            max_bytes=max_bytes,
            settings=settings,
        )
    except AddressBlocked as error:
        raise ToolFault("refused", str(error)) from None
    except (BadUrl, TooLarge) as error:
        raise ToolFault("bad_arguments" if isinstance(error, BadUrl) else "invoke", str(error)) from None
    except NetError as error:
        kind = "timeout" if error.code == "timeout" else "invoke"
        raise ToolFault(kind, f"{error}.".replace("..", "."), retryable=error.retryable) from None


async def fetched_json(
    url: str,
    *,
    params: Sequence[tuple[str, str]] = (),
    headers: Mapping[str, str] | None = None,
    timeout_s: float,
    allow_private: bool,
) -> Any:
    """Ask an API of the operator's choice, and read its answer as JSON.

    Raises:
        ToolFault: it does not answer, or with something else.
    """
    reply = await fetched(
        "GET",
        url,
        params=params,
        headers=[("Accept", "application/json"), *(headers or {}).items()],
        secret_headers=[*(headers or {})],
        timeout_s=timeout_s,
        max_bytes=_MAX_JSON_BYTES,
        settings=opened_to(url) if allow_private else None,
    )
    host = urlsplit(url).hostname
    if not 200 <= reply.status_code < 300:
        raise ToolFault(
            "credentials" if reply.status_code in (401, 403) else "invoke",
            f"{host!r} answered with status {reply.status_code}.",
            retryable=reply.status_code in (408, 429) or reply.status_code >= 500,
        )
    try:
        return json.loads(reply.text)
    except (ValueError, RecursionError):
        raise ToolFault("invoke", f"{host!r} did not answer with JSON.") from None


def opened_to(url: str) -> NetSettings:
    """Give the settings of the door with the host of a URL let through, on its port."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    settings = NetSettings()
    return settings.model_copy(update={"allow": (*settings.allow, f"{host}:{port}")})


def at(value: Any, path: str) -> Any:
    """Follow a path like `data.results.0` into JSON; None where it leads nowhere."""
    for part in filter(None, path.split(".")):
        if isinstance(value, dict):
            value = cast("dict[str, Any]", value).get(part)
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(cast("list[Any]", value)):
            value = cast("list[Any]", value)[int(part)]
        else:
            return None
    return value
