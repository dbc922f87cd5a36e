"""Tokens of oauth2 client credentials: got once, kept until they end."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import time
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import quote_plus, urlencode, urlsplit

from ...net import Fetched, NetError, NetSettings, Resolver, fetch
from ..protocol import ToolFault

_MAX_BYTES = 64 * 1024
_MAX_KEPT = 256
_UNSAID_S = 300.0
_CODE = re.compile(r"[a-z_]{1,40}")


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks for a token, and for what."""

    token_url: str
    client_id: str
    client_secret: str = field(repr=False)
    scope: str = ""

    @property
    def host(self) -> str:
        """Whom it asks, for people."""
        return urlsplit(self.token_url).hostname or "?"

    @property
    def key(self) -> str:
        """The same for the same question; holds no secret."""
        parts = (self.token_url, self.client_id, self.client_secret, self.scope)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Kept:
    token: str = field(repr=False)
    until: float


class Tokens:
    """The tokens of one worker's source."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._kept: dict[str, _Kept] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def get(self, client: Client, settings: NetSettings, total_s: float) -> str:
        """Give a token that is still good.

        Raises:
            ToolFault: `credentials`, the server gives none; or it cannot be reached.
        """
        async with self._locks.setdefault(client.key, asyncio.Lock()):
            kept = self._kept.get(client.key)
            if kept is None or kept.until <= time.monotonic():
                if len(self._kept) >= _MAX_KEPT:
                    self._kept.clear()
                kept = self._kept[client.key] = await self._asked(client, settings, total_s)
            return kept.token

    def forget(self, client: Client, token: str) -> None:
        """Drop a token that was refused, where it is not another by now."""
        kept = self._kept.get(client.key)
        if kept is not None and kept.token == token:
            del self._kept[client.key]

    async def _asked(self, client: Client, settings: NetSettings, total_s: float) -> _Kept:
        answer = await self._post(client, settings, total_s, in_body=False)
        if answer.status_code in (400, 401):
            # Not every server takes the credentials in the header.
            again = await self._post(client, settings, total_s, in_body=True)
            answer = again if 200 <= again.status_code < 300 else answer
        data = _object(answer)
        if not 200 <= answer.status_code < 300:
            said = data.get("error")
            why = f" ({said})" if isinstance(said, str) and _CODE.fullmatch(said) else ""
            later = answer.status_code == 429 or answer.status_code >= 500
            raise ToolFault(
                "invoke" if later else "credentials",
                f"the token URL at {client.host!r} answers {answer.status_code}{why}."
                + ("" if later else " Check `client_id` and `client_secret` of the credential."),
                retryable=later,
            )
        token, lasts = data.get("access_token"), data.get("expires_in")
        if not isinstance(token, str) or not token or not token.isprintable():
            raise ToolFault("credentials", f"the token URL at {client.host!r} gives no `access_token`.")
        try:
            seconds = float(lasts) if lasts is not None else _UNSAID_S
        except (TypeError, ValueError):
            seconds = _UNSAID_S
        return _Kept(token, time.monotonic() + max(seconds - min(30.0, seconds / 10), 0.0))

    async def _post(self, client: Client, settings: NetSettings, total_s: float, *, in_body: bool) -> Fetched:
        fields = {"grant_type": "client_credentials", **({"scope": client.scope} if client.scope else {})}
        headers = [("Content-Type", "application/x-www-form-urlencoded"), ("Accept", "application/json")]
        if in_body:
            fields |= {"client_id": client.client_id, "client_secret": client.client_secret}
        else:
            pair = f"{quote_plus(client.client_id)}:{quote_plus(client.client_secret)}"
            headers.append(("Authorization", "Basic " + base64.b64encode(pair.encode()).decode()))
        try:
            return await fetch(
                "POST",
                client.token_url,
                headers=headers,
                content=urlencode(fields).encode(),
                total_s=total_s,
                max_bytes=_MAX_BYTES,
                # Secrets in a body would follow a redirect to anywhere.
                settings=settings.model_copy(update={"max_redirects": 0}),
                resolver=self._resolver,
            )
        except NetError as error:
            raise ToolFault("invoke", f"no token: {error}", retryable=error.retryable) from error


def _object(answer: Fetched) -> dict[str, Any]:
    try:
        data: Any = json.loads(answer.text)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", data) if isinstance(data, dict) else {}
