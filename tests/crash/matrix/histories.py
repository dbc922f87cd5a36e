"""What Temporal wrote down: waiting for an event of a history, and reading all histories of a run."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client as TemporalClient
from temporalio.service import RPCError, RPCStatusCode

from perdure_graph.effects import RecordEvents

_SOON_S = 0.02

_SCHEDULED = EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
_DONE_BY_A_WORKER = {
    EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED: "workflow_task_completed_event_attributes",
    EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED: "activity_task_completed_event_attributes",
    EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED: "activity_task_failed_event_attributes",
}


@dataclass(frozen=True)
class Moment:
    """A history event of a run: its number in the history of the run (scope "") or of something below it."""

    scope: str
    number: int

    def __str__(self) -> str:
        return f"{self.scope or 'run'}#{self.number}"

    def is_at(self, event: HistoryEvent) -> bool:
        """Whether it is there with an event."""
        return event.event_id >= self.number


@dataclass(frozen=True)
class Asked:
    """The moment at which a scope asks for an effect, by its key."""

    scope: str
    key: str

    def __str__(self) -> str:
        return f"{self.scope or 'run'}:{self.key}"

    def is_at(self, event: HistoryEvent) -> bool:
        """Whether it is there with an event."""
        asked = event.activity_task_scheduled_event_attributes
        return event.event_type == _SCHEDULED and asked.activity_id == self.key


def workflow_id(run_id: str, scope: str) -> str:
    """Id of the workflow that holds a scope of a run."""
    return f"{run_id}/{scope}" if scope else run_id


async def reached(temporal: TemporalClient, run_id: str, moment: Moment | Asked) -> bool:
    """Wait, by long polls, until an event is there; False when the history ends before."""
    handle = temporal.get_workflow_handle(workflow_id(run_id, moment.scope))
    while True:
        try:
            async for event in handle.fetch_history_events(wait_new_event=True):
                if moment.is_at(event):
                    return True
            return False
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            await asyncio.sleep(_SOON_S)


async def histories(temporal: TemporalClient, run_id: str, scopes: Iterable[str]) -> dict[str, list[HistoryEvent]]:
    """Read the histories of a run and what is below it, by scope; a scope that never began has none."""
    found: dict[str, list[HistoryEvent]] = {}
    for scope in scopes:
        handle = temporal.get_workflow_handle(workflow_id(run_id, scope))
        try:
            found[scope] = [event async for event in handle.fetch_history_events()]
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
    return found


def at(event: HistoryEvent) -> float:
    """When an event was written, in seconds since the epoch."""
    return event.event_time.seconds + event.event_time.nanos / 1e9


def effects(found: dict[str, list[HistoryEvent]]) -> list[tuple[str, str, float]]:
    """Effects of the graph that were asked for: scope, key, when."""
    return [
        (scope, event.activity_task_scheduled_event_attributes.activity_id, at(event))
        for scope, events in found.items()
        for event in events
        if event.event_type == _SCHEDULED
        and event.activity_task_scheduled_event_attributes.activity_type.name != RecordEvents.activity
    ]


def asked_twice(found: dict[str, list[HistoryEvent]]) -> list[str]:
    """Effects that stand in the histories more than once."""
    counted = Counter((scope, key) for scope, key, _ in effects(found))
    return [f"{scope or 'run'}:{key}" for (scope, key), count in counted.items() if count > 1]


def first_after(events: Iterable[HistoryEvent], since: float, identity: str | None = None) -> float | None:
    """When the first event after a moment was written; with `identity`, the first piece of work of that worker."""
    times = [at(event) for event in events if at(event) > since and (identity is None or _by(event) == identity)]
    return min(times, default=None)


def _by(event: HistoryEvent) -> str | None:
    name = _DONE_BY_A_WORKER.get(event.event_type)
    attributes: Any = getattr(event, name) if name else None
    return attributes.identity if attributes is not None else None
