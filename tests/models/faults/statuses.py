"""Rows 1 to 16: a status that says no."""

from __future__ import annotations

from typing import Any

from .case import BOTH, CHAT, MESSAGES, Case, Expect

# One that is alone is asked again when it wants to be, but stays marked for its 10 s: others go elsewhere meanwhile.
COOLED: dict[str, Any] = {"faults": ("rate_limited",), "health": "rate_limited", "opens": (10, 10)}
TIMED_OUT: dict[str, Any] = {"faults": ("timeout",), "health": "timeout", "opens": (10, 10)}
SERVER = "InvokeServerUnavailableError"
# The third failure leaves it alone for 5 s; the fifth comes at about their end, and may make that 10 s.
SERVER_OPENS = (0.0, 10.0)


def failed(error_type: str, *faults: str, requests: int = 1, **more: object) -> Expect:
    """A run that fails."""
    given = {"status": "failed", "text": "", "rewinds": None, "error_type": error_type, "faults": faults}
    return Expect(**given | {"requests": requests} | more)  # type: ignore[arg-type]


STATUSES: tuple[Case, ...] = (
    Case(
        1,
        "alone",
        "429, retry-after 7; no other deployment",
        Expect(**COOLED, requests=2, apart=(7, 14)),
        times=1,
    ),
    Case(
        1,
        "next",
        "429, retry-after 7; a second key",
        Expect(faults=("rate_limited",), requests=2, apart=(0, 5), health="rate_limited", opens=(10, 10)),
        another="key",
    ),
    Case(
        2,
        "waits",
        "429, retry-after 300; no other deployment: the server keeps the retry, no worker slot; then stopped",
        Expect(
            status="stopped",
            text="",
            faults=("rate_limited",),
            health="rate_limited",
            opens=(120, 120),
            outputs={"seconds until the next attempt": (285, 301)},
        ),
        play="long_wait",
    ),
    Case(
        2,
        "fallback",
        "429, retry-after 300; another model stands in",
        Expect(faults=("rate_limited",), requests=2, apart=(0, 5), health="rate_limited", opens=(120, 120)),
        another="model",
    ),
    Case(
        3,
        "date",
        "429, retry-after as an HTTP date in 4 s",
        Expect(**COOLED, requests=2, apart=(2.5, 12)),
        params={"form": "date", "seconds": 4},
        times=1,
    ),
    Case(
        3,
        "ms",
        "429, retry-after-ms 2500",
        Expect(**COOLED, requests=2, apart=(2.5, 8)),
        params={"form": "ms", "seconds": 2.5},
        times=1,
    ),
    Case(
        3,
        "past",
        "429, a date that is over: our own backoff",
        Expect(**COOLED, requests=2, apart=(0.3, 5)),
        params={"form": "date", "seconds": -30},
        times=1,
    ),
    Case(
        3,
        "silent",
        "429 that does not say how long",
        Expect(**COOLED, requests=2, apart=(0.3, 5)),
        params={"form": "none"},
        times=1,
    ),
    Case(
        4,
        "alone",
        "429 insufficient_quota",
        failed("InvokeQuotaExceededError", "quota_exhausted", health="quota_exhausted", opens=(600, 600)),
    ),
    Case(
        4,
        "next",
        "429 insufficient_quota; a second key",
        Expect(faults=("quota_exhausted",), requests=2, apart=(0, 5), health="quota_exhausted", opens=(600, 600)),
        another="key",
    ),
    Case(
        5,
        "alone",
        "401",
        failed("InvokeAuthorizationError", "auth", health="auth", opens=(600, 600)),
    ),
    Case(
        5,
        "next",
        "401; a second key",
        Expect(faults=("auth",), requests=2, apart=(0, 5), health="auth", opens=(600, 600)),
        another="key",
    ),
    Case(
        6,
        "alone",
        "402",
        failed("InvokeQuotaExceededError", "quota_exhausted", health="quota_exhausted", opens=(600, 600)),
    ),
    Case(
        7,
        "alone",
        "403",
        failed("InvokeAuthorizationError", "permission", health="permission", opens=(600, 600)),
    ),
    Case(8, "alone", "404, no such model", failed("InvokeModelNotFoundError", "not_found")),
    Case(
        8,
        "fallback",
        "404, no such model; another model stands in",
        Expect(faults=("not_found",), requests=2, apart=(0, 5)),
        another="model",
    ),
    Case(9, "alone", "400, the prompt is too long", failed("InvokeContextOverflowError", "context_overflow")),
    Case(
        9,
        "larger",
        "400, the prompt is too long; a model with a larger window stands in",
        Expect(faults=("context_overflow",), requests=2, apart=(0, 5)),
        another="model",
        reason="context_overflow",
    ),
    Case(
        9,
        "trimmed",
        "400, the prompt is too long in the second turn of a chat: asked again without what was said before",
        Expect(faults=("context_overflow",), requests=3, attempts=1, outputs={"messages": (1, 3, 1)}),
        nth=2,
        play="second_turn",
    ),
    Case(
        10,
        "temperature",
        "400, temperature is not supported: left out, and in the second run from the start",
        Expect(faults=("bad_request",), requests=3, attempts=1, apart=(0, 5)),
        wires=BOTH,
        params={"param": "temperature"},
        asks={"temperature": 0.5},
        provider="generic",
        runs=2,
    ),
    Case(
        10,
        "stop",
        "400, stop words are not supported",
        Expect(faults=("bad_request",), requests=3, attempts=1, apart=(0, 5)),
        wires=(CHAT,),
        params={"param": "stop"},
        asks={"stop": ["END"]},
        provider="generic",
        runs=2,
    ),
    Case(
        10,
        "sequences",
        "400, stop words are not supported",
        Expect(faults=("bad_request",), requests=3, attempts=1, apart=(0, 5)),
        wires=(MESSAGES,),
        params={"param": "stop_sequences"},
        asks={"stop": ["END"]},
        provider="generic",
        runs=2,
    ),
    Case(
        10,
        "usage",
        "400, stream_options is not supported",
        Expect(requests=3, apart=(0, 5), estimated=True),
        wires=(CHAT,),
        params={"param": "stream_options"},
        runs=2,
        base_url="alias",
    ),
    Case(11, "alone", "413", failed("InvokeBadRequestError", "bad_request")),
    Case(
        12,
        "408",
        "408 once: sent again at once",
        Expect(faults=("timeout",), requests=2, attempts=1),
        params={"status": 408},
        times=1,
    ),
    Case(
        12,
        "409",
        "409 once: sent again at once",
        Expect(faults=("server_error",), requests=2, attempts=1),
        params={"status": 409},
        times=1,
        by_wire={MESSAGES: {"faults": ("overloaded",)}},
    ),
    Case(
        13,
        "once",
        "500 twice: backoff from 0.5 s",
        Expect(faults=("server_error", "server_error"), requests=3, apart=(0.35, 5)),
        times=2,
    ),
    Case(
        13,
        "always",
        "500 each time",
        failed(SERVER, *["server_error"] * 5, requests=5, health="server_error", opens=SERVER_OPENS),
    ),
    Case(
        14,
        "always",
        "502 with 100 KB of HTML: of which 2 KiB are told",
        failed(SERVER, *["server_error"] * 5, requests=5, health="server_error", opens=SERVER_OPENS),
        params={"size": 100_000},
        play="run_and_read_error",
    ),
    Case(
        15,
        "503",
        "503 once",
        Expect(faults=("overloaded",), requests=2, apart=(0.35, 5)),
        params={"status": 503},
        times=1,
    ),
    Case(
        15,
        "504",
        "504 once",
        Expect(**TIMED_OUT, billed=True, requests=2, apart=(0.35, 5)),
        params={"status": 504},
        times=1,
    ),
    Case(
        15,
        "503-always",
        "503 each time",
        failed(SERVER, *["overloaded"] * 5, requests=5, health="overloaded", opens=SERVER_OPENS),
        params={"status": 503},
        wires=BOTH,
    ),
    Case(16, "once", "529 once", Expect(faults=("overloaded",), requests=2, apart=(0.35, 5)), times=1),
    Case(
        16,
        "fallback",
        "529; another model stands in",
        Expect(faults=("overloaded",), requests=2, apart=(0, 5)),
        another="model",
    ),
)
