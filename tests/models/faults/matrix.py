"""Play the whole table: most cases side by side, those that kill a worker at a stack of their own."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from perdure_worker.settings import WorkerSettings

from .case import Check, Played
from .desk import Desk, at_desk
from .plays import play
from .table import ALL_PLAYED

AT_ONCE = 16
# A machine that stands still for the length of a heartbeat costs whatever is under way an attempt. What has another
# reason shows alone as well.
MOST_AGAIN = 6

Verdicts = dict[str, list[Check]]


async def play_all(
    settings: WorkerSettings, folder: Path, chosen: Sequence[Played] = ALL_PLAYED, at_once: int = AT_ONCE
) -> Verdicts:
    """Play cases, and give what held, by their ids; a few that did not hold side by side are played again alone."""
    verdicts = await _play_each(settings, folder / "together", chosen, at_once)
    broken = [played for played in chosen if not all(check.holds for check in verdicts[played.id])]
    if 0 < len(broken) <= MOST_AGAIN:
        verdicts |= await _play_each(settings, folder / "alone", broken, 1)
    return verdicts


async def _play_each(settings: WorkerSettings, folder: Path, chosen: Sequence[Played], at_once: int) -> Verdicts:
    deadly = [played for played in chosen if played.case.play == "killed"]
    heavy = [played for played in chosen if played.case.row == 42]
    others = [played for played in chosen if played not in deadly and played not in heavy]
    verdicts: Verdicts = {}
    if others or heavy:
        async with _desk(others + heavy, settings, folder / "others") as desk:
            await _play(desk, others, verdicts, at_once)
            await _play(desk, heavy, verdicts, 1)
    if deadly:
        async with _desk(deadly, settings, folder / "deadly") as desk:
            await _play(desk, deadly, verdicts, 1)
    return verdicts


def _desk(chosen: Sequence[Played], settings: WorkerSettings, folder: Path) -> AbstractAsyncContextManager[Desk]:
    folder.mkdir(parents=True)
    return at_desk(chosen, settings, folder)


async def _play(desk: Desk, chosen: Sequence[Played], verdicts: Verdicts, at_once: int) -> None:
    turns = asyncio.Semaphore(at_once)

    async def one(played: Played) -> None:
        async with turns:
            verdicts[played.id] = await _verdict(desk, played)

    async with asyncio.TaskGroup() as group:
        for played in chosen:
            group.create_task(one(played))


async def _verdict(desk: Desk, played: Played) -> list[Check]:
    try:
        return await play(desk, played)
    except Exception as error:
        return [Check(f"it can be played: {''.join(traceback.format_exception(error))[-1500:]}", True, False, False)]
