"""What comes back to a run, taken one at a time and each with all that it leads to.

A worker may see two events in one activation or in two, and the replay of their history the other way round: a query
that finds a run in no worker's memory makes it so (sdk-core applies what the history holds by then, and goes on from
there). A run must ask for the same in both cases. So the commands that one event leads to, some of which tasks give a
few turns of the event loop later, are all given before the next event is looked at.

That needs the events in their order: every kind of answer takes as many turns from the event to its done callback as
those of an activity's and a child's handle, and of a task that sleeps (three in temporalio 1.35).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

# More than any command takes from its decision: a task starts, what it waits for is cancelled, it wakes.
_TURNS = 8


class Inbox:
    """Calls what it is given, in order, with a pause of some turns after each."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._busy = False

    def put(self, take: Callable[[], None]) -> None:
        """Call `take` now, or when all that came before it is done."""
        self._waiting.append(take)
        if not self._busy:
            self._busy = True
            self._next()

    def _next(self) -> None:
        if not self._waiting:
            self._busy = False
            return
        take = self._waiting.popleft()
        self._pause(_TURNS)
        take()

    def _pause(self, turns: int) -> None:
        loop = asyncio.get_running_loop()
        if turns:
            loop.call_soon(self._pause, turns - 1)
        else:
            loop.call_soon(self._next)
