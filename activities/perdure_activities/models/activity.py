"""The activity behind every node that asks a model; and how all activities that ask one tell Temporal of failures."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from perdure_graph.errors import PlatformError
from perdure_graph.models.effects import InvokeModel, ModelAnswer
from perdure_graph.models.faults import ERROR_TYPES, FaultKind

from ..heartbeat import heartbeats
from .context import current
from .failover import LocatedFault, Target
from .protocol import ModelFault

# Attempts, those of workers that died included.
ATTEMPTS: dict[FaultKind, int] = {
    "rate_limited": 8,
    "overloaded": 5,
    "server_error": 5,
    "timeout": 5,
    "connection": 5,
    "stream_broken": 5,
    "protocol_error": 2,
}

_FIRST_S = 0.5
_LONGEST_S = 60.0
# However long a provider asks to wait.
_MOST_S = 3600.0


@activity.defn(name=InvokeModel.activity)
async def invoke_model(effect: InvokeModel) -> ModelAnswer:
    """Ask a model, heartbeating meanwhile.

    Raises:
        ApplicationError: the type is that of `ERROR_TYPES`; the details say kind, deployment and when to try again.
    """
    async with attempted(Target(effect.provider, effect.model)) as attempt:
        return await current().invoke(effect, attempt)


@asynccontextmanager
async def attempted(target: Target) -> AsyncGenerator[int]:
    """Heartbeat while the block asks a model, and tell Temporal what goes wrong in it. Gives the attempt, from 1.

    target: the model that the effect names.

    Raises:
        ApplicationError: see `invoke_model`.
    """
    attempt = activity.info().attempt
    async with heartbeats():
        try:
            yield attempt
        except ModelFault as fault:
            raise failure_of(fault, target, attempt, random.random()) from None  # noqa: S311 - jitter
        except PlatformError as error:
            raise ApplicationError(
                str(error),
                {"kind": "internal", "attempts": attempt, "hold": False},
                type="PlatformError",
                non_retryable=not error.retryable,
                category=ApplicationErrorCategory.BENIGN,
            ) from None


def failure_of(fault: ModelFault, asked: InvokeModel | Target, attempt: int, luck: float) -> ApplicationError:
    """Tell Temporal and the graph what went wrong, and whether and when it is to be tried again. luck: from 0 to 1."""
    located = fault if isinstance(fault, LocatedFault) else LocatedFault(fault, Target(asked.provider, asked.model))
    again = located.retryable and attempt < ATTEMPTS.get(located.kind, 1)
    details = {
        "kind": located.kind,
        "status": located.status,
        "provider_code": located.provider_code,
        "provider": located.target.provider,
        "model": located.target.model,
        "deployment": located.deployment,
        "retry_after_s": located.retry_after_s,
        "attempts": attempt,
        "hold": located.hold,
    }
    return ApplicationError(
        located.message,
        details,
        type=ERROR_TYPES[located.kind],
        non_retryable=not again,
        next_retry_delay=timedelta(seconds=delay_s(located, attempt, luck)) if again else None,
        category=ApplicationErrorCategory.BENIGN,
    )


def delay_s(fault: ModelFault, attempt: int, luck: float) -> float:
    """Say how long to wait before the next attempt: as the provider asks, else longer each time."""
    if fault.retry_after_s is not None:
        return min(max(0.0, fault.retry_after_s), _MOST_S)
    longest = min(_LONGEST_S, _FIRST_S * 2 ** (attempt - 1))
    return longest * (0.75 + 0.25 * luck)
