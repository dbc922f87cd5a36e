"""Follow a run to its end: show its events, answer its forms, leave when it waits for somebody else."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from perdure_graph.errors import CommandRefused
from perdure_graph.events import AgentThought, Event, FormRequired, NodeFinished, RunPaused
from perdure_graph.request import RunResult, RunStatus
from perdure_graph.view import FormView, HeldView

from .connect import Server, patience
from .forms import Answers, ask, can_ask, field_types
from .given import form_values
from .output import INTERRUPTED, Output
from .progress import View

if TYPE_CHECKING:
    from perdure.handle import RunHandle

_COUNT_S = 0.5


@dataclass(frozen=True, slots=True)
class Waiting:
    """The run is paused and nobody here answers these forms, or lets these nodes go on."""

    forms: list[FormView]
    held: list[HeldView]


class Follower:
    """Follows one run. `simulated` are the nodes so far that a fake provider answered."""

    def __init__(self, handle: RunHandle, view: View, answers: Answers, out: Output) -> None:
        self._handle = handle
        self._view = view
        self._answers = answers
        self._out = out
        self._answered: set[str] = set()
        self.simulated: dict[str, None] = {}

    async def follow(self, server: Server | None) -> RunResult | Waiting:
        """Follow to the end, or to the first pause that only an answer from elsewhere ends."""
        counting = asyncio.create_task(self._count())
        try:
            async with patience(self._out.note, server) as heard:
                async for event in self._handle.events():
                    heard()
                    self._view.show(event)
                    self._look(event)
                    if (left := await self._react(event)) is not None:
                        return left
            return await self._handle.result()
        finally:
            counting.cancel()

    def _look(self, event: Event) -> None:
        said = event.process_data.get("simulated") if isinstance(event, NodeFinished) else None
        if said or (isinstance(event, AgentThought) and event.simulated):
            self.simulated[getattr(event, "title", "") or getattr(event, "node_id", "")] = None

    async def _react(self, event: Event) -> Waiting | None:
        match event:
            case FormRequired() if event.key not in self._answered:
                form = FormView(key=event.key, node_id=event.node_id, title=event.title, form=event.form)
                await self._answer_as_told(form)
            case RunPaused():
                return await self._ask()
            case _:
                pass
        return None

    async def _answer_as_told(self, form: FormView) -> bool:
        answer = self._answers.answer(form)
        if answer is None:
            return False
        self._answered.add(form.key)
        values = form_values(field_types(form.form), answer.values)
        try:
            await self._handle.submit(form.key, answer.action, values)
        except CommandRefused:
            if await self._is_open(form.key):
                raise
        return True

    async def _is_open(self, key: str) -> bool:
        return key in {known.key for known in (await self._handle.status(patient=True)).forms}

    async def _ask(self) -> Waiting | None:
        """Ask for open forms until the run goes on, or only somebody else can let it go on.

        Asks the run itself: an answer may have opened the next form without the run ever leaving its pause.
        """
        while True:
            view = await self._handle.status(patient=True)
            if view.status != "paused" or not (view.forms or view.held):
                return None
            told = [await self._answer_as_told(form) for form in view.forms]
            if any(told):
                continue
            if not view.forms or not can_ask():
                return Waiting(view.forms, view.held)
            for form in view.forms:
                self._view.hold()
                if not await self._ask_one(form):
                    return Waiting(view.forms, view.held)

    async def _ask_one(self, form: FormView) -> bool:
        while (answer := await ask(form)) is not None:
            try:
                await self._handle.submit(form.key, *answer)
            except CommandRefused as error:
                self._out.note(f"error: {error}")
                if not await self._is_open(form.key):
                    return True
                continue
            self._answered.add(form.key)
            return True
        return False

    async def _count(self) -> None:
        while True:
            await asyncio.sleep(_COUNT_S)
            if self._view.board.counts:
                with suppress(CommandRefused):
                    self._view.count(await self._handle.status(patient=True))


@contextmanager
def interrupts() -> Generator[asyncio.Event]:
    """Turn the first Ctrl-C (or SIGTERM) of the block into an event; the second one ends the process at once."""
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()

    def heard() -> None:
        if asked.is_set():
            os._exit(INTERRUPTED)
        asked.set()

    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, heard)
    try:
        yield asked
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


async def unless(asked: asyncio.Event, work: asyncio.Task[Any]) -> bool:
    """Wait for the work; False when the event came first (the work is cancelled then)."""
    waiting = asyncio.create_task(asked.wait())
    await asyncio.wait({work, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if work.done():
        return True
    work.cancel()
    with suppress(asyncio.CancelledError):
        await work
    return False


def settled(status: RunStatus | str) -> bool:
    """Whether a run of this status did what it should."""
    return status in ("succeeded", "partial-succeeded")
