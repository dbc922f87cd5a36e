"""How deployments are doing: what the ledger knows of them, at most a second old, and what this process has in flight.

Where the ledger is off or away, the process goes by what it saw itself.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import structlog

from perdure_graph.models.faults import FaultKind
from perdure_graph.models.health import after, is_half_open, is_open
from perdure_store.ledger_records import Health, LedgerAway
from perdure_store.recorder import now_ms

from .protocol import ModelFault

if TYPE_CHECKING:
    from perdure_store.ledger import Ledger

State = Literal["well", "cooling", "half-open"]

# Waiting mends none of these: a person does.
UNMENDED: frozenset[FaultKind] = frozenset({"auth", "permission", "quota_exhausted"})

_AGE_S = 1.0
_TOGETHER_S = 0.25
_NEVER = float("-inf")

_log = structlog.stdlib.get_logger("perdure.models")


def state_of(health: Health, now: int) -> State:
    """Say whether a deployment may be asked: freely, not yet, or by one call that tries it."""
    if is_open(health, now):
        return "cooling"
    return "half-open" if is_half_open(health, now) else "well"


class Healths:
    """What is known of deployments; shared by all calls of a process."""

    def __init__(self, ledger: Ledger, clock: Callable[[], int] = now_ms) -> None:
        self._ledger = ledger
        self._clock = clock
        self._known: dict[str, Health] = {}
        self._read: dict[str, float] = {}
        self._reading: dict[frozenset[str], asyncio.Task[None]] = {}
        self._telling: set[asyncio.Task[None]] = set()
        self._warned: set[type[Exception]] = set()
        # Of this process: calls on their way, and calls begun since the ledger was asked last.
        self.in_flight: Counter[str] = Counter()
        self.begun: Counter[str] = Counter()
        # Answers that are not noted yet.
        self._answered: Counter[str] = Counter()

    async def of(self, names: Iterable[str]) -> dict[str, Health]:
        """Give the health of deployments."""
        asked = frozenset(names)
        if any(time.monotonic() - self._read.get(name, _NEVER) >= _AGE_S for name in asked):
            await self._refresh(asked)
        return {name: self._known.get(name) or Health(name) for name in asked}

    async def _refresh(self, names: frozenset[str]) -> None:
        task = self._reading.get(names)
        if task is None:
            task = self._reading[names] = asyncio.create_task(self._look(names))
            task.add_done_callback(lambda _: self._reading.pop(names, None))
        # A caller that is cancelled must not take the answer from the others.
        await asyncio.shield(task)

    async def _look(self, names: frozenset[str]) -> None:
        if not self._ledger.is_off:
            with self._without_ledger():
                self._known.update(await self._ledger.health(sorted(names)))
        for name in names:
            self._read[name] = time.monotonic()
            # What the ledger counts by now, less the answers that it has not been told.
            self.begun[name] = self._answered.get(name, 0)

    async def failed(self, name: str, fault: ModelFault) -> None:
        """Note a fault of a deployment, behind what it answered before."""
        await self._note_answers(name)
        await self._note(name, fault.kind, fault.retry_after_s)

    def worked(self, name: str) -> None:
        """Note that a deployment answered; in the background, nothing depends on it."""
        self._answered[name] += 1
        if self._answered[name] > 1:
            # What is about to be noted takes it along.
            return
        task = asyncio.create_task(self._soon(name))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _soon(self, name: str) -> None:
        known = self._known.get(name)
        # That one is well again others wait for; that it still is need not be said of each call.
        if known is not None and not (known.open_until or known.streak or known.probing):
            await asyncio.sleep(_TOGETHER_S)
        await self._note_answers(name)

    async def _note_answers(self, name: str) -> None:
        if calls := self._answered.pop(name, 0):
            await self._note(name, None, None, calls)

    async def _note(self, name: str, kind: FaultKind | None, retry_after_s: float | None, calls: int = 1) -> None:
        if not self._ledger.is_off:
            with self._without_ledger():
                self._known[name] = await self._ledger.note(name, kind, retry_after_s, calls)
                return
        known = self._known.get(name) or Health(name)
        self._known[name] = after(known, kind, retry_after_s, self._clock(), calls)

    async def probe(self, name: str, lasts_s: float) -> bool:
        """Whether this call is the one that tries a deployment that may be well again."""
        if not self._ledger.is_off:
            with self._without_ledger():
                return await self._ledger.probe(name, lasts_s)
        return True

    @contextmanager
    def _without_ledger(self) -> Generator[None]:
        """Go on where the ledger fails: what this process knows has to do. That it is away is said elsewhere."""
        try:
            yield
        except LedgerAway:
            pass
        except Exception as error:
            if type(error) not in self._warned:
                self._warned.add(type(error))
                _log.warning(
                    "the health of deployments cannot be shared: the ledger fails; calls go on without it",
                    error=type(error).__name__,
                    reason=str(error),
                )

    @contextmanager
    def asking(self, name: str) -> Generator[None]:
        """Count a call while it is on its way."""
        self.in_flight[name] += 1
        self.begun[name] += 1
        try:
            yield
        finally:
            self.in_flight[name] -= 1

    async def close(self) -> None:
        """Tell the ledger what it has not been told."""
        if self._telling:
            await asyncio.wait(self._telling, timeout=2.0)
