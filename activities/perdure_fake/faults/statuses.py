"""Rows 1 to 16: a status that says no. Parameters are keyword arguments."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from ..asked import mapping
from ..errors import Problem
from ..plans import Plan, Send
from ..serving import Serving

_HTML = "<html><head><title>{title}</title></head><body><center><h1>{title}</h1></center>{filler}</body></html>"


def rate_limited(serving: Serving, *, retry_after: float = 7) -> Plan:
    """1: 429, and how many seconds to wait."""
    return _limited(serving, (("retry-after", f"{retry_after:g}"),))


def rate_limited_long(serving: Serving, *, retry_after: float = 300) -> Plan:
    """2: 429, and long to wait."""
    return _limited(serving, (("retry-after", f"{retry_after:g}"),))


def rate_limited_form(serving: Serving, *, form: str = "date", seconds: float = 7) -> Plan:
    """3: 429 whose wait is a `date` (seconds may be negative: past), in `ms`, or there is `none`."""
    match form:
        case "date":
            at = datetime.now(UTC) + timedelta(seconds=seconds)
            headers = (("retry-after", format_datetime(at, usegmt=True)),)
        case "ms":
            headers = (("retry-after-ms", f"{seconds * 1000:.0f}"),)
        case _:
            headers = ()
    return _limited(serving, headers)


def _limited(serving: Serving, headers: tuple[tuple[str, str], ...]) -> Plan:
    if serving.anthropic:
        message = "This request would exceed your organization's rate limit. Please try again later."
    else:
        message = f"Rate limit reached for {serving.asked.model} on requests per min (RPM). Please try again later."
    return serving.refuse(Problem(429, message, code="rate_limit_exceeded", headers=headers))


def quota(serving: Serving) -> Plan:
    """4: 429, but what was paid for is used up."""
    message = "You exceeded your current quota, please check your plan and billing details."
    kind = None if serving.anthropic else "insufficient_quota"
    detail = "enforced_spend_limit_reached"
    return serving.refuse(Problem(429, message, code="insufficient_quota", type=kind, detail=detail))


def unauthorized(serving: Serving) -> Plan:
    """5: 401."""
    message = "invalid x-api-key" if serving.anthropic else "Incorrect API key provided."
    return serving.refuse(Problem(401, message, code="invalid_api_key"))


def payment(serving: Serving) -> Plan:
    """6: 402."""
    return serving.refuse(Problem(402, "Your credit balance is too low.", code="insufficient_credits"))


def forbidden(serving: Serving) -> Plan:
    """7: 403."""
    message = "Your API key does not have permission to use the specified resource."
    return serving.refuse(Problem(403, message, code="permission_denied"))


def no_model(serving: Serving) -> Plan:
    """8: 404."""
    name = serving.asked.model
    message = (
        f"model: {name}" if serving.anthropic else f"The model `{name}` does not exist or you have no access to it."
    )
    return serving.refuse(Problem(404, message, code="model_not_found"))


def context_overflow(serving: Serving, *, limit: int = 200_000) -> Plan:
    """9: 400, the prompt is longer than the model's window."""
    wanted = max(serving.answer.prompt, limit + 1)
    if serving.anthropic:
        return serving.refuse(Problem(400, f"prompt is too long: {wanted} tokens > {limit} maximum"))
    message = (
        f"This model's maximum context length is {limit} tokens. However, your messages resulted in {wanted} tokens. "
        "Please reduce the length of the messages."
    )
    param = "input" if serving.asked.wire == "openai-responses" else "messages"
    return serving.refuse(Problem(400, message, code="context_length_exceeded", param=param))


def bad_parameter(serving: Serving, *, param: str = "temperature") -> Plan:
    """10: 400, a parameter is not taken; a request without it is answered. `reasoning.effort` is one, too."""
    holder, _, inner = param.partition(".")
    held = serving.asked.body.get(holder)
    if held is None or (inner and inner not in mapping(held)):
        return serving.usual()
    if serving.anthropic:
        return serving.refuse(Problem(400, f"{param}: Extra inputs are not permitted"))
    message = f"Unsupported parameter: '{param}' is not supported with this model."
    return serving.refuse(Problem(400, message, code="unsupported_parameter", param=param))


def too_large(serving: Serving) -> Plan:
    """11: 413."""
    return serving.refuse(Problem(413, "Request exceeds the maximum size", code="request_too_large"))


def try_again(serving: Serving, *, status: int = 408) -> Plan:
    """12: 408 or 409."""
    message = "Request timed out waiting for the body." if status == 408 else "The resource is in use; try again."
    return serving.refuse(Problem(status, message))


def server_error(serving: Serving) -> Plan:
    """13: 500."""
    message = "Internal server error" if serving.anthropic else "The server had an error while processing your request."
    return serving.refuse(Problem(500, message))


def bad_gateway(serving: Serving, *, size: int = 0) -> Plan:  # noqa: ARG001
    """14: 502 with a page of HTML, of at least `size` bytes."""
    page = _HTML.format(title="502 Bad Gateway", filler="x" * size).encode()
    return Plan((Send(page),), status=502, content_type="text/html", whole=False)


def unavailable(serving: Serving, *, status: int = 503) -> Plan:
    """15: 503 or 504."""
    message = "The service is temporarily unavailable." if status == 503 else "The gateway timed out."
    return serving.refuse(Problem(status, message))


def overloaded(serving: Serving) -> Plan:
    """16: 529."""
    return serving.refuse(Problem(529, "Overloaded"))
