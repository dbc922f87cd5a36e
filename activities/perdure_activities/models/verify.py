"""Whether a deployment can be used: one cheap request with its credential, and what the answer means."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from .config import Deployment
from .credentials import Credentials
from .declared.load import Catalog
from .declared.problems import mapping
from .protocol import Endpoint, ModelFault

if TYPE_CHECKING:
    import httpx2

Verdict = Literal["valid", "unknown_model", "invalid", "missing", "unreachable", "no_credit", "cannot_verify"]

# Good enough to go on with; the others need somebody to do something.
USABLE: frozenset[Verdict] = frozenset({"valid", "no_credit", "cannot_verify"})

_MOST_BYTES = 4 * 1024 * 1024
_LIMIT_S = 20.0
_ANTHROPIC_VERSION = "2026-10-21"
_CODE = re.compile(r"[a-z][a-z0-9_]{1,60}")
_NO_CREDIT = ("insufficient_quota", "billing_error", "billing_hard_limit_reached", "credit_balance_too_low")


@dataclass(frozen=True, slots=True)
class Verified:
    """What is known of a deployment after the check. `models`: how many its server lists, where it does."""

    deployment: str
    provider: str
    verdict: Verdict
    detail: str
    base_url: str = ""
    models: int | None = None
    simulated: bool = False

    @property
    def usable(self) -> bool:
        """Whether calls may work."""
        return self.verdict in USABLE


async def verify(deployment: Deployment, credentials: Credentials, catalog: Catalog) -> Verified:
    """Check a deployment: its secret is there, its address answers, and the secret is good there.

    Raises:
        UnknownProvider: nothing declares its provider.
    """
    provider = catalog.provider(deployment.provider)
    named = _concrete(deployment)
    try:
        endpoint = await credentials.endpoint(deployment, named or "")
    except ModelFault as fault:
        verdict = "missing" if fault.kind in ("auth", "bad_request") else "cannot_verify"
        return Verified(deployment.name, provider.provider, verdict, fault.message)
    verdict, detail, listed, simulated = await _ask(endpoint, provider.check_path, deployment.served_as(named or ""))
    if verdict == "valid" and listed is not None and named and deployment.served_as(named) not in listed:
        detail = f"the key is good; the server does not list {deployment.served_as(named)!r}"
        verdict = "unknown_model"
    count = None if listed is None else len(listed)
    return Verified(deployment.name, provider.provider, verdict, detail, endpoint.base_url, count, simulated)


def _concrete(deployment: Deployment) -> str | None:
    names = [*(name for name in deployment.models if not set("*?[") & set(name)), *deployment.rename]
    return names[0] if names else None


_Found = tuple[Verdict, str, set[str] | None, bool]


async def _ask(endpoint: Endpoint, path: str, model: str) -> _Found:
    import httpx2

    from ..net_errors import AddressBlocked
    from .stream.faults import blotted
    from .stream.wire import http_client, is_simulated

    try:
        async with http_client(endpoint) as client:
            status, headers, body = await _request(client, endpoint, "GET", path, None)
            if status in (404, 405) and model:
                path, asked = _smallest(endpoint, model)
                status, headers, body = await _request(client, endpoint, "POST", path, asked)
                if status == 404:
                    return "unknown_model", f"the server has no model {model!r}, or its base URL is wrong", None, False
    except AddressBlocked as error:
        why = f"{error.host!r} is not a public address. If it is meant, set `allow_private: true` for the deployment"
        return "unreachable", why, None, False
    except ModelFault as fault:
        return "cannot_verify", fault.message, None, False
    except (httpx2.HTTPError, TimeoutError) as error:
        return "unreachable", f"no answer from {endpoint.base_url} ({type(error).__name__})", None, False
    verdict, detail = meaning(status, headers.get("content-type", ""), body)
    # The provider's word for it may be the key itself.
    detail = blotted(detail, [endpoint.api_key])
    return verdict, detail, _listed(body) if verdict == "valid" else None, is_simulated(headers)


async def _request(
    client: httpx2.AsyncClient, endpoint: Endpoint, method: str, path: str, asked: Mapping[str, Any] | None
) -> tuple[int, httpx2.Headers, bytes]:
    headers = {"Authorization": f"Bearer {endpoint.api_key}", **dict(endpoint.headers)}
    if endpoint.wire == "anthropic-messages":
        headers["anthropic-version"] = _ANTHROPIC_VERSION
    url = f"{endpoint.base_url}/{path}"
    async with asyncio.timeout(_LIMIT_S), client.stream(method, url, json=asked, headers=headers) as response:
        body = bytearray()
        async for part in response.aiter_bytes():
            body += part[: _MOST_BYTES - len(body)]
            if len(body) >= _MOST_BYTES:
                break
        return response.status_code, response.headers, bytes(body)


def _smallest(endpoint: Endpoint, model: str) -> tuple[str, dict[str, Any]]:
    messages = [{"role": "user", "content": "."}]
    if endpoint.wire == "anthropic-messages":
        return "v1/messages/count_tokens", {"model": model, "messages": messages}
    return "chat/completions", {"model": model, "messages": messages, "max_tokens": 1}


def meaning(status: int, content_type: str, body: bytes) -> tuple[Verdict, str]:
    """Say what the answer to a check means. Nothing of the server's own text is passed on: it may quote the key."""
    code = _code_of(body)
    said = f"HTTP {status}" + (f", {code}" if code else "")
    match status:
        case 200 if "json" not in content_type.lower():
            return (
                "cannot_verify",
                "the server answered with no JSON: check the base URL, and that no proxy asks to log in",
            )
        case 200:
            return "valid", "the key is good"
        case 402:
            return "no_credit", f"the key is good, but there is no credit ({said})"
        case 429 | 400 | 403 if code in _NO_CREDIT:
            return "no_credit", f"the key is good, but there is no credit ({said})"
        case 401 | 403:
            return "invalid", f"the provider refuses the key ({said}). Add a new one"
        case 400 | 404 | 405 | 422:
            return "cannot_verify", f"the server does not say ({said}). Name a model under `models`, check the base URL"
        case _ if 300 <= status < 400:
            return "cannot_verify", f"the server redirects ({said}), and keys are not sent on. Correct the base URL"
        case _:
            return "cannot_verify", f"the server cannot say now ({said}). Try again later"


def _code_of(body: bytes) -> str:
    """Find the provider's word for an error; only one that looks like a word."""
    error = mapping(_json(body).get("error"))
    for name in ("code", "type"):
        word = error.get(name)
        if isinstance(word, str) and _CODE.fullmatch(word):
            return word
    return ""


def _listed(body: bytes) -> set[str] | None:
    found = _json(body)
    data: Any = found.get("data")
    if not isinstance(data, list) or found.get("has_more"):
        return None
    return {str(mapping(one).get("id")) for one in cast("list[Any]", data)}


def _json(body: bytes) -> dict[str, Any]:
    try:
        return mapping(json.loads(body))
    except (ValueError, RecursionError):
        return {}
