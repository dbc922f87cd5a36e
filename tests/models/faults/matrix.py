"""Play the whole table: all cases side by side, those that kill a worker at a stack of their own."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Sequence
from pathlib import Path

from perdure_worker.settings import WorkerSettings

from .case import Check, Played
from .desk import Desk, at_desk
from .plays import play
from .table import ALL_PLAYED

AT_ONCE = 24

Verdicts = dict[str, list[Check]]


async def play_all(
    settings: WorkerSettings, folder: Path, chosen: Sequence[Played] = ALL_PLAYED, at_once: int = AT_ONCE
) -> Verdicts:
    """Play cases, and give what held, by their ids."""
    deadly = [played for played in chosen if played.case.play == "killed"]
    others = [played for played in chosen if played not in deadly]
    # The slow ones first: they mostly wait.
    others.sort(key=lambda played: played.case.times is not None)
    verdicts: Verdicts = {}
    turns = asyncio.Semaphore(at_once)

    async def one(desk: Desk, played: Played) -> None:
        async with turns:
            verdicts[played.id] = await _verdict(desk, played)

    for part in (others, deadly):
        if part:
            own = folder / ("deadly" if part is deadly else "others")
            own.mkdir()
            async with at_desk(part, settings, own) as desk, asyncio.TaskGroup() as group:
                # Only one worker is killed at a time, and it is everybody's.
                for played in part:
                    task = group.create_task(one(desk, played))
                    if part is deadly:
                        await asyncio.wait((task,))
    return verdicts


async def _verdict(desk: Desk, played: Played) -> list[Check]:
    try:
        return await play(desk, played)
    except Exception as error:
        return [Check(f"it can be played: {''.join(traceback.format_exception(error))[-1500:]}", True, False, False)]
