"""Threads: the messages of the runs of agents, each kept once under its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

from perdure_graph.errors import PlatformError
from perdure_graph.sizes import size_of

from .recorder import Recorder, now_ms
from .thread_memory import Message, ThreadMemory
from .transactions import Transactions

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from .conversations import Turn
    from .thread_rows import Told

# Where a thread keeps what stays the same for all of it.
OPENING = -1

# Of messages of past turns, about; no model reads more.
MOST_BYTES = 1_000_000
AT_ONCE = 20


class ThreadLost(PlatformError):
    """The store does not have messages that it once had: asking again gives no other answer."""

    code: ClassVar[str] = "thread_lost"
    retryable: ClassVar[bool] = False


class Writing:
    """Messages for a thread, to be written in some transaction; `committed` is to be said when that is done.

    done: whether they are there. there: those of the places that hold something else, as `Threads.write` gives it.
    """

    def __init__(
        self, memory: ThreadMemory, thread: str, run_id: str, messages: Mapping[int, Message], at: int
    ) -> None:
        self.done = not messages
        self.there: dict[int, Message] = {}
        self._memory = memory
        self._thread = thread
        self._run_id = run_id
        self._messages = messages
        self._at = at
        self._found: dict[int, Message] = {}

    def write(self, connection: Connection) -> None:
        """Write them; twice is as once."""
        from .thread_rows import write

        if self._messages:
            self._found = write(connection, self._thread, self._run_id, self._messages, self._at)

    def committed(self) -> None:
        """Take note that the transaction is done."""
        self.done, self.there = True, self._found
        self._memory.put(self._thread, {**self._messages, **self._found})


class Threads(Transactions):
    """Keeps threads in the store of a recorder; each method raises `LedgerAway` when that is off, away or too slow."""

    _called: ClassVar[str] = "threads of agents"
    _unknown: ClassVar[str] = "no messages of agents are kept"

    def __init__(self, recorder: Recorder, *, limit_s: float | None = None, clock: Callable[[], int] = now_ms) -> None:
        super().__init__(recorder, limit_s=limit_s, clock=clock)
        self._memory = ThreadMemory()

    def writing(
        self, thread: str, run_id: str, messages: Mapping[int, Message], opening: Message | None = None
    ) -> Writing:
        """Prepare what `write` writes, for a transaction that somebody else makes."""
        written = {**messages} if opening is None else {OPENING: opening, **messages}
        return Writing(self._memory, thread, run_id, written, self._now())

    async def write(
        self, thread: str, run_id: str, messages: Mapping[int, Message], opening: Message | None = None
    ) -> dict[int, Message]:
        """Write messages, as JSON, by their places from 0; what is there already stays as it is.

        run_id: the root run; the thread is deleted with it.
        Gives those of the places that hold something else than what was to be written: what an earlier attempt wrote
        there is the truth, and whoever writes goes on from that.
        """
        writing = self.writing(thread, run_id, messages, opening)
        if not writing.done:
            await self.carry_out(writing)
        return writing.there

    async def carry_out(self, writing: Writing) -> None:
        """Write what `writing` has prepared."""
        await self._do(writing.write)
        writing.committed()

    async def read(self, thread: str, below: int, first: int = 0) -> list[Message]:
        """Give the messages at the places `first` to `below` - 1, in order; `first` = `OPENING` begins with that.

        Raises:
            ThreadLost: one of them is missing.
        """
        found = await self.pick(thread, range(first, below))
        return [found[place] for place in range(first, below)]

    async def turns(
        self, conversation_id: str, before_run: str, most: int | None, *, tenant: str | None, part: str | None
    ) -> list[tuple[Turn, Told]]:
        """Give the last `most` turns of a conversation, as `Ledger.turns`, each with what was said in it.

        part: of the agent in its run, as its threads are named behind that; None for one that is only a part of the
            turn: what it said is left out then. It is left out too of turns that other agents answered, and of old
            ones where it would be too much.
        """

        def work(connection: Connection) -> list[tuple[Turn, Told]]:
            from .conversations import turns
            from .thread_rows import Told, last_of

            found = turns(connection, conversation_id, before_run, most, tenant)
            said: dict[str, Told] = {}
            left = MOST_BYTES if part is not None else 0
            for end in range(len(found), 0, -AT_ONCE):
                if left <= 0:
                    break
                some = found[max(0, end - AT_ONCE) : end]
                told = last_of(connection, {turn.run_id: f"{turn.run_id}{part}" for turn in some})
                left -= size_of([one.messages for one in told.values()])
                said |= told
            return [(turn, said.get(turn.run_id, Told())) for turn in found]

        return await self._do(work, writes=False)

    async def pick(self, thread: str, places: Iterable[int]) -> dict[int, Message]:
        """Give the messages at some places.

        Raises:
            ThreadLost: one of them is missing.
        """
        wanted = sorted(places)
        known = self._memory.pick(thread, wanted)
        if not (unknown := [place for place in wanted if place not in known]):
            return known

        def work(connection: Connection) -> dict[int, Message]:
            from .thread_rows import read

            return read(connection, thread, unknown)

        found = await self._do(work, writes=False)
        if missing := [place for place in unknown if place not in found]:
            what = "its opening" if missing[0] == OPENING else f"message {missing[0]}"
            raise ThreadLost(
                f"The run store has lost {what} of the thread {thread!r}, so the agent cannot go on. Restore the "
                "store from a backup and retry, or start the agent again."
            )
        self._memory.put(thread, found)
        return {place: known[place] if place in known else found[place] for place in wanted}
