"""Reading the store: for clients, the command line and the HTTP API. Needs no worker and no Temporal.

async with Store.open(url) as store:
    async for stored in store.follow(run_id):
        ...
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import ColumnElement, func, select, text, tuple_
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from perdure_graph.errors import PlatformError, RunNotFound

from . import delta_rows, migrate, usage_rows
from .agent_tables import MEMORIES, THREADS
from .database import Address, connect, parse
from .follow import POLL_S, Wakes, follow, wakes
from .ledger_records import DeltaRow, UsageReport
from .ledger_tables import ANSWERS, DELTAS, USAGE
from .records import BlobRecord, Contents, NodeRecord, RunRecord, StoredEvent, WaitRecord
from .rows import ends_around, ends_of, node_record, run_record, wait_record
from .tables import BLOBS, EVENTS, NODES, RESULTS, RUNS, WAITS

PAGE = 500
_MADE_YET_S = 0.1

_SIZE = {
    "sqlite": "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
    "postgresql": "SELECT pg_database_size(current_database())",
}


class Store:
    """A run store open for reading."""

    def __init__(self, address: Address, engine: AsyncEngine, news: Wakes) -> None:
        self.address = address
        self._engine = engine
        self._wakes = news

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, *, poll_s: float = POLL_S, wait_s: float = 0.0) -> AsyncGenerator[Store]:
        """Open a store for the length of the block.

        poll_s: how often `follow` looks for news by itself.
        wait_s: how long to wait for a worker that has just been started to make the tables.

        Raises:
            PlatformError: there is none at this URL, it does not answer, or its tables are of another version.
        """
        address = parse(url)
        deadline = time.monotonic() + wait_s
        while address.path is not None and not address.path.exists():
            if time.monotonic() > deadline:
                raise PlatformError(
                    f"There is no run store {str(address.path)!r}. A worker makes it with its first run; "
                    "say where it is with --store or PERDURE_STORE."
                )
            await asyncio.sleep(_MADE_YET_S)
        engine = connect(address)
        try:
            await _checked(engine, address, deadline)
            async with wakes(address, engine, poll_s) as news:
                yield cls(address, engine, news)
        finally:
            await engine.dispose()

    async def runs(
        self, *, status: str | None = None, flow: str | None = None, limit: int = 100, before: str | None = None
    ) -> list[RunRecord]:
        """List runs, newest first. `flow` is a graph's name; `before` is the id of the last run of the page before.

        Raises:
            RunNotFound: there is no run `before`.
        """
        query = select(RUNS).order_by(RUNS.c.started_at.desc(), RUNS.c.id.desc()).limit(limit)
        if status is not None:
            query = query.where(RUNS.c.status == status)
        if flow is not None:
            query = query.where(RUNS.c.graph == flow)
        if before is not None:
            last = await self.run(before)
            query = query.where(tuple_(RUNS.c.started_at, RUNS.c.id) < tuple_(last.started_at, last.id))
        async with _reading(self._engine, self.address) as connection:
            return [run_record(row) for row in (await connection.execute(query)).mappings()]

    async def run(self, run_id: str) -> RunRecord:
        """Give one run.

        Raises:
            RunNotFound: none of its events is recorded.
        """
        async with _reading(self._engine, self.address) as connection:
            row = (await connection.execute(select(RUNS).where(RUNS.c.id == run_id))).mappings().one_or_none()
        if row is None:
            raise RunNotFound(f"the run store {self.address} has no run {run_id!r}.")
        return run_record(row)

    async def turns_begun(self, conversation_id: str, tenant: str) -> int:
        """Count the runs that are turns of a conversation, however they ended."""
        where = (RUNS.c.conversation_id == conversation_id, RUNS.c.tenant == tenant)
        query = select(func.count()).select_from(RUNS).where(*where)
        async with _reading(self._engine, self.address) as connection:
            return (await connection.execute(query)).scalar_one()

    async def events(
        self, run_id: str, after_position: int = 0, limit: int = PAGE, *, scope: str | None = None
    ) -> list[StoredEvent]:
        """Give a page of the events of a run and its windows, or of one `scope`, in the order they were recorded."""
        where = [EVENTS.c.run_id == run_id, EVENTS.c.position > after_position]
        if scope is not None:
            where.append(EVENTS.c.scope == scope)
        return await self._events(where, EVENTS.c.position, limit)

    async def events_of_scope(
        self, run_id: str, scope: str = "", after_seq: int = 0, limit: int = PAGE
    ) -> list[StoredEvent]:
        """Give a page of the events of one scope in the order of their numbers; the scope of the run itself is ""."""
        where = [EVENTS.c.run_id == run_id, EVENTS.c.scope == scope, EVENTS.c.seq > after_seq]
        return await self._events(where, EVENTS.c.seq, limit)

    async def events_of_children(self, run_id: str, after_position: int = 0, limit: int = PAGE) -> list[StoredEvent]:
        """Give a page of the events of all that a run has below it, in the order they were recorded."""
        where = [EVENTS.c.run_id == run_id, EVENTS.c.scope != "", EVENTS.c.position > after_position]
        return await self._events(where, EVENTS.c.position, limit)

    async def position_of(self, run_id: str, seq: int) -> int:
        """Give the position at which an event of the run itself was recorded; 0 where it is not yet."""
        where = (EVENTS.c.run_id == run_id, EVENTS.c.scope == "", EVENTS.c.seq == seq)
        async with _reading(self._engine, self.address) as connection:
            return (await connection.execute(select(EVENTS.c.position).where(*where))).scalar_one_or_none() or 0

    async def _events(
        self, where: list[ColumnElement[bool]], order: ColumnElement[Any], limit: int
    ) -> list[StoredEvent]:
        query = select(EVENTS.c.position, EVENTS.c.scope, EVENTS.c.data).where(*where).order_by(order).limit(limit)
        async with _reading(self._engine, self.address) as connection:
            return [
                StoredEvent(position=row["position"], scope=row["scope"], data=row["data"])
                for row in (await connection.execute(query)).mappings()
            ]

    def follow(self, run_id: str, after_position: int = 0) -> AsyncGenerator[StoredEvent]:
        """Yield the events of a run and its windows as they are recorded, until the log of the run is complete.

        A run that is not recorded yet is waited for.
        """
        return follow(self, self._wakes, run_id, after_position)

    async def is_complete(self, run_id: str) -> tuple[bool, bool]:
        """Say whether the end of a run is recorded, and whether all events of it and of its windows are."""
        query = (
            select(
                EVENTS.c.scope,
                func.count().label("count"),
                func.max(EVENTS.c.seq).label("last"),
                func.count().filter(EVENTS.c.type == "run_finished").label("ends"),
            )
            .where(EVENTS.c.run_id == run_id)
            .group_by(EVENTS.c.scope)
        )
        windows = select(EVENTS.c.data).where(EVENTS.c.run_id == run_id, EVENTS.c.type == "iteration_window")
        async with _reading(self._engine, self.address) as connection:
            done = select(RUNS.c.finished_at).where(RUNS.c.id == run_id)
            if (await connection.execute(done)).scalar_one_or_none() is None:
                return False, False
            found = {row["scope"]: row for row in (await connection.execute(query)).mappings()}
            scopes = ["", *(data["scope"] for data in (await connection.execute(windows)).scalars())]
        whole = [bool(row["ends"]) and row["count"] == row["last"] for scope in scopes if (row := found.get(scope))]
        return True, len(whole) == len(scopes) and all(whole)

    async def nodes(self, run_id: str) -> list[NodeRecord]:
        """Give the nodes of a run and its windows in the order in which they started."""
        query = select(NODES).where(NODES.c.run_id == run_id).order_by(NODES.c.started_at, NODES.c.scope, NODES.c.seq)
        async with _reading(self._engine, self.address) as connection:
            rows = list((await connection.execute(query)).mappings())
            over = await connection.execute(select(RUNS.c.finished_at).where(RUNS.c.id == run_id))
            ended = over.scalar_one_or_none() is not None
        ends = ends_of(rows)
        return [node_record(row, ended=ended, ends=ends) for row in rows]

    async def contents(self) -> Contents:
        """Count what is in the store."""
        tables = {"runs": RUNS, "nodes": NODES, "events": EVENTS, "waits": WAITS, "blobs": BLOBS, "results": RESULTS}
        tables |= {"answers": ANSWERS, "deltas": DELTAS, "calls": USAGE}
        tables |= {"messages": THREADS, "memories": MEMORIES}
        size = _SIZE[self.address.kind]
        async with _reading(self._engine, self.address) as connection:
            counts = {
                name: (await connection.execute(select(func.count()).select_from(table))).scalar_one()
                for name, table in tables.items()
            }
            unfinished = select(func.count()).select_from(RUNS).where(RUNS.c.finished_at.is_(None))
            counts["open_runs"] = (await connection.execute(unfinished)).scalar_one()
            counts["bytes"] = (await connection.execute(text(size))).scalar_one()
        return Contents(**counts)

    async def blobs(self, run_id: str) -> list[BlobRecord]:
        """Give the large values that workers put into the blob store for a run; the oldest first."""
        query = select(BLOBS).where(BLOBS.c.run_id == run_id).order_by(BLOBS.c.created_at, BLOBS.c.key)
        async with _reading(self._engine, self.address) as connection:
            return [BlobRecord.model_validate(dict(row)) for row in (await connection.execute(query)).mappings()]

    async def usage(
        self, *, run_id: str | None = None, tenant: str | None = None, since: int | None = None, limit: int = 1000
    ) -> UsageReport:
        """Give what calls of models used: of a run, of a tenant, since a time, or of all; `limit` one by one."""
        async with _reading(self._engine, self.address) as connection:
            return await connection.run_sync(usage_rows.usage, run_id, tenant, since, limit)

    async def deltas(
        self, run_id: str, scope: str, key: str, min_epoch: int = 1, after_n: int = -1, limit: int = PAGE
    ) -> list[DeltaRow]:
        """Give pieces of an answer in their order: of `min_epoch` those after number `after_n`, of later ones all."""
        async with _reading(self._engine, self.address) as connection:
            return await connection.run_sync(delta_rows.deltas, run_id, scope, key, min_epoch, after_n, limit)

    async def waits(self, run_id: str | None = None, *, open_only: bool = True) -> list[WaitRecord]:
        """Give the forms and held nodes of one run, or of all; the oldest first."""
        query = select(WAITS, RUNS.c.finished_at).join(RUNS, RUNS.c.id == WAITS.c.run_id)
        query = query.where(WAITS.c.opened_seq > 0).order_by(WAITS.c.opened_at, WAITS.c.run_id, WAITS.c.key)
        if run_id is not None:
            query = query.where(WAITS.c.run_id == run_id)
        if open_only:
            query = query.where(WAITS.c.opened_seq > WAITS.c.closed_seq, RUNS.c.finished_at.is_(None))
        async with _reading(self._engine, self.address) as connection:
            rows = list((await connection.execute(query)).mappings())
            ends = await ends_around(connection, rows)
        found = [wait_record(row, ends.get(row["run_id"], {})) for row in rows]
        return [wait for wait in found if not open_only or wait.closed_at is None]


async def _checked(engine: AsyncEngine, address: Address, deadline: float) -> None:
    while True:
        try:
            async with _reading(engine, address) as connection:
                await migrate.check(connection, address)
            return
        except PlatformError:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(_MADE_YET_S)


@asynccontextmanager
async def _reading(engine: AsyncEngine, address: Address) -> AsyncGenerator[AsyncConnection]:
    try:
        async with engine.connect() as connection:
            yield connection
    except (SQLAlchemyError, OSError, TimeoutError) as error:
        text = str(error).partition("\n")[0] or "it does not answer"
        raise PlatformError(f"The run store {address} cannot be read: {text}") from error
