"""How failures below a wire become faults; what servers say is shortened and never holds a key."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

import anyio
import httpx2

from perdure_graph.models.faults import FaultKind

from ...net_errors import AddressBlocked, NetError
from ..protocol import Endpoint, ModelFault

MOST_BODY_BYTES = 2048
BLOT = "***"
CUT = " ..."
# Shorter ones say nothing, and would be found everywhere.
_LEAST_SECRET = 6

# What providers say of a parameter that they do not take, as against one whose value is wrong.
NOT_TAKEN = re.compile(
    r"not (?:be |currently )?(?:supported|permitted|allowed|available|both)|does not support|cannot both"
    r"|may only be set|unsupported|unexpected|unknown|unrecognized|deprecated",
    re.IGNORECASE,
)
# The object of such a schema may be asked for in another way.
BAD_SCHEMA = re.compile(r"invalid[ _](?:json[ _])?schema", re.IGNORECASE)

_BY_STATUS: dict[int, FaultKind] = {
    401: "auth",
    402: "quota_exhausted",
    403: "permission",
    404: "not_found",
    408: "timeout",
    409: "server_error",
    429: "rate_limited",
    503: "overloaded",
    504: "timeout",
    529: "overloaded",
}


def kind_of_status(status: int) -> FaultKind:
    """Say what a status means where the body says nothing better."""
    if found := _BY_STATUS.get(status):
        return found
    if status >= 500:
        return "server_error"
    return "bad_request" if status >= 400 else "protocol_error"


def cut(text: str, most: int = MOST_BODY_BYTES) -> str:
    """Shorten a text to so many bytes of UTF-8."""
    data = text.encode("utf-8", "replace")
    return data.decode("utf-8") if len(data) <= most else data[:most].decode("utf-8", "ignore") + CUT


def hidden(fault: ModelFault, endpoint: Endpoint) -> ModelFault:
    """Blot the secrets of an endpoint out of what a fault says: servers echo them."""
    secrets = {endpoint.api_key, *(part for _, value in endpoint.headers for part in (value, *value.split()))}
    # The longest first: one may be a part of another.
    known = sorted((secret for secret in secrets if len(secret) >= _LEAST_SECRET), key=len, reverse=True)
    fault.message = blotted(fault.message, known)
    fault.provider_code = blotted(fault.provider_code, known)
    fault.parameter = blotted(fault.parameter, known)
    fault.args = (fault.message,)
    return fault


def blotted(text: str, secrets: Iterable[str]) -> str:
    """Take secrets out of a text, and the beginning of one at which the text was cut off."""
    for secret in secrets:
        text = text.replace(secret, BLOT)
        shown = text.removesuffix(CUT)
        begun = next((n for n in range(len(secret) - 1, _LEAST_SECRET - 1, -1) if shown.endswith(secret[:n])), 0)
        if begun:
            text = shown[:-begun] + BLOT + text[len(shown) :]
    return text


def broken(fault: ModelFault) -> ModelFault:
    """Turn a fault of the connection into that of an answer that had begun."""
    if fault.kind not in {"timeout", "connection"} or fault.status is not None:
        return fault
    return ModelFault("stream_broken", f"the answer broke off: {fault.message}", maybe_billed=True)


def unfinished() -> ModelFault:
    """Say that a stream ended without saying that the answer is complete."""
    return ModelFault("stream_broken", "the answer ended before the provider said that it was done", maybe_billed=True)


def unreadable(what: str, body: str = "") -> ModelFault:
    """Say that a server does not keep to the protocol."""
    return ModelFault("protocol_error", f"{what}: {cut(body)}" if body else what, maybe_billed=True)


def redirected(status: int) -> ModelFault:
    """Say that a server wants the request to go elsewhere."""
    return ModelFault(
        "protocol_error",
        f"the server redirects ({status}), which is not followed: prompts and keys stay with the host they are meant "
        "for; set the base URL to where the API is",
        status=status,
    )


def transport_fault(error: BaseException) -> ModelFault | None:
    """Read an error of the connection or of what was sent over it; None is some other error."""
    match error:
        case ModelFault():
            return error
        case AddressBlocked():
            return ModelFault("permission", str(error))
        case NetError():
            return ModelFault("connection", str(error))
        case httpx2.ConnectTimeout() | httpx2.PoolTimeout():
            return ModelFault("timeout", "no connection to the provider in time")
        case httpx2.TimeoutException() | TimeoutError():
            return ModelFault("timeout", "the provider did not answer in time", maybe_billed=True)
        case httpx2.ConnectError() | httpx2.UnsupportedProtocol():
            return ModelFault("connection", f"no connection to the provider: {cut(_said(error))}")
        # TLS may fail in ways that httpx2 has no name for.
        case httpx2.RequestError() | OSError() | anyio.EndOfStream() | anyio.BrokenResourceError():
            return ModelFault(
                "connection", f"the connection to the provider broke: {cut(_said(error))}", maybe_billed=True
            )
        case json.JSONDecodeError() | UnicodeDecodeError() | RecursionError():
            return unreadable("the provider sent something that is no JSON")
        case _:
            return None


def error_object(body: object) -> Mapping[str, Any] | None:
    """Find the error that a JSON body tells of, as the many servers put it."""
    if not isinstance(body, Mapping):
        return None
    body = cast("Mapping[str, Any]", body)
    error = body.get("error")
    if isinstance(error, Mapping) and error:
        return cast("Mapping[str, Any]", error)
    if isinstance(error, str) and error:
        return {"message": error, "code": body.get("code"), "type": body.get("type")}
    if body.get("object") == "error" or body.get("type") == "error":
        return body
    return None


def words(value: object) -> str:
    """Give a field of an error as text; a missing one is empty."""
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, default=str)


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__
