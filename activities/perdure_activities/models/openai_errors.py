"""What errors of the OpenAI wires mean: by the provider's own word for them first, then by status."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from perdure_graph.models.faults import FaultKind

from .protocol import ModelFault
from .stream.faults import (
    BAD_SCHEMA,
    NOT_TAKEN,
    cut,
    error_object,
    kind_of_status,
    redirected,
    transport_fault,
    unreadable,
    words,
)
from .stream.wire import retry_after_s

if TYPE_CHECKING:
    import openai

_BY_WORD: dict[str, FaultKind] = {
    "context_length_exceeded": "context_overflow",
    "string_above_max_length": "context_overflow",
    "content_filter": "content_refused",
    "content_policy_violation": "content_refused",
    "responsibleaipolicyviolation": "content_refused",
    "invalid_prompt": "content_refused",
    "bio_policy": "content_refused",
    "misalignment_policy_violation": "content_refused",
    "image_content_policy_violation": "content_refused",
    "insufficient_quota": "quota_exhausted",
    "billing_hard_limit_reached": "quota_exhausted",
    "billing_not_active": "quota_exhausted",
    "payment_required": "quota_exhausted",
    "rate_limit_exceeded": "rate_limited",
    "rate_limit_error": "rate_limited",
    "too_many_requests": "rate_limited",
    "tokens": "rate_limited",
    "requests": "rate_limited",
    "slow_down": "overloaded",
    "overloaded": "overloaded",
    "overloaded_error": "overloaded",
    "engine_overloaded": "overloaded",
    "server_overloaded": "overloaded",
    "service_unavailable": "overloaded",
    "invalid_api_key": "auth",
    "authentication_error": "auth",
    "invalid_authentication": "auth",
    "permission_error": "permission",
    "permission_denied": "permission",
    "insufficient_permissions": "permission",
    "unsupported_country_region_territory": "permission",
    "data_residency_mismatch": "permission",
    "model_not_found": "not_found",
    "not_found_error": "not_found",
    "notfounderror": "not_found",
    "timeout": "timeout",
    "timeout_error": "timeout",
    "server_error": "server_error",
    "internal_error": "server_error",
    "internal_server_error": "server_error",
    "internalservererror": "server_error",
    "api_error": "server_error",
    "vector_store_timeout": "server_error",
    "invalid_request_error": "bad_request",
    "badrequesterror": "bad_request",
    "invalid_image": "bad_request",
    "invalid_image_format": "bad_request",
    "invalid_base64_image": "bad_request",
    "invalid_image_url": "bad_request",
    "invalid_image_mode": "bad_request",
    "unsupported_image_media_type": "bad_request",
    "image_too_large": "bad_request",
    "image_too_small": "bad_request",
    "image_file_too_large": "bad_request",
    "image_file_not_found": "bad_request",
    "image_parse_error": "bad_request",
    "empty_image_file": "bad_request",
    "failed_to_download_image": "bad_request",
}
# Words that a status can make more exact.
_GENERAL: frozenset[FaultKind] = frozenset({"bad_request", "server_error"})

# Servers without codes (vLLM, Ollama, gateways) say it in a sentence.
_OVERFLOW = re.compile(
    r"maximum context length|context (?:length|window)[^.]{0,60}exceed|exceeds?[^.]{0,60}context (?:length|window|size)"
    r"|longer than the (?:model's|maximum)[^.]{0,20}(?:context|model) length|prompt is too long"
    r"|too many (?:input )?tokens",
    re.IGNORECASE,
)
_QUOTA = re.compile(r"exceeded your current quota|insufficient (?:balance|credit|funds|quota)", re.IGNORECASE)
_NAMED = re.compile(
    r"(?:(?:unsupported|unknown|unrecognized|unexpected|invalid|extra)[a-z ]*"
    r"(?:parameters?|arguments?|fields?|value|inputs?)[^'\"`\w]{0,20}(?:supplied:\s*|is\s*|:\s*)?['\"`]?)([a-z][a-z0-9_.]{2,40})",
    re.IGNORECASE,
)
_PARAMETERS = frozenset(
    {
        "temperature",
        "top_p",
        "stop",
        "stream_options",
        "parallel_tool_calls",
        "reasoning_effort",
        "max_tokens",
        "max_completion_tokens",
        "response_format",
        "tool_choice",
        "logprobs",
        "top_logprobs",
        "seed",
        "verbosity",
        "presence_penalty",
        "frequency_penalty",
        "prompt_cache_key",
        "safety_identifier",
        "user",
        "service_tier",
    }
)


def fault_of(error: BaseException) -> ModelFault:
    """Say what an error of the SDK, of httpx2 or of JSON means."""
    if (fault := transport_fault(error)) is not None:
        return fault
    # Only an SDK that was imported can have raised one of its errors.
    sdk = sys.modules.get("openai")
    if sdk is not None and isinstance(error, sdk.APIError):
        return _of_sdk(cast("openai.APIError", error))
    return ModelFault("internal", f"{type(error).__name__} in the adapter: {cut(str(error))}", maybe_billed=True)


def fault_in(body: object) -> ModelFault | None:
    """Read the fault that a body, or an event, of a reply with status 200 tells of; None is a body without one."""
    if (found := error_object(body)) is None:
        return None
    return fault_told(found, status=None, retry_after=None)


def fault_told(
    found: Mapping[str, Any], *, status: int | None, retry_after: float | None, said: str = ""
) -> ModelFault:
    """Classify an error object: by code, by type, by what it says, by status."""
    code, type_, message = (words(found.get(name)) for name in ("code", "type", "message"))
    message = message or said or words(found.get("error")) or words(found.get("detail"))
    if status is not None and 300 <= status < 400:
        return redirected(status)
    if status is None and code.isdecimal() and 400 <= int(code) < 600:
        status = int(code)
    return ModelFault(
        _kind(code, type_, message, status),
        cut(message or f"the provider failed with {code or type_ or status or 'an error that it does not name'}"),
        retry_after_s=retry_after,
        status=status,
        provider_code="" if (word := code or type_).isdecimal() else cut(word, 100),
        parameter=_parameter(words(found.get("param")), code, message) if status in {None, 400, 422} else "",
        maybe_billed=status is None or status == 504,
    )


def _kind(code: str, type_: str, message: str, status: int | None) -> FaultKind:
    said: list[FaultKind] = [_BY_WORD[word] for word in (code.lower(), type_.lower()) if word in _BY_WORD]
    for kind in said:
        if kind not in _GENERAL:
            return kind
    if status in {None, 400, 422, 500} and _OVERFLOW.search(message):
        return "context_overflow"
    if status in {None, 400, 403, 429} and _QUOTA.search(message):
        return "quota_exhausted"
    if status is not None and status >= 400:
        return kind_of_status(status)
    # Told in a reply with status 200: nothing says that the request was wrong, so it may work the next time.
    return said[0] if said else "protocol_error"


def _of_sdk(error: openai.APIError) -> ModelFault:
    import openai

    if isinstance(error, openai.APIStatusError):
        headers, status = error.response.headers, error.status_code
        body: object = error.body
        wait = retry_after_s(headers)
        if not isinstance(body, Mapping):
            return fault_told({}, status=status, retry_after=wait, said=words(body))
        found = cast("Mapping[str, Any]", body)
        return fault_told(error_object(found) or found, status=status, retry_after=wait)
    if isinstance(error, openai.APIConnectionError):
        cause = error.__cause__
        if cause is not None and (fault := transport_fault(cause)) is not None:
            return fault
        kind: FaultKind = "timeout" if isinstance(error, openai.APITimeoutError) else "connection"
        return ModelFault(kind, cut(error.message), maybe_billed=True)
    told: object = error.body
    if isinstance(told, Mapping):
        return fault_told(cast("Mapping[str, Any]", told), status=None, retry_after=None, said=error.message)
    said = told if isinstance(told, str) else error.message
    return unreadable("the provider reported an error in its stream", said)


def _parameter(param: str, code: str, message: str) -> str:
    said = f"{code} {message}"
    if not (NOT_TAKEN.search(said) or BAD_SCHEMA.search(said)):
        return ""
    found = _NAMED.search(message)
    return param or (found[1] if found and found[1] in _PARAMETERS else "")
