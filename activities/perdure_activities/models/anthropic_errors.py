"""What errors of the Anthropic wire mean: by the provider's own type first, then by status, then by what it says."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from perdure_graph.models.faults import FaultKind

from .protocol import ModelFault
from .stream.faults import NOT_TAKEN, cut, error_object, kind_of_status, redirected, transport_fault, unreadable, words
from .stream.wire import retry_after_s

if TYPE_CHECKING:
    import anthropic

_BY_TYPE: dict[str, FaultKind] = {
    "invalid_request_error": "bad_request",
    "request_too_large": "bad_request",
    "authentication_error": "auth",
    "billing_error": "quota_exhausted",
    "permission_error": "permission",
    "not_found_error": "not_found",
    "rate_limit_error": "rate_limited",
    "timeout_error": "timeout",
    "api_error": "server_error",
    "overloaded_error": "overloaded",
    "conflict_error": "overloaded",
}
# Types that a status can make more exact.
_GENERAL: frozenset[FaultKind] = frozenset({"bad_request", "server_error"})

# The API has no codes for these: it says so in the message of an invalid request.
_OVERFLOW = re.compile(
    r"prompt is too long|exceeds?[^.]{0,60}context (?:limit|window|length|size)|maximum context length"
    r"|context (?:length|window)[^.]{0,60}exceed|too many (?:input |total )?(?:text )?(?:tokens|bytes)",
    re.IGNORECASE,
)
_QUOTA = re.compile(
    r"credit balance|insufficient (?:balance|credits?|funds|quota)|exceeded your current quota"
    r"|(?:api )?usage limits?[^.]{0,80}(?:regain access|reached)",
    re.IGNORECASE,
)
_REFUSED = re.compile(r"content filter", re.IGNORECASE)
_PARAMETER = re.compile(
    r"\b(temperature|top_p|top_k|stop_sequences|thinking|output_config|effort|tool_choice|cache_control|metadata"
    r"|service_tier)\b"
)


def fault_of(error: BaseException) -> ModelFault:
    """Say what an error of the SDK, of httpx2 or of JSON means."""
    if (fault := transport_fault(error)) is not None:
        return fault
    # Only an SDK that was imported can have raised one of its errors.
    sdk = sys.modules.get("anthropic")
    if sdk is not None and isinstance(error, sdk.APIError):
        return _of_sdk(cast("anthropic.APIError", error))
    return ModelFault("internal", f"{type(error).__name__} in the adapter: {cut(str(error))}", maybe_billed=True)


def fault_in(body: object) -> ModelFault | None:
    """Read the fault that a body, or an event, of a reply with status 200 tells of; None is a body without one."""
    if (found := error_object(body)) is None:
        return None
    return fault_told(found, status=200, retry_after=None)


def fault_told(found: Mapping[str, Any], *, status: int, retry_after: float | None, said: str = "") -> ModelFault:
    """Classify an error object. Status 200 is that of a stream in which it came."""
    type_, message = words(found.get("type")), words(found.get("message")) or said
    kind = _kind(type_, message, status)
    details = found.get("details")
    code = words(cast("Mapping[str, Any]", details).get("error_code")) if isinstance(details, Mapping) else ""
    return ModelFault(
        kind,
        cut(message or f"the provider failed with {type_ or status}"),
        retry_after_s=retry_after,
        status=status,
        provider_code=cut(code or type_, 100),
        parameter=_parameter(message) if kind == "bad_request" else "",
        maybe_billed=status in {200, 504},
    )


def _kind(type_: str, message: str, status: int) -> FaultKind:
    known = _BY_TYPE.get(type_)
    if status in {200, 400, 403, 413, 422, 429} and _QUOTA.search(message):
        return "quota_exhausted"
    if known is not None and known not in _GENERAL:
        return known
    if status in {200, 400, 413, 422} and known != "server_error":
        if _OVERFLOW.search(message):
            return "context_overflow"
        if _REFUSED.search(message):
            return "content_refused"
    if status >= 400:
        return kind_of_status(status)
    return known or "protocol_error"


def _parameter(message: str) -> str:
    if not NOT_TAKEN.search(message):
        return ""
    # Of two that exclude each other, the second is the one to do without.
    return next(iter(reversed(_PARAMETER.findall(message)[:2])), "")


def _of_sdk(error: anthropic.APIError) -> ModelFault:
    import anthropic

    if isinstance(error, anthropic.APIStatusError):
        status, headers = error.status_code, error.response.headers
        if 300 <= status < 400:
            return redirected(status)
        found = error_object(error.body) or {}
        said = "" if found else words(error.body)
        return fault_told(found, status=status, retry_after=retry_after_s(headers), said=said)
    if isinstance(error, anthropic.APIConnectionError):
        cause = error.__cause__
        if cause is not None and (fault := transport_fault(cause)) is not None:
            return fault
        kind: FaultKind = "timeout" if isinstance(error, anthropic.APITimeoutError) else "connection"
        return ModelFault(kind, cut(error.message), maybe_billed=True)
    return unreadable("the provider sent something that the SDK cannot read", error.message)
