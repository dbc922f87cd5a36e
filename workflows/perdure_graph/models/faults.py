"""How a call of a model can fail: one word per kind, what follows from it, and the name that Dify shows."""

from __future__ import annotations

from typing import Literal

FaultKind = Literal[
    "bad_request",
    "context_overflow",
    "content_refused",
    "auth",
    "permission",
    "not_found",
    "quota_exhausted",
    "rate_limited",
    "overloaded",
    "server_error",
    "timeout",
    "connection",
    "stream_broken",
    "protocol_error",
    "cancelled",
    "internal",
    "budget_exceeded",
]

# What may work the next time, without anybody changing anything.
RETRYABLE: frozenset[FaultKind] = frozenset(
    {"rate_limited", "overloaded", "server_error", "timeout", "connection", "stream_broken", "protocol_error"}
)

# `error_type` of a failed node.
ERROR_TYPES: dict[FaultKind, str] = {
    "bad_request": "InvokeBadRequestError",
    "context_overflow": "InvokeContextOverflowError",
    "content_refused": "InvokeContentRefusedError",
    "auth": "InvokeAuthorizationError",
    "permission": "InvokeAuthorizationError",
    "not_found": "InvokeModelNotFoundError",
    "quota_exhausted": "InvokeQuotaExceededError",
    "rate_limited": "InvokeRateLimitError",
    "overloaded": "InvokeServerUnavailableError",
    "server_error": "InvokeServerUnavailableError",
    "timeout": "InvokeTimeoutError",
    "connection": "InvokeConnectionError",
    "stream_broken": "InvokeConnectionError",
    "protocol_error": "InvokeProtocolError",
    "cancelled": "InvokeCancelledError",
    "internal": "InvokeError",
    "budget_exceeded": "BudgetExceededError",
}
