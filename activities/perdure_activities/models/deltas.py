"""The text of an answer on its way to readers: batches beside the stream, which they never slow."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from perdure_graph.models.effects import InvokeModel
from perdure_store.ledger_records import DeltaRow

BATCH_S = 0.025
BATCH_CHARS = 1024
# A store that takes nothing for so long, or so much text, gets none of the rest; readers have the whole answer later.
AGAIN_S = 0.25
MOST_CHARS = 256 * 1024
LAST_S = 1.0


class Deltas(Protocol):
    """Where batches are written: the part of the ledger that is needed here."""

    @property
    def is_off(self) -> bool:
        """Whether nothing is written at all."""
        ...

    async def write_deltas(self, rows: Sequence[DeltaRow]) -> bool:
        """Write batches; those that are there already stay. False when that did not work; never raises."""
        ...


class DeltaSink:
    """Takes the text of one attempt (`epoch`, from 1) of an effect, where anybody may read it live.

    The first piece is written at once, the others every `BATCH_S` or `BATCH_CHARS`, whichever comes first.
    """

    def __init__(self, ledger: Deltas, effect: InvokeModel, epoch: int) -> None:
        self._ledger = ledger
        self._effect = effect
        self._epoch = epoch
        self._on = effect.stream is not None and effect.meta is not None and not ledger.is_off
        self._pending: list[str] = []
        self._chars = 0
        self._written = 0
        self._rows: list[DeltaRow] = []
        self._n = 0
        self._ending = False
        self._hurry = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._due = 0.0
        self._failing = False
        self._left = False

    async def text(self, piece: str) -> None:
        """Take a piece of the text; returns at once."""
        if not self._on or not piece:
            return
        self._pending.append(piece)
        self._chars += len(piece)
        if self._chars >= BATCH_CHARS:
            self._hurry.set()
        if self._chars + sum(len(row.text) for row in self._rows) > MOST_CHARS:
            self._give_up()
        elif self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write(), name="perdure-deltas")

    async def done(self) -> None:
        """Say that the text is complete, and wait a little until it is written."""
        if not self._on or self._nothing:
            return
        self._ending = True
        self._hurry.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write(), name="perdure-deltas")
        if not self._failing:
            await asyncio.wait((self._task,), timeout=LAST_S)
        self._give_up()

    @property
    def _nothing(self) -> bool:
        """Whether there was no text, nor may readers have any of an attempt before."""
        target = self._effect.stream
        return self._task is None and self._epoch + (target.after if target else 0) == 1

    def leave(self) -> None:
        """Say that no more comes, and that nobody waits: what is pending is written only if the store takes it now."""
        self._left = True
        if self._failing:
            self._give_up()

    def _give_up(self) -> None:
        self._on = False
        self._pending, self._rows, self._chars = [], [], 0
        if self._task is not None:
            self._task.cancel()

    async def _write(self) -> None:
        clock = asyncio.get_running_loop().time
        while self._pending or self._rows or self._ending:
            if not self._ending and clock() < self._due:
                await self._pause(self._due - clock())
            last = self._take()
            self._due = clock() + BATCH_S
            # The same batches until they are there: one whose answer got lost must not come again with other text.
            self._failing = not await self._ledger.write_deltas(tuple(self._rows))
            if self._failing:
                if self._left:
                    return
                await asyncio.sleep(AGAIN_S)
                continue
            self._rows = []
            if last:
                return

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._hurry.wait()
        except TimeoutError:
            pass

    def _take(self) -> bool:
        """Make a batch of what is pending; whether the text is complete with it."""
        self._hurry.clear()
        last = self._ending
        if self._pending or (last and not (self._rows and self._rows[-1].done)):
            self._rows.append(self._row("".join(self._pending), done=last))
            self._written += self._chars
            self._n += 1
            self._pending, self._chars = [], 0
        return last

    def _row(self, text: str, *, done: bool) -> DeltaRow:
        target, meta = self._effect.stream, self._effect.meta
        assert target is not None and meta is not None
        return DeltaRow(
            run_id=meta.run_id,
            scope=target.scope if target.key else meta.scope,
            key=target.key or meta.key,
            node_id=target.node_id,
            frame=target.frame,
            selector=".".join(target.selector),
            epoch=target.after + self._epoch,
            n=self._n,
            offset=self._written,
            text=text,
            done=done,
        )
