"""The outbox: which events of a scope the run store has, and which are on their way to it.

Events leave in batches, each carried by an effect (`EffectMeta.events`) and named by the effect's key. A batch whose
carrier fails, or finds the store down, is sent again; the store takes a repeat for what it is. Nothing here performs
anything: the shell asks what to send and tells what became of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from typing import Literal, cast

from pydantic import BaseModel, JsonValue

from .events import Event
from .sizes import cut, size_of
from .state import RunState

BATCH_EVENTS = 200
BATCH_BYTES = 128 * 1024
# An event over the first limit is recorded with its large values cut to a preview.
EVENT_BYTES = 32 * 1024
VALUE_BYTES = 8 * 1024

# What a run keeps for queries of events that are recorded already, and the most it keeps when nothing records.
KEEP_EVENTS = 500
SLACK_EVENTS = 500
MOST_EVENTS = 10_000
DETAILED_BACKLOG = 2_000

_VALUES = ("inputs", "asked", "outputs", "process_data", "value", "text", "values", "variables")

Answer = Literal["yes", "no", "off"]


class Outbox(BaseModel):
    """Numbers of events: all up to `acked` are recorded, all up to `sent` are recorded or on their way.

    flying: batches on their way, carrier -> (first, last); done: recorded ones above `acked`.
    mode: `down` after a batch that the store did not take, `off` when there is no store.
    """

    acked: int = 0
    sent: int = 0
    flying: dict[str, tuple[int, int]] = {}
    done: list[tuple[int, int]] = []
    mode: Literal["on", "down", "off"] = "on"

    def unsent(self, state: RunState) -> bool:
        """Whether there are events that nothing carries."""
        return self.mode != "off" and self.sent < state.seq

    def unrecorded(self, state: RunState) -> bool:
        """Whether there are events that are not known to be recorded."""
        return self.mode != "off" and self.acked < state.seq

    def take(self, state: RunState, carrier: str, *, probe: bool = False) -> tuple[dict[str, JsonValue], ...]:
        """Hand a batch to a carrier. While the store is down only a probe gets one, or every effect would carry all."""
        if not self.unsent(state) or (self.mode == "down" and not probe):
            return ()
        oldest = state.seq - len(state.events)
        start = max(self.sent, oldest)
        batch: list[dict[str, JsonValue]] = []
        size = 0
        for event in state.events[start - oldest : start - oldest + BATCH_EVENTS]:
            recorded, length = as_recorded(event)
            size += length
            if batch and size > BATCH_BYTES:
                break
            batch.append(recorded)
        self.flying[carrier] = (start + 1, start + len(batch))
        self.sent = start + len(batch)
        return tuple(batch)

    def settle(self, state: RunState, carrier: str, answer: Answer) -> None:
        """Note what became of a batch, and let go of events that nobody needs any more."""
        batch = self.flying.pop(carrier, None)
        if batch is None:
            return
        if answer == "off":
            self.mode, self.flying, self.done = "off", {}, []
        elif answer == "no":
            self.mode = "down"
            self.sent = min(self.sent, max(self.acked, batch[0] - 1))
        else:
            self.mode = "on"
            self.done.append(batch)
            self._advance()
        self.trim(state)

    def _advance(self) -> None:
        for first, last in sorted(self.done):
            if first <= self.acked + 1:
                self.acked = max(self.acked, last)
        self.done = [batch for batch in self.done if batch[1] > self.acked]
        self.sent = max(self.sent, self.acked)

    def lost(self, state: RunState, carrier: str) -> None:
        """Note that a carrier ended without saying what became of its batch."""
        batch = self.flying.pop(carrier, None)
        if batch is not None:
            self.sent = min(self.sent, max(self.acked, batch[0] - 1))
            self.trim(state)

    def landed(self) -> Outbox:
        """Give the outbox as it is when nothing is on its way any more."""
        return self.model_copy(update={"sent": self.acked, "flying": {}})

    def trim(self, state: RunState) -> None:
        """Bound what a run keeps: recorded events but for the last ones, details of a long backlog."""
        events = state.events
        if len(events) <= KEEP_EVENTS + SLACK_EVENTS:
            return
        oldest = state.seq - len(events)
        if self.mode == "off":
            if len(events) > MOST_EVENTS + SLACK_EVENTS:
                del events[: len(events) - MOST_EVENTS]
            return
        del events[: max(0, min(self.acked - oldest, len(events) - KEEP_EVENTS))]
        if len(events) > DETAILED_BACKLOG + SLACK_EVENTS:
            _drop_details(events, len(events) - DETAILED_BACKLOG)


def _drop_details(events: list[Event], count: int) -> None:
    for index in range(count):
        event = events[index]
        values = [name for name in _values_of(type(event)) if getattr(event, name)]
        short = {name: cut(getattr(event, name), 0) for name in values}
        events[index] = event.model_copy(update=short)


def as_recorded(event: Event) -> tuple[dict[str, JsonValue], int]:
    """Give an event as it is recorded, and about how many bytes that takes."""
    # Cut first: writing out 50 MB takes longer than a workflow task may be busy.
    event = _cut_over(event, EVENT_BYTES)
    recorded = cast("dict[str, JsonValue]", event.model_dump(mode="json"))
    return recorded, len(json.dumps(recorded))


def lighten(state: RunState, most: int) -> None:
    """Cut the values of events over so many bytes: the same value as text in every event of a state adds up."""
    state.events[:] = [_cut_over(event, most) for event in state.events]


def _cut_over(event: Event, most: int) -> Event:
    values = _values_of(type(event))
    if size_of([getattr(event, name) for name in values]) <= most:
        return event
    return event.model_copy(update={name: cut(getattr(event, name), VALUE_BYTES) for name in values})


@cache
def _values_of(kind: type[Event]) -> tuple[str, ...]:
    return tuple(name for name in _VALUES if name in kind.model_fields)


def batches(state: RunState, outbox: Outbox) -> Iterable[tuple[dict[str, JsonValue], ...]]:
    """Give all that is not recorded yet, in batches: what a run that ends leaves behind."""
    outbox.sent, outbox.flying, outbox.mode = outbox.acked, {}, "on"
    number = 0
    while outbox.unsent(state):
        number += 1
        yield outbox.take(state, f"!{number}", probe=True)
