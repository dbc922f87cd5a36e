"""What the activity tells Temporal: type, details, when to try again; never a key."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from fakes.adapters import KEY, ask, bench, deployment, fails, says
from perdure_activities.models.activity import ATTEMPTS, delay_s, failure_of, invoke_model
from perdure_activities.models.context import RUNTIME
from perdure_activities.models.protocol import ModelFault
from perdure_graph.models.faults import ERROR_TYPES, RETRYABLE


async def perform(runtime: Any, effect: Any, attempt: int = 1) -> Any:
    environment = ActivityEnvironment()
    environment.info = environment.default_info().__class__(
        **{**environment.default_info().__dict__, "attempt": attempt}
    )
    token = RUNTIME.set(runtime)
    try:
        return await environment.run(invoke_model, effect)
    finally:
        RUNTIME.reset(token)


async def test_an_answer(tmp_path: Path) -> None:
    async with bench(tmp_path, {"a": [says("fine")]}) as b:
        answer = await perform(b.runtime, ask(), 3)
        assert (answer.text, answer.epoch) == ("fine", 3)


async def test_a_fault_says_what_to_do(tmp_path: Path) -> None:
    async with bench(tmp_path, {"a": [fails("rate_limited", retry_after_s=300.0, status=429)]}) as b:
        with pytest.raises(ApplicationError) as caught:
            await perform(b.runtime, ask())
        error = caught.value
        assert error.type == "InvokeRateLimitError"
        assert not error.non_retryable
        assert error.next_retry_delay == timedelta(seconds=300)
        assert error.details == (
            {
                "kind": "rate_limited",
                "status": 429,
                "provider_code": "",
                "provider": "openai",
                "model": "gpt-x",
                "deployment": "a",
                "retry_after_s": 300.0,
                "attempts": 1,
                "hold": False,
            },
        )
        assert KEY not in f"{error}{error.details}{error.__cause__}"
        assert error.__cause__ is None


async def test_no_key_in_any_error_or_row(tmp_path: Path) -> None:
    kinds = [kind for kind in ERROR_TYPES if kind != "cancelled"]
    bug = [[ValueError(f"Authorization: Bearer {KEY}")]]
    async with bench(tmp_path, {"a": [*(fails(kind) for kind in kinds), *bug]}) as b:  # type: ignore
        for n in range(len(kinds) + 1):
            with pytest.raises(ApplicationError) as caught:
                await perform(b.runtime, ask(key=f"k{n}"), 2)
            assert KEY not in f"{caught.value!r}{caught.value}{caught.value.details}"
        assert len(b.names()) == len(kinds) + 1
        assert KEY.encode() not in b"".join(file.read_bytes() for file in tmp_path.iterdir())


async def test_without_a_runtime_the_worker_says_so() -> None:
    with pytest.raises(ApplicationError, match="no model runtime"):
        await ActivityEnvironment().run(invoke_model, ask())


@given(kind=st.sampled_from(sorted(ERROR_TYPES)), attempt=st.integers(1, 20), retry_after=st.none() | st.floats(0, 900))
def test_what_may_soon_be_over_is_tried_again_a_few_times(kind: Any, attempt: int, retry_after: float | None) -> None:
    fault = ModelFault(kind, "why", retry_after_s=retry_after)
    error = failure_of(fault, ask(), attempt, 0.5)
    assert error.non_retryable == (kind not in RETRYABLE or attempt >= ATTEMPTS[kind])
    assert error.type == ERROR_TYPES[kind]
    json.dumps(error.details)
    if not error.non_retryable:
        assert error.next_retry_delay is not None
        assert error.next_retry_delay.total_seconds() == pytest.approx(delay_s(fault, attempt, 0.5), abs=1e-3)


def test_waits_grow_and_end() -> None:
    waits = [delay_s(ModelFault("overloaded", ""), attempt, 1.0) for attempt in range(1, 12)]
    assert waits[:4] == [0.5, 1.0, 2.0, 4.0]
    assert waits[-1] == 60.0


async def test_a_budget_that_waits_holds_the_run(tmp_path: Path) -> None:
    config: dict[str, Any] = {
        "deployments": [deployment("a")],
        "budgets": [{"name": "b", "tokens": 1, "when_over": "wait"}],
    }
    async with bench(tmp_path, {"a": [says("fine")]}, config) as b:
        with pytest.raises(ApplicationError) as caught:
            await perform(b.runtime, ask())
        assert (caught.value.type, caught.value.non_retryable) == ("BudgetExceededError", True)
        assert caught.value.details[0]["hold"] is True
