"""Which database, and how to speak to it: one URL, SQLite or PostgreSQL."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from perdure_graph.errors import PlatformError

from .urls import Kind, kind_of

MAX_KEY = 500

_WRITES = "perdure_writes"
AnyEngine = TypeVar("AnyEngine", Engine, AsyncEngine)

_DRIVERS: dict[Kind, str] = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}


@dataclass(frozen=True, slots=True)
class Address:
    """Where the store is. `path` is the file of SQLite."""

    kind: Kind
    url: URL
    path: Path | None = None

    def __str__(self) -> str:
        """Show it without the password."""
        return self.url.set(drivername=self.kind).render_as_string(hide_password=True)


def parse(text: str) -> Address:
    """Read `sqlite:///path`, `postgresql://user@host/name`, or the bare path of an SQLite file.

    Raises:
        PlatformError: it is none of these.
    """
    kind = kind_of(text)
    if "://" not in text:
        text = f"sqlite:///{Path(text).expanduser()}"
    try:
        url = make_url(text).set(drivername=_DRIVERS[kind])
    except (ArgumentError, ValueError) as error:
        raise PlatformError(f"The URL of the {kind} run store cannot be read. Correct PERDURE_STORE.") from error
    if kind == "sqlite":
        if not url.database or url.database == ":memory:":
            raise PlatformError("A run store in SQLite needs a file: write sqlite:///path in PERDURE_STORE.")
        return Address(kind, url, Path(url.database))
    query = dict(url.query)
    if "sslmode" in query:  # what libpq calls it; our driver says `ssl`
        query["ssl"] = query.pop("sslmode")
    return Address(kind, url.set(query=query))


def connect(address: Address, *, wait_s: float = 5.0, foreign_keys: bool = True) -> AsyncEngine:
    """Make an engine; it connects when first used.

    wait_s: how long to wait for a connection, and for another writer of an SQLite file.
    foreign_keys: whether SQLite minds them; a migration that makes a table anew must not lose what refers to it.
    """
    arguments: dict[str, Any] = {"timeout": wait_s}
    if address.kind == "postgresql":
        arguments["server_settings"] = {"application_name": "perdure"}
    engine = create_async_engine(
        address.url, json_serializer=to_json, connect_args=arguments, pool_size=4, max_overflow=4, pool_timeout=wait_s
    )
    if address.kind == "sqlite":
        _set_up_sqlite(engine.sync_engine, wait_s, foreign_keys=foreign_keys)
        _begin_by_option(engine.sync_engine)
    return engine


class Local:
    """A connection without asyncio to the SQLite file of an engine; to be used by one thread."""

    def __init__(self, engine: AsyncEngine, *, wait_s: float) -> None:
        self._engine = create_engine(
            engine.url.set(drivername="sqlite+pysqlite"),
            json_serializer=to_json,
            connect_args={"timeout": wait_s, "check_same_thread": False},
            pool_size=1,
            max_overflow=0,
        )
        _set_up_sqlite(self._engine, wait_s)
        self._connection: Connection | None = None

    @contextmanager
    def transaction(self, *, writes: bool) -> Generator[Connection]:
        """Begin a transaction; it is undone where what is done in it raises."""
        # Kept from one to the next: to take a connection from a pool and give it back takes longer than a statement.
        connection = self._connection = self._connection or self._engine.connect()
        with connection.begin():
            # Not by a listener, as for other engines: with one, every statement looks for listeners of all kinds.
            connection.exec_driver_sql(_begin(writes=writes))
            yield connection

    def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None:
            self._connection.close()
        self._engine.dispose()


def writing(engine: AnyEngine) -> AnyEngine:
    """Give the engine for transactions that write: in SQLite they lock when they begin, not in their middle."""
    return engine.execution_options(**{_WRITES: True})


def _set_up_sqlite(engine: Engine, wait_s: float, *, foreign_keys: bool = True) -> None:
    def connected(connection: Any, _record: Any) -> None:
        # The driver would begin transactions by its own rules: too late for DDL, and never for reads.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {int(wait_s * 1000)}")
        cursor.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")
        cursor.execute("PRAGMA synchronous = NORMAL")
        cursor.close()

    event.listen(engine, "connect", connected)


def _begin_by_option(engine: Engine) -> None:
    def begun(connection: Connection) -> None:
        connection.exec_driver_sql(_begin(writes=connection.get_execution_options().get(_WRITES, False)))

    event.listen(engine, "begin", begun)


def _begin(*, writes: bool) -> str:
    return "BEGIN IMMEDIATE" if writes else "BEGIN"


def to_json(value: Any) -> str:
    """Write JSON that both databases take: ASCII, and null for what is no number."""
    try:
        return json.dumps(value, allow_nan=False, default=str)
    except ValueError:
        return json.dumps(_finite(value), default=str)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(entry) for name, entry in cast("dict[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in cast("list[Any]", value)]
    return value


def short(text: str) -> str:
    """Make a text one that an index takes: what is long keeps its beginning and a hash."""
    text = plain(text)
    if len(text) <= MAX_KEY:
        return text
    return f"{text[: MAX_KEY - 65]}#{hashlib.sha256(text.encode()).hexdigest()}"


def plain(text: str) -> str:
    """Replace what no database keeps in a text column: NUL, and halves of surrogate pairs."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
