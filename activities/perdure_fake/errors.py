"""Errors in the form that each provider gives them."""

from __future__ import annotations

from dataclasses import dataclass

from .plans import Json, Plan, Send, encoded

_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_OPENAI_TYPES = {429: "requests", 408: "timeout", 504: "timeout", 529: "overloaded_error"}


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a request is refused. Without `type`, the status says it; `detail` is Anthropic's code."""

    status: int
    message: str
    code: str | None = None
    param: str | None = None
    type: str | None = None
    detail: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


def error_type(problem: Problem, *, anthropic: bool) -> str:
    """Give the provider's word for a kind of error."""
    if problem.type is not None:
        return problem.type
    if anthropic:
        return _ANTHROPIC_TYPES.get(problem.status, "api_error")
    return _OPENAI_TYPES.get(problem.status, "server_error" if problem.status >= 500 else "invalid_request_error")


def error_body(problem: Problem, *, anthropic: bool, request_id: str = "") -> Json:
    """Give the body of an error."""
    kind = error_type(problem, anthropic=anthropic)
    if anthropic:
        details = {"details": {"error_code": problem.detail}} if problem.detail else {}
        return {
            "type": "error",
            "error": {"type": kind, "message": problem.message, **details},
            "request_id": request_id or None,
        }
    inner = {"message": problem.message, "type": kind, "param": problem.param, "code": problem.code}
    return {"error": inner}


def refusal(problem: Problem, *, anthropic: bool, request_id: str = "") -> Plan:
    """Make the response that refuses a request."""
    body = encoded(error_body(problem, anthropic=anthropic, request_id=request_id))
    return Plan((Send(body),), status=problem.status, headers=problem.headers, whole=False)
