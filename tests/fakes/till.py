"""What tests of money share: a fake provider whose every answer costs the same, a models file, and a look at the books.

An answer has `TOKENS` tokens, of which a request may have no more, and only they cost anything: so what is reserved for
a call is its price, and a budget is good for a known number of calls.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select

from fakes.graphs import document, end, node, start
from perdure import Graph, RunHandle
from perdure_fake import Entry, FakeProvider
from perdure_graph.events import Event, TextChunk, TextRewind
from perdure_store import migrate
from perdure_store.database import parse
from perdure_store.ledger import Ledger
from perdure_store.ledger_records import NANOS, Spent, UsageRow
from perdure_store.ledger_tables import ANSWERS, RESERVATIONS
from perdure_store.recorder import Recorder

TOKENS = 40
PRICE = Decimal("0.02")
UNIT = int(PRICE * NANOS)
WORDS = tuple(f"w{number} " for number in range(TOKENS))
TEXT = "".join(WORDS)
REPLY: dict[str, Any] = {"chunks": WORDS, "usage": {"prompt": 12, "completion": TOKENS}}

KEY = "PERDURE_TEST_PROVIDER_KEY"
MODEL: dict[str, Any] = {
    "provider": "openai",
    "name": "gpt-4o",
    "mode": "chat",
    "completion_params": {"max_tokens": TOKENS},
}


def money(calls: float) -> str:
    """Write the price of so many calls."""
    return str(PRICE * Decimal(str(calls)))


def deployment(name: str, provider: FakeProvider, **more: Any) -> dict[str, Any]:
    """One that is served by a fake provider. Its key is in the variable `KEY`."""
    given = {"name": name, "provider": "openai", "wire": "openai-chat", "base_url": provider.openai_url}
    return {**given, "credential": {"env": KEY}, "allow_private": True, **more}


def write_models(path: Path, *deployments: dict[str, Any], **more: Any) -> Path:
    """Write a models file, in which every model has the price that the tests reckon with."""
    prices = {"*": {"input": "0", "output": str(PRICE / TOKENS * 1_000_000)}}
    # JSON is YAML.
    path.write_text(json.dumps({"deployments": deployments, "prices": prices, **more}))
    return path


def question(number: int) -> str:
    """What the run of that number asks."""
    return f"question {number}."


def asking(**options: Any) -> Graph:
    """A flow of one llm node, `ask`."""
    prompt = [{"role": "user", "text": question(0).replace("0", "{{#start.n#}}")}]
    ask = node("ask", "llm", model=MODEL, prompt_template=prompt, context={"enabled": False}, **options)
    edges: list[tuple[str, ...]] = [("start", "ask"), ("ask", "end")]
    return Graph.from_document(document([start(n="number"), ask, end(text=["ask", "text"])], edges))


def telling() -> Graph:
    """A chat flow that prints what a model says, with something before and after it."""
    prompt = [{"role": "user", "text": "{{#sys.query#}}"}]
    ask = node("ask", "llm", model=MODEL, prompt_template=prompt, context={"enabled": False})
    answer = node("answer", "answer", answer="> {{#ask.text#}}<")
    edges: list[tuple[str, ...]] = [("start", "ask"), ("ask", "answer")]
    return Graph.from_document(document([start(), ask, answer], edges, mode="advanced-chat"))


TOLD = f"> {TEXT}<"


@dataclass
class Screen:
    """A reader: appends the text of every chunk, and cuts where it is told to.

    live: pieces that came while they were written. longest: the most text there ever was.
    """

    text: str = ""
    live: int = 0
    rewinds: int = 0
    seq: int = 0
    longest: int = 0

    def take(self, event: Event) -> None:
        """Take what a reader is told."""
        self.seq = event.seq
        match event:
            case TextChunk():
                self.text += event.text
                self.live += event.live
                self.longest = max(self.longest, len(self.text))
            case TextRewind():
                self.text = self.text[: event.to]
                self.rewinds += 1
            case _:
                pass

    async def read(self, handle: RunHandle) -> str:
        """Read on to the end of a run; gives what is there then."""
        async for event in handle.events(self.seq):
            self.take(event)
        return self.text


@dataclass(frozen=True)
class Kept:
    """An answer in the store, and when it got there, in milliseconds since the epoch."""

    run_id: str
    created_at: int


@dataclass
class Books:
    """What a store says of calls of models, read while workers write it.

    most: the highest that was ever seen spent and reserved of a budget, by its scope.
    """

    ledger: Ledger
    recorder: Recorder
    most: dict[str, int] = field(default_factory=dict[str, int])
    looks: int = 0

    async def look(self, scope: str) -> Spent:
        """See how a budget stands, and remember the most of it."""
        spent = (await self.ledger.spent([scope]))[scope]
        self.looks += 1
        self.most[scope] = max(self.most.get(scope, 0), spent.money + spent.reserved_money)
        return spent

    async def rows(self) -> tuple[UsageRow, ...]:
        """Give every call that is accounted."""
        return (await self.ledger.usage(limit=10_000)).rows

    async def reserved(self) -> int:
        """Count the calls that hold something."""

        def work(connection: Connection) -> int:
            return connection.execute(select(func.count()).select_from(RESERVATIONS)).scalar_one()

        return await self.recorder.transact(work, writes=False)

    async def answers(self) -> list[Kept]:
        """Give the answers that are kept."""

        def work(connection: Connection) -> list[Kept]:
            found = connection.execute(select(ANSWERS.c.run_id, ANSWERS.c.created_at))
            return [Kept(row.run_id, row.created_at) for row in found]

        return await self.recorder.transact(work, writes=False)


@asynccontextmanager
async def books(url: str) -> AsyncGenerator[Books]:
    """Open the books of a store, made if need be."""
    await migrate.upgrade(parse(url))
    recorder = Recorder(url, limit_s=10.0)
    try:
        yield Books(Ledger(recorder), recorder)
    finally:
        await recorder.close()


def cost(rows: Iterable[UsageRow]) -> int:
    """Add up what calls cost, in nanos."""
    return sum(int(Decimal(row.price) * NANOS) for row in rows)


def billed(entries: Iterable[Entry]) -> int:
    """Add up what the provider charges, in nanos."""
    return sum(entry.usage.completion * UNIT // TOKENS for entry in entries if entry.usage is not None)


def asked(entry: Entry) -> str:
    """Give the last message of a request."""
    assert isinstance(entry.body, dict)
    messages: Any = entry.body["messages"]
    return str(messages[-1]["content"])
