"""When a deployment is left alone: cooldowns by kind of fault, doubling, what closes it again."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure_graph.models.faults import FaultKind
from perdure_graph.models.health import Health, after, as_of, cooldown_s, group_of, is_half_open, is_open

NOW = 1_000_000_000_000
WELL = Health("d")
KINDS: tuple[FaultKind, ...] = get_args(FaultKind)

faults = st.sampled_from([*KINDS, None])
steps = st.tuples(faults, st.none() | st.floats(0, 1000), st.integers(0, 200_000))


def opened_s(health: Health, now: int) -> float:
    return (health.open_until - now) / 1000


@pytest.mark.parametrize(
    ("fault", "retry_after_s", "seconds"),
    [
        ("rate_limited", None, 10),
        ("rate_limited", 7, 10),
        ("rate_limited", 45, 45),
        ("rate_limited", 300, 120),
        ("quota_exhausted", None, 600),
        ("auth", None, 600),
        ("permission", 3, 600),
        ("connection", None, 10),
        ("timeout", None, 10),
        ("stream_broken", None, 10),
    ],
)
def test_one_such_fault_opens_it(fault: FaultKind, retry_after_s: float | None, seconds: float) -> None:
    known = after(WELL, fault, retry_after_s, NOW)
    assert (known.kind, opened_s(known, NOW)) == (fault, seconds)
    assert is_open(known, known.open_until - 1)
    assert not is_open(known, known.open_until)
    assert is_half_open(known, known.open_until)


@pytest.mark.parametrize("fault", [kind for kind in KINDS if group_of(kind) == "none"])
def test_what_is_wrong_with_a_request_never_opens_it(fault: FaultKind) -> None:
    known = WELL
    for number in range(100):
        known = after(known, fault, 60.0, NOW + number)
    assert (known.open_until, known.streak, known.calls, known.failures) == (0, 0, 100, 0)


@pytest.mark.parametrize(
    ("fault", "times"), [("connection", [10, 20, 40, 80, 120, 120]), ("overloaded", [5, 10, 20, 40, 60, 60])]
)
def test_a_try_that_fails_doubles_the_time(fault: FaultKind, times: list[int]) -> None:
    known, now = WELL, NOW
    if fault == "overloaded":
        known = after(after(known, fault, None, now), fault, None, now)
    for seconds in times:
        known = after(known, fault, None, now)
        assert opened_s(known, now) == seconds
        now = known.open_until
    assert after(known, None, None, now).open_until == 0
    again = after(after(known, None, None, now), "connection", None, now)
    assert opened_s(again, now) == 10


def test_a_server_may_fail_twice_in_thirty_seconds() -> None:
    known = after(after(WELL, "server_error", None, NOW), "overloaded", None, NOW + 29_000)
    assert known.open_until == 0
    assert after(known, "server_error", None, NOW + 29_999).open_until == NOW + 29_999 + 5_000
    # The first is forgotten by then; and an answer between them resets the count.
    assert after(known, "server_error", None, NOW + 31_000).open_until == 0
    answered = after(known, None, None, NOW + 29_001)
    assert after(answered, "server_error", None, NOW + 29_002).open_until == 0


def test_more_than_half_of_five_calls_opens_it_whatever_lies_between() -> None:
    known = WELL
    for number, fault in enumerate([None, "server_error", None, "server_error"]):
        known = after(known, fault, None, NOW + number)  # type: ignore[arg-type]
    assert (known.calls, known.failures, known.open_until) == (4, 2, 0)
    assert after(known, "server_error", None, NOW + 5).open_until == NOW + 5_005
    assert after(known, None, None, NOW + 5).open_until == 0


def test_what_ends_while_it_is_open_began_before() -> None:
    known = after(WELL, "connection", None, NOW)
    # Ten calls that fail together are one failure, and one that is answered late does not close it.
    for _ in range(10):
        known = after(known, "connection", None, NOW)
    assert opened_s(known, NOW) == 10
    assert after(known, None, None, NOW + 1).open_until == known.open_until
    assert opened_s(after(known, "auth", None, NOW), NOW) == 600
    assert opened_s(after(after(WELL, "auth", None, NOW), "rate_limited", 60, NOW), NOW) == 600


def test_a_server_that_asks_for_time_gets_it() -> None:
    known = WELL
    for _ in range(3):
        known = after(known, "overloaded", 90.0, NOW)
    assert opened_s(known, NOW) == 90


def test_a_minute_later_nothing_counts() -> None:
    known = after(WELL, None, None, NOW)
    assert (as_of(known, NOW + 50_000).calls, as_of(known, NOW + 61_000).calls) == (1, 0)
    assert as_of(replace(known, at_once=3), NOW).load == 4


def test_calls_of_workers_whose_clocks_differ_are_all_counted() -> None:
    known = WELL
    for number in range(60):
        known = after(known, None if number % 3 else "server_error", None, NOW + (9_999 if number % 2 else 10_001))
    assert (known.calls, known.failures) == (60, 20)


@given(st.lists(steps, max_size=40))
def test_laws(happened: list[tuple[FaultKind | None, float | None, int]]) -> None:
    known, now = WELL, NOW
    for fault, retry_after_s, passed in happened:
        now += passed
        before, known = known, after(known, fault, retry_after_s, now)
        assert known.open_until == 0 or known.open_until - now <= 600_000
        assert 0 <= known.failures <= known.calls
        assert (known.kind is None) == (known.open_until == 0)
        assert len(known.minute) <= 7
        assert len(known.burst) <= 3
        if is_open(before, now):
            assert known.open_until >= before.open_until
        elif fault is None:
            assert (known.open_until, known.streak, known.trips) == (0, 0, 0)
        elif group_of(fault) == "none":
            assert known.open_until == before.open_until
        elif is_half_open(before, now) or group_of(fault) != "server":
            assert is_open(known, now)


@given(st.sampled_from(KINDS), st.none() | st.floats() | st.just(math.nan), st.integers(0, 10_000))
def test_no_header_makes_a_cooldown_that_is_none(fault: FaultKind, retry_after_s: float | None, trips: int) -> None:
    assert 0 <= cooldown_s(fault, retry_after_s, trips) <= 600
