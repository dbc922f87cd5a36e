"""What the run store holds of a run: read with SQL, past the code that serves it."""

from __future__ import annotations

import asyncio
import time

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from perdure_store.database import connect, parse
from perdure_store.tables import EVENTS

_AGAIN_S = 0.2


# Number in its scope, number in the run and type of each event of a scope.
Rows = list[tuple[int, int, str]]


async def recorded(url: str, run_id: str) -> dict[str, Rows]:
    """Events of a run, by scope, as they stand there."""
    engine = connect(parse(url))
    c = EVENTS.c
    wanted = select(c.scope, c.seq, c.position, c.type).where(c.run_id == run_id).order_by(c.scope, c.seq)
    try:
        async with engine.connect() as connection:
            found: dict[str, Rows] = {}
            for scope, seq, position, kind in await connection.execute(wanted):
                found.setdefault(scope, []).append((seq, position, kind))
            return found
    finally:
        await engine.dispose()


def lasting(rows: Rows, passing: frozenset[str]) -> int:
    """How many events there are beside those of which a run may have more or fewer."""
    return sum(kind not in passing for _, _, kind in rows)


async def complete(url: str, run_id: str, counts: dict[str, int], passing: frozenset[str], limit_s: float) -> list[str]:
    """Wait until so many events of each scope, see `lasting`, are there without gaps; else say what is wrong."""
    deadline = time.monotonic() + limit_s
    while True:
        try:
            found = await recorded(url, run_id)
            wrong = [
                problem
                for scope in counts.keys() | found.keys()
                for problem in _wrong(scope, found.get(scope, []), counts.get(scope, 0), passing)
            ]
            wrong += _wrong_order(found)
        except (SQLAlchemyError, OSError) as error:
            wrong = [f"the run store cannot be read: {type(error).__name__}: {error}"]
        if not wrong or time.monotonic() > deadline:
            return wrong
        await asyncio.sleep(_AGAIN_S)


def _wrong(scope: str, rows: Rows, count: int, passing: frozenset[str]) -> list[str]:
    where = f"scope {scope!r} of the run store"
    numbers = [number for number, _, _ in rows]
    wrong: list[str] = []
    if numbers != list(range(1, len(rows) + 1)):
        wrong.append(f"{where} has the numbers {numbers}")
    if (there := lasting(rows, passing)) != count:
        wrong.append(f"{where} has {there} events instead of {count}: {rows}")
    return wrong


def _wrong_order(found: dict[str, Rows]) -> list[str]:
    positions = sorted(position for rows in found.values() for _, position, _ in rows)
    right = positions == list(range(1, len(positions) + 1))
    return [] if right else [f"the events of all scopes together have the numbers {positions}"]
