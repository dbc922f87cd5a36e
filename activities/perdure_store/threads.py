"""Threads: the messages of the runs of agents, each kept once under its place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from perdure_graph.errors import PlatformError

from .transactions import Transactions

if TYPE_CHECKING:
    from sqlalchemy import Connection

# Where a thread keeps what stays the same for all of it.
OPENING = -1

Message = dict[str, Any]


class ThreadLost(PlatformError):
    """The store does not have messages that it once had: asking again gives no other answer."""

    code: ClassVar[str] = "thread_lost"
    retryable: ClassVar[bool] = False


class Threads(Transactions):
    """Keeps threads in the store of a recorder; each method raises `LedgerAway` when that is off, away or too slow."""

    _called: ClassVar[str] = "threads of agents"
    _unknown: ClassVar[str] = "no messages of agents are kept"

    async def write(
        self, thread: str, run_id: str, messages: Mapping[int, Message], opening: Message | None = None
    ) -> dict[int, Message]:
        """Write messages, as JSON, by their places from 0; what is there already stays as it is.

        run_id: the root run; the thread is deleted with it.
        Gives those of the places that hold something else than what was to be written: what an earlier attempt wrote
        there is the truth, and whoever writes goes on from that.
        """
        written = {**messages} if opening is None else {OPENING: opening, **messages}

        def work(connection: Connection) -> dict[int, Message]:
            from .thread_rows import write

            return write(connection, thread, run_id, written, self._now())

        return await self._do(work) if written else {}

    async def read(self, thread: str, below: int, first: int = 0) -> list[Message]:
        """Give the messages at the places `first` to `below` - 1, in order; `first` = `OPENING` begins with that.

        Raises:
            ThreadLost: one of them is missing.
        """
        found = await self.pick(thread, range(first, below))
        return [found[place] for place in range(first, below)]

    async def pick(self, thread: str, places: Iterable[int]) -> dict[int, Message]:
        """Give the messages at some places.

        Raises:
            ThreadLost: one of them is missing.
        """
        wanted = sorted(places)
        if not wanted:
            return {}

        def work(connection: Connection) -> dict[int, Message]:
            from .thread_rows import read

            return read(connection, thread, wanted)

        found = await self._do(work, writes=False)
        if missing := [place for place in wanted if place not in found]:
            what = "its opening" if missing[0] == OPENING else f"message {missing[0]}"
            raise ThreadLost(
                f"The run store has lost {what} of the thread {thread!r}, so the agent cannot go on. Restore the "
                "store from a backup and retry, or start the agent again."
            )
        return found
