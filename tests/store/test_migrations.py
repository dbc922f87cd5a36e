"""Migrations: up, down and up again on both databases; what they make is what the models say."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from perdure_graph.errors import PlatformError
from perdure_store import migrate
from perdure_store.database import connect, parse
from perdure_store.tables import METADATA


def differences(connection: Connection) -> list[object]:
    options = {"version_table": migrate.VERSION_TABLE, "compare_type": True, "compare_server_default": True}
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), METADATA))


def tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names()) - {migrate.VERSION_TABLE}


def test_the_revision_the_code_works_with_is_the_last_one() -> None:
    config = Config()
    config.set_main_option("script_location", "perdure_store:migrations")
    assert ScriptDirectory.from_config(config).get_heads() == [migrate.HEAD]


async def test_up_down_and_up_again(empty_url: str) -> None:
    address = parse(empty_url)
    engine = connect(address)
    try:
        for _ in range(2):
            await migrate.upgrade(address)
            async with engine.connect() as connection:
                assert await migrate.current(connection) == migrate.HEAD
                assert await connection.run_sync(tables) == set(METADATA.tables)
                assert await connection.run_sync(differences) == []
                await migrate.check(connection, address)
            await migrate.downgrade(address, "base")
            async with engine.connect() as connection:
                assert await connection.run_sync(tables) == set()
                with pytest.raises(PlatformError, match=r"has no tables\. Run `perdure store migrate`"):
                    await migrate.check(connection, address)
    finally:
        await engine.dispose()


async def test_a_store_made_at_once_is_as_a_migrated_one(tmp_path: Path) -> None:
    made, migrated = parse(str(tmp_path / "new" / "made.db")), parse(str(tmp_path / "migrated.db"))
    await asyncio.gather(*(migrate.make(made) for _ in range(3)))
    await migrate.upgrade(migrated)
    schemas: list[set[str]] = []
    for address in (made, migrated):
        with closing(sqlite3.connect(str(address.path))) as connection:
            found = connection.execute("SELECT sql FROM sqlite_master WHERE sql NOT NULL").fetchall()
            tables = f"SELECT name FROM sqlite_master WHERE type = 'table' AND name != '{migrate.VERSION_TABLE}'"
            schemas.append({" ".join(sql.split()) for (sql,) in found if migrate.VERSION_TABLE not in sql})
            assert len(connection.execute(tables).fetchall()) == len(METADATA.tables)
    assert schemas[0] == schemas[1]
    await migrate.upgrade(made)
    await migrate.downgrade(made, "base")


async def test_a_store_of_another_revision_is_refused_with_the_next_step(url: str) -> None:
    address = parse(url)
    engine = connect(address)
    try:
        for other, step in (("0000", "Run `perdure store migrate`"), ("9999", "Upgrade perdure here")):
            async with engine.begin() as connection:
                await connection.exec_driver_sql(f"UPDATE {migrate.VERSION_TABLE} SET version_num = '{other}'")
            async with engine.connect() as connection:
                with pytest.raises(PlatformError, match=f"revision {other}.*{step}"):
                    await migrate.check(connection, address)
    finally:
        await engine.dispose()


async def test_several_at_once_take_turns(empty_url: str) -> None:
    await asyncio.gather(*(migrate.upgrade(parse(empty_url)) for _ in range(4)))
    engine = connect(parse(empty_url))
    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()


async def test_processes_that_start_at_once_make_one_sqlite_store(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "from perdure_store import migrate\n"
        "from perdure_store.database import parse\n"
        "asyncio.run(migrate.make(parse(sys.argv[1])))\n"
    )
    path = tmp_path / "new" / "runs.db"
    argv = [sys.executable, "-c", program, str(path)]
    started = [await asyncio.create_subprocess_exec(*argv, stderr=asyncio.subprocess.PIPE) for _ in range(4)]
    ended = [await process.communicate() for process in started]
    assert [process.returncode for process in started] == [0] * 4, [error.decode() for _, error in ended]
    assert migrate.revision_of_file(parse(str(path))) == migrate.HEAD


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mysql://u@h/d", "'mysql' is no kind of run store"),
        ("sqlite://", "needs a file"),
        ("://", "is no kind of run store"),
    ],
)
def test_urls_that_name_no_store_are_refused(text: str, message: str) -> None:
    with pytest.raises(PlatformError, match=message):
        parse(text)


def test_urls_are_read_as_people_write_them() -> None:
    assert parse("runs.db").path == Path("runs.db")
    assert parse("sqlite:////var/runs.db").path == Path("/var/runs.db")
    secure = parse("postgres://u:secret@h:5/d?sslmode=require")
    assert secure.kind == "postgresql"
    assert secure.url.drivername == "postgresql+asyncpg"
    assert dict(secure.url.query) == {"ssl": "require"}
    assert "secret" not in str(secure)
