"""What the agents and graphs below a run tell, put between its own events.

They number their events themselves, so here such an event has the number of the run's own event before it, as live
text has. It names the node of the run that it belongs to, and a form the key under which the run takes its answer.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

from perdure_graph.child_runs import joined
from perdure_graph.errors import PerdureError
from perdure_graph.events import (
    AgentLimit,
    AgentLog,
    AgentThought,
    Event,
    FormFilled,
    FormRequired,
    FormTimeout,
    NodeStarted,
    RunFinished,
)

if TYPE_CHECKING:
    from perdure_store.read import Store
    from perdure_store.records import StoredEvent

    from .archive import Archive

_PASSED_ON = AgentThought | AgentLog | AgentLimit | FormRequired | FormFilled | FormTimeout
_FORMS = FormRequired | FormFilled | FormTimeout
# Nodes below which others may run, and tools that are runs.
_NODES = frozenset({"agent", "tool"})
_TOOLS = frozenset({"agent", "workflow"})


class Children:
    """Reads what is below one run, from the run store; nothing until there is something below it.

    after: number of the run's last event that was shown; what was recorded before it is not shown again.
    """

    def __init__(self, archive: Archive, run_id: str, after: int = 0) -> None:
        self._archive = archive
        self._run_id = run_id
        self._after = after
        self._wanted = after > 0
        self._position: int | None = None
        self._store: Store | None = None
        self._open = AsyncExitStack()
        self._waiting: list[Event] = []

    def look(self, event: Event) -> None:
        """Take note of an event of the run that says that there may be something below it."""
        match event:
            case NodeStarted():
                self._wanted = self._wanted or event.node_type in _NODES
            case AgentThought():
                self._wanted = self._wanted or any(call.get("provider_type") in _TOOLS for call in event.calls)
            case _:
                pass

    async def fetch(self) -> bool:
        """Read what is new; False where there is nothing, or the store does not answer."""
        if not self._wanted or not self._archive.configured:
            return False
        before = len(self._waiting)
        with suppress(PerdureError):
            store = await self._opened()
            if self._position is None:
                self._position = await store.position_of(self._run_id, self._after) if self._after else 0
            while page := await store.events_of_children(self._run_id, self._position):
                self._waiting += [told for stored in page if (told := _told(stored)) is not None]
                self._position = page[-1].position
        return len(self._waiting) > before

    def want(self) -> None:
        """Read from now on, whatever the run says."""
        self._wanted = True

    def until(self, event: Event) -> list[Event]:
        """Give what happened until an event of the run, which comes behind it; nothing comes behind its last one."""
        last = isinstance(event, RunFinished)
        found = [told for told in self._waiting if last or told.at <= event.at]
        self._waiting = [] if last else [told for told in self._waiting if told.at > event.at]
        return [told.model_copy(update={"seq": event.seq - 1}) for told in found]

    def rest(self, seq: int) -> list[Event]:
        """Give what happened after the run's event of this number."""
        found, self._waiting = self._waiting, []
        return [told.model_copy(update={"seq": seq}) for told in found]

    async def close(self) -> None:
        """Let go of the store."""
        await self._open.aclose()

    async def _opened(self) -> Store:
        if self._store is None:
            self._store = await self._open.enter_async_context(self._archive.reading(f"run {self._run_id!r}"))
        return self._store


def _told(stored: StoredEvent) -> Event | None:
    """Say an event of a child as one of its run; None for those that only matter within."""
    event = stored.event
    if not isinstance(event, _PASSED_ON):
        return None
    frame, node = _place(stored.scope)
    key = {"key": joined(stored.scope, event.key)} if isinstance(event, _FORMS) else {}
    return event.model_copy(update={"node_id": node, "frame": frame, **key})


def _place(scope: str) -> tuple[str, str]:
    """Read frame and node of the run from the scope of something below it, `it[3].k#2/...`."""
    place = scope.partition("/")[0].partition("#")[0]
    frame, bracket, node = place.rpartition("].")
    return frame + bracket, node
