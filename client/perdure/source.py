"""Where the events of one run are, for those who read them."""

from __future__ import annotations

from collections.abc import AsyncIterator

from perdure_graph import naming
from perdure_graph.events import Event
from perdure_graph.view import EventPage

from .archive import Archive
from .channel import Channel


class RunSource:
    """Where the events of a run are: in the run itself, and in the run store."""

    def __init__(self, channel: Channel, archive: Archive) -> None:
        self._channel = channel
        self._archive = archive

    async def page(self, after: int) -> EventPage:
        """Ask the run."""
        return await self._channel.query(naming.EVENTS, EventPage, after)

    async def older(self, after: int, before: int) -> list[Event]:
        """Read what the run keeps no more."""
        return await self._archive.events(self._channel.run_id, after, before)

    def history(self, after: int) -> AsyncIterator[Event]:
        """Read what is recorded."""
        return self._archive.history(self._channel.run_id, after)
