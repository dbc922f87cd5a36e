"""What the run store holds of a run: read with SQL, past the code that serves it."""

from __future__ import annotations

import asyncio
import time

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from perdure_store.database import connect, parse
from perdure_store.tables import EVENTS

_AGAIN_S = 0.2


async def recorded(url: str, run_id: str) -> dict[str, list[int]]:
    """Numbers of the recorded events of a run, by scope, as they stand there."""
    engine = connect(parse(url))
    c = EVENTS.c
    try:
        async with engine.connect() as connection:
            rows = await connection.execute(select(c.scope, c.seq).where(c.run_id == run_id).order_by(c.scope, c.seq))
            found: dict[str, list[int]] = {}
            for scope, seq in rows:
                found.setdefault(scope, []).append(seq)
            return found
    finally:
        await engine.dispose()


async def complete(url: str, run_id: str, counts: dict[str, int], limit_s: float) -> dict[str, list[int]]:
    """Wait until so many events of each scope are recorded; gives those that are wrong at the end of the limit."""
    wanted = {scope: list(range(1, count + 1)) for scope, count in counts.items()}
    deadline = time.monotonic() + limit_s
    while True:
        try:
            found = await recorded(url, run_id)
            if found == wanted:
                return {}
        except (SQLAlchemyError, OSError) as error:
            found = {f"{type(error).__name__}: {error}": []}
        if time.monotonic() > deadline:
            return {scope: numbers for scope, numbers in found.items() if wanted.get(scope) != numbers} | {
                scope: [] for scope in wanted.keys() - found.keys()
            }
        await asyncio.sleep(_AGAIN_S)
