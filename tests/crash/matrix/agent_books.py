"""What is known of an agent's run beside its events: what its models were asked and paid, and what was said in it."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import Select, select

from perdure_fake import Entry, FakeProvider
from perdure_store.agent_tables import THREADS
from perdure_store.database import connect, parse
from perdure_store.ledger_tables import ANSWERS, USAGE
from perdure_store.tables import EVENTS

from . import agent_flow
from .piece import Account

if TYPE_CHECKING:
    from .play import Run

_AGAIN_S = 0.1
_LIMIT_S = 30.0
_ASKED = re.compile(r"You are (\w+)\. Case ([\w-]+)\.")
_THOUGHT = "agent_thought"
# Of a thought: names that are made of the run's id, and times.
_OWN = frozenset({"id", "thread", "seq", "at", "usage"})
_TIMES = frozenset({"elapsed"})

# Agent, and number of the round.
Round = tuple[str, int]


async def _rows(url: str, query: Select[Any]) -> list[Any]:
    engine = connect(parse(url))
    try:
        async with engine.connect() as connection:
            return [*await connection.execute(query)]
    finally:
        await engine.dispose()


@dataclass
class Requests:
    """The requests to the fake provider by case, read from its journal bit by bit."""

    provider: FakeProvider
    _found: dict[int, Entry] = field(default_factory=dict[int, Entry])
    _over: int = 0

    async def of(self, case: str) -> list[tuple[Round, Entry]]:
        """Give those of a case, once none of them goes on."""
        async with asyncio.timeout(_LIMIT_S):
            while True:
                for entry in await self.provider.journal(since=self._over):
                    self._found[entry.n] = entry
                while (entry := self._found.get(self._over + 1)) is not None and entry.done:
                    self._over += 1
                found = [read for entry in self._found.values() if (read := _read(entry, case)) is not None]
                if all(entry.done for _, entry in found):
                    return found
                await asyncio.sleep(_AGAIN_S)

    async def came(self, case: str, wanted: Round) -> bool:
        """Wait until a round is asked for; its answer is on its way then."""
        while True:
            for entry in await self.provider.journal(since=self._over):
                if (read := _read(entry, case)) is not None and read[0] == wanted:
                    return True
            await asyncio.sleep(_AGAIN_S / 2)


def _read(entry: Entry, case: str) -> tuple[Round, Entry] | None:
    body: Any = entry.body
    messages = body.get("messages") or [{}]
    asked = _ASKED.match(str(messages[0].get("content")))
    if asked is None or asked[2] != case:
        return None
    return (asked[1], 1 + sum(message["role"] == "assistant" for message in messages)), entry


async def account(requests: Requests, run: Run) -> Account:
    """Compare what the provider was asked with what is booked: every round is paid once, and nothing is forgotten."""
    url, run_id = run.stand.store, run.handle.run_id
    u = USAGE.c
    booked = await _rows(url, select(u.scope, u.key, u.outcome, u.request_id).where(u.run_id == run_id))
    kept = await _rows(url, select(ANSWERS.c.key, ANSWERS.c.created_at).where(ANSWERS.c.run_id == run_id))
    kept_at = dict(map(tuple, kept))
    asked = await requests.of(run.case)
    paid = [(_round(row.scope, row.key), row.request_id) for row in booked if row.outcome == "answer"]
    found = Account(calls=len(paid), again=len(asked) - len(paid))
    times = Counter(number for number, _ in paid)
    found.lost.extend(f"round {_name(one)} was not paid" for one in agent_flow.rounds() if not times[one])
    found.doubled.extend(f"round {_name(one)} was paid {count} times" for one, count in times.items() if count > 1)
    answered = {entry.request_id: number for number, entry in asked if entry.finished and entry.status == 200}
    found.lost.extend(f"{name} was paid, but not answered" for number, name in paid if answered.get(name) != number)
    wasted = Counter(_round(row.scope, row.key) for row in booked if row.outcome == "wasted")
    names = {name for _, name in paid}
    others = Counter(number for number, entry in asked if entry.request_id not in names)
    found.lost.extend(f"a request for round {_name(one)} is not booked" for one in (others - wasted))
    late = [number for number, entry in asked if entry.time * 1000 > kept_at.get(_key(run_id, number), float("inf"))]
    found.doubled.extend(f"round {_name(one)} was asked for though its answer was kept" for one in late)
    return found


def _round(scope: str, key: str) -> Round:
    return ("helper" if scope else "boss", int(key.rpartition("#r")[2]))


def _key(run_id: str, number: Round) -> str:
    return f"{run_id}/{agent_flow.SCOPES[number[0]]}/agent#r{number[1]}"


def _name(number: Round) -> str:
    return f"{number[1]} of {number[0]}"


async def story(run: Run) -> dict[str, Any]:
    """Tell what was said: the messages in the run store, thread by thread, and the thoughts as they ended."""
    url, run_id = run.stand.store, run.handle.run_id
    t, e = THREADS.c, EVENTS.c
    ordered = select(t.thread, t.position, t.message).where(t.run_id == run_id).order_by(t.thread, t.position)
    said: dict[str, list[Any]] = {}
    for thread, position, message in await _rows(url, ordered):
        said.setdefault(_neutral(thread, run), []).append([position, _neutral(message, run)])
    told = select(e.scope, e.data).where(e.run_id == run_id, e.type == _THOUGHT).order_by(e.scope, e.seq)
    thoughts: dict[str, Any] = {}
    for scope, thought in await _rows(url, told):
        thoughts[f"{scope}:{thought['position']}"] = _neutral(_timeless(thought), run)
    return {"threads": said, "thoughts": thoughts}


def _timeless(thought: dict[str, Any]) -> dict[str, Any]:
    calls = [{name: value for name, value in call.items() if name not in _TIMES} for call in thought["calls"]]
    return {name: value for name, value in thought.items() if name not in _OWN} | {"calls": calls}


def _neutral(value: Any, run: Run) -> Any:
    """Take the names of the run and of its case out."""
    return json.loads(json.dumps(value).replace(run.handle.run_id, "<run>").replace(run.case, "<case>"))
