"""How effects run as activities: timeouts, retries and heartbeat per class of effect.

Failures of the user's making come back as non-retryable errors and are retried, if at all, by the core as the graph
says. What Temporal retries is the rest: a worker that died, a machine that hangs.

There are no local activities: a query that meets a workflow task with one in flight makes the SDK (1.35.0) record its
result before workflow code has seen it, and the history can then no longer be replayed.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TypedDict

from temporalio import workflow
from temporalio.common import RetryPolicy

from perdure_graph.effects import Effect

_HEARTBEAT = timedelta(seconds=5)
_RETRY = RetryPolicy(
    initial_interval=timedelta(milliseconds=500), maximum_interval=timedelta(seconds=10), maximum_attempts=5
)
_ONCE = RetryPolicy(maximum_attempts=1)
# The activity says itself which failures may be tried again, how often, and when; killed workers count too.
_MODEL = RetryPolicy(
    initial_interval=timedelta(milliseconds=500), maximum_interval=timedelta(seconds=60), maximum_attempts=20
)


class ActivityOptions(TypedDict):
    """Keywords for `workflow.start_activity`."""

    start_to_close_timeout: timedelta
    heartbeat_timeout: timedelta
    retry_policy: RetryPolicy
    cancellation_type: workflow.ActivityCancellationType


def activity_options(effect: Effect) -> ActivityOptions:
    """Options of an activity: a dead worker is noticed by its missing heartbeat.

    An effect that must not be repeated blindly is tried once; if its worker falls silent, an operator decides.
    """
    return ActivityOptions(
        start_to_close_timeout=timedelta(seconds=effect.budget_s()),
        heartbeat_timeout=_HEARTBEAT,
        retry_policy=_retries(effect),
        # So that a run can tell when what it cancelled is over. Nothing of it is taken any more.
        cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    )


def _retries(effect: Effect) -> RetryPolicy:
    if effect.meta is not None and effect.meta.retry == "never":
        return _ONCE
    return _MODEL if effect.effect_class == "model" else _RETRY
