"""Migrations: the tables of a store follow the revision of this package.

A worker brings an SQLite file up by itself. PostgreSQL is migrated by the operator (`perdure store migrate`): what
several workers share must not change because one of them was started early.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from perdure_graph.errors import PlatformError

from .database import Address, connect, writing
from .tables import METADATA

HEAD = "0003"
# Not alembic's own name for it: the database may be home to other migrations.
VERSION_TABLE = "perdure_store_version"

_SCRIPTS = "perdure_store:migrations"
_LOCK = 7_736_114_255
_TRIES = 20


async def upgrade(address: Address, revision: str = "head") -> None:
    """Bring the tables up to a revision, making them where there are none. Two callers at once take turns.

    Raises:
        PlatformError: the database does not answer, or refuses.
    """

    def work(connection: Connection) -> None:
        from alembic import command

        command.upgrade(_config(connection), revision)

    await _migrate(address, work)


async def make(address: Address) -> None:
    """Make the tables of a new store as the last revision has them, without the weight of alembic; else upgrade it.

    Raises:
        PlatformError: the database does not answer, or refuses.
    """

    def work(connection: Connection) -> None:
        # Asked again now that nobody else can write: two workers may have started at once.
        if inspect(connection).has_table(VERSION_TABLE):
            return
        METADATA.create_all(connection)
        connection.execute(text(f"CREATE TABLE {VERSION_TABLE} (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
        connection.execute(text(f"INSERT INTO {VERSION_TABLE} VALUES (:head)"), {"head": HEAD})  # noqa: S608 - a constant

    if revision_of_file(address) is None:
        await _migrate(address, work)
    if revision_of_file(address) != HEAD:
        await upgrade(address)


async def downgrade(address: Address, revision: str) -> None:
    """Take the tables back to a revision; `base` drops them with all they hold.

    Raises:
        PlatformError: the database does not answer, or there is no such revision.
    """

    def work(connection: Connection) -> None:
        from alembic import command

        command.downgrade(_config(connection), revision)

    await _migrate(address, work)


async def current(connection: AsyncConnection) -> str | None:
    """Give the revision of the tables; None where there are none."""

    def find(sync: Connection) -> str | None:
        if not inspect(sync).has_table(VERSION_TABLE):
            return None
        return sync.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608 - a constant

    return await connection.run_sync(find)


async def revision_of(address: Address) -> str | None:
    """Give the revision of a store; None where there are no tables, or no file yet.

    Raises:
        PlatformError: the database does not answer.
    """
    if address.path is not None and not await asyncio.to_thread(address.path.exists):
        return None
    engine = connect(address)
    try:
        async with engine.connect() as connection:
            return await current(connection)
    except (SQLAlchemyError, OSError) as error:
        raise PlatformError(f"The run store {address} cannot be read: {error}") from error
    finally:
        await engine.dispose()


def revision_of_file(address: Address) -> str | None:
    """Give the revision of an SQLite store, the cheap way; None where there is none yet."""
    if address.path is None or not address.path.exists():
        return None
    try:
        with closing(sqlite3.connect(address.path)) as connection:
            row = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()  # noqa: S608 - a constant
    except sqlite3.Error:
        return None
    return str(row[0]) if row else None


async def check(connection: AsyncConnection, address: Address) -> None:
    """Check that the tables are of the revision this package works with.

    Raises:
        PlatformError: they are not; the text says what to do.
    """
    found = await current(connection)
    if found == HEAD:
        return
    if found is None:
        raise PlatformError(f"The run store {address} has no tables. Run `perdure store migrate`.")
    if found < HEAD:
        raise PlatformError(
            f"The run store {address} is at revision {found}, this version needs {HEAD}. Run `perdure store migrate`."
        )
    raise PlatformError(
        f"The run store {address} is at revision {found}, newer than {HEAD} of this version. Upgrade perdure here."
    )


async def _migrate(address: Address, work: Callable[[Connection], None]) -> None:
    engine = connect(address, foreign_keys=False)
    try:
        if address.path is not None:
            await asyncio.to_thread(address.path.absolute().parent.mkdir, parents=True, exist_ok=True)
        await _in_turn(engine, address, work)
    except (SQLAlchemyError, OSError) as error:
        raise PlatformError(f"The run store {address} cannot be migrated: {error}") from error
    except Exception as error:
        if type(error).__module__.startswith("alembic"):
            raise PlatformError(f"The run store {address} cannot be migrated: {error}") from error
        raise
    finally:
        await engine.dispose()


async def _in_turn(engine: AsyncEngine, address: Address, work: Callable[[Connection], None]) -> None:
    if address.path is not None:
        await asyncio.to_thread(_write_ahead, address.path)
    async with writing(engine).begin() as connection:
        if address.kind == "postgresql":
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        await connection.run_sync(work)


def _write_ahead(path: Path) -> None:
    """Switch the file to write-ahead logging for good, so that readers and the writer do not wait for each other."""
    for turn in range(_TRIES):
        try:
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                return
        except sqlite3.OperationalError as error:
            # SQLite does not wait its usual time for the lock that this takes.
            if turn == _TRIES - 1 or "locked" not in str(error):
                raise PlatformError(f"The run store {str(path)!r} cannot be opened: {error}") from error
            time.sleep(0.05)


def _config(connection: Connection) -> Any:
    from alembic.config import Config

    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = Config()
    config.set_main_option("script_location", _SCRIPTS)
    config.attributes["connection"] = connection
    return config
