"""When a deployment is left alone, and for how long. Pure: what was known, what happened, when; what is known then.

Closed: calls go to it. Open: they do not, before `open_until`. Half-open after that: one call tries, and its outcome
closes it or opens it again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, assert_never

from .faults import FaultKind

SPAN_MS = 10_000
MINUTE_MS = 60_000
BURST_MS = 30_000
BURST = 3
FEWEST_CALLS = 5

Group = Literal["none", "limit", "refused", "network", "server"]


@dataclass(frozen=True, slots=True)
class Span:
    """Calls that ended within ten seconds, and how many of them failed by a fault of the deployment."""

    start: int
    calls: int
    failures: int


@dataclass(frozen=True, slots=True)
class Health:
    """What is known of a deployment. Times are milliseconds since the epoch.

    open_until: it is not asked before this; 0 when it is well. kind: the fault that opened it.
    failures, calls: in the last minute. streak: failures without a success between them.
    trips: how often it opened without a success between, for doubling.
    probing: whether some call is trying whether it is well again.
    at_once: calls on their way. load: requests in the last minute, those on their way included.
    burst: times of the last failures of the server. minute: calls of the last minute.
    """

    deployment: str
    open_until: int = 0
    kind: FaultKind | None = None
    failures: int = 0
    calls: int = 0
    streak: int = 0
    probing: bool = False
    at_once: int = 0
    load: int = 0
    trips: int = 0
    burst: tuple[int, ...] = ()
    minute: tuple[Span, ...] = ()


def is_open(health: Health, now: int) -> bool:
    """Say whether it must not be asked now."""
    return now < health.open_until


def is_half_open(health: Health, now: int) -> bool:
    """Say whether one call may try whether it is well again."""
    return 0 < health.open_until <= now


def group_of(fault: FaultKind) -> Group:
    """Say what a fault tells of the deployment."""
    match fault:
        case "rate_limited":
            return "limit"
        case "quota_exhausted" | "auth" | "permission":
            return "refused"
        case "connection" | "timeout" | "stream_broken":
            return "network"
        case "server_error" | "overloaded":
            return "server"
        case "bad_request" | "context_overflow" | "content_refused" | "not_found" | "protocol_error":
            return "none"
        case "cancelled" | "internal" | "budget_exceeded":
            return "none"
        case _:
            assert_never(fault)


def cooldown_s(fault: FaultKind, retry_after_s: float | None, trips: int) -> float:
    """Say how long a deployment is left alone that opens by a fault; `trips` is how often it did before."""
    asked = min(retry_after_s, 120.0) if retry_after_s is not None and retry_after_s > 0 else 0.0
    doubled = 2 ** min(trips, 10)
    group = group_of(fault)
    match group:
        case "none":
            return 0.0
        case "limit":
            return max(asked, 10.0)
        case "refused":
            return 600.0
        case "network":
            return max(asked, min(10.0 * doubled, 120.0))
        case "server":
            return max(asked, min(5.0 * doubled, 60.0))
        case _:
            assert_never(group)


def as_of(health: Health, now: int) -> Health:
    """Forget what is older than its time. Clocks of workers differ: what is a little ahead of ours counts."""
    minute = tuple(span for span in health.minute if abs(now - span.start) < MINUTE_MS)
    calls = sum(span.calls for span in minute)
    return replace(
        health,
        minute=minute,
        calls=calls,
        failures=sum(span.failures for span in minute),
        burst=tuple(at for at in health.burst if abs(now - at) < BURST_MS),
        load=calls + health.at_once,
    )


def after(health: Health, fault: FaultKind | None, retry_after_s: float | None, now: int, calls: int = 1) -> Health:
    """Give what is known after a call has ended, or several alike; `fault` is None when they were answered."""
    group = "none" if fault is None else group_of(fault)
    counted = _counted(health, now, calls, failed=group != "none")
    if fault is None:
        return _answered(counted, now, calls)
    if group == "none":
        # It says nothing of the deployment; whoever tried it leaves that to the next.
        return replace(counted, probing=False)
    if is_open(counted, now):
        return _more(counted, fault, retry_after_s, now)
    burst = (*counted.burst, now)[-BURST:] if group == "server" else counted.burst
    failed = replace(counted, streak=counted.streak + 1, burst=burst, probing=False)
    if group == "server" and not (is_half_open(counted, now) or _too_many(failed)):
        return failed
    return replace(
        failed,
        open_until=now + round(cooldown_s(fault, retry_after_s, failed.trips) * 1000),
        kind=fault,
        trips=failed.trips + (group in ("network", "server")),
    )


def _answered(health: Health, now: int, calls: int) -> Health:
    if is_open(health, now):
        # A call from before it opened: it says nothing of now.
        return health
    well = replace(health, open_until=0, kind=None, streak=0, trips=0, burst=(), probing=False)
    if health.open_until:
        # What failed before it was left alone must not count against it.
        return as_of(replace(well, minute=(Span(_start(now), calls, 0),)), now)
    return well


def _more(health: Health, fault: FaultKind, retry_after_s: float | None, now: int) -> Health:
    """Take a failure of a call from before it opened: that doubles nothing, but may ask for a longer time."""
    if group_of(fault) == "server":
        return health
    until = now + round(cooldown_s(fault, retry_after_s, max(0, health.trips - 1)) * 1000)
    return replace(health, open_until=until, kind=fault) if until > health.open_until else health


def _too_many(health: Health) -> bool:
    return len(health.burst) >= BURST or (health.calls >= FEWEST_CALLS and health.failures * 2 > health.calls)


def _counted(health: Health, now: int, calls: int, *, failed: bool) -> Health:
    kept = as_of(health, now)
    start = _start(now)
    same = next((span for span in kept.minute if span.start == start), Span(start, 0, 0))
    others = tuple(span for span in kept.minute if span is not same)
    return as_of(replace(kept, minute=(*others, Span(start, same.calls + calls, same.failures + calls * failed))), now)


def _start(now: int) -> int:
    return now - now % SPAN_MS
