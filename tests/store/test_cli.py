"""`perdure store`: what an operator does with a store, through the real command line."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest
from store.logs import attended, meta, windows
from typer.testing import CliRunner

from fakes.command_line import Done
from perdure.cli.app import app
from perdure.dev_state import DevStack
from perdure_store import migrate
from perdure_store.recorder import Recorder

WINDOWS = windows()
ATTENDED_OPEN = [event for _, event in attended()]
ATTENDED_OPEN = ATTENDED_OPEN[: [event["type"] for event in ATTENDED_OPEN].index("human_input_required") + 1]


async def store_command(*arguments: object, folder: Path, **env: str) -> Done:
    """Run `perdure store ...`, with no `perdure dev` in sight; in this process, a new one takes seconds."""
    hidden: dict[str, str | None] = {name: None for name in os.environ if name.startswith("PERDURE_")}
    environment = hidden | {"PERDURE_CACHE_DIR": str(folder / "cache"), **env}
    ended = await asyncio.to_thread(CliRunner().invoke, app, ["store", *map(str, arguments)], env=environment)
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
    return Done(ended.exit_code, ended.stdout, ended.stderr)


@pytest.fixture
async def filled(recorder: Recorder) -> None:
    """A run that ended, with windows, and one that waits for a form."""
    for scope in dict.fromkeys(scope for scope, _ in WINDOWS):
        assert await recorder.record(meta("done", scope, [event for of, event in WINDOWS if of == scope])) == "yes"
    assert await recorder.record(meta("open", "", ATTENDED_OPEN)) == "yes"
    recorder.note_blob("done", "abc", 1234)
    await recorder.close()


async def test_migrate_makes_the_tables_and_takes_them_away_when_sure(empty_url: str, tmp_path: Path) -> None:
    none = await store_command("runs", folder=tmp_path, PERDURE_STORE=empty_url)
    assert none.code == 1
    assert "perdure store migrate" in none.err or "There is no run store" in none.err
    made = await store_command("migrate", "--json", folder=tmp_path, PERDURE_STORE=empty_url)
    assert (made.code, made.json["before"], made.json["revision"]) == (0, None, migrate.HEAD), made.err
    again = await store_command("migrate", folder=tmp_path, PERDURE_STORE=empty_url)
    assert (again.code, again.out.strip().endswith(f": revision {migrate.HEAD}")) == (0, True)
    empty = await store_command("runs", folder=tmp_path, PERDURE_STORE=empty_url)
    assert (empty.code, empty.out) == (0, "no such run is recorded\n")
    unsure = await store_command("migrate", "--to", "base", folder=tmp_path, PERDURE_STORE=empty_url)
    assert (unsure.code, "Say --yes" in unsure.err) == (2, True)
    sure = await store_command("migrate", "--to", "base", "--yes", "--json", folder=tmp_path, PERDURE_STORE=empty_url)
    assert (sure.code, sure.json["revision"]) == (0, None), sure.err


@pytest.mark.usefixtures("filled")
async def test_a_store_is_looked_at_and_cleared(url: str, tmp_path: Path) -> None:
    async def call(*arguments: object) -> Done:
        done = await store_command(*arguments, folder=tmp_path, PERDURE_STORE=url)
        assert done.code == 0, done.err
        return done

    status = (await call("status", "--json")).json
    assert (status["runs"], status["open_runs"], status["blobs"], status["revision"]) == (2, 1, 1, migrate.HEAD)
    assert status["events"] == len(WINDOWS) + len(ATTENDED_OPEN)
    assert status["bytes"] > 10_000
    listed = await call("runs")
    assert [line.split()[:2] for line in listed.out.splitlines()] == [
        ["open", "running"],
        ["done", "partial-succeeded"],
    ]
    only = (await call("runs", "--status", "partial-succeeded", "--flow", "graph", "--json")).json["runs"]
    assert [run["id"] for run in only] == ["done"]
    assert (await call("runs", "--before", "open", "--json")).json["runs"] == only
    shown = await call("show", "done")
    assert "it[2-3] it[2].k" in shown.out
    assert "1 blobs, 1,234 bytes" in shown.out
    waits = (await call("show", "open", "--json")).json["waits"]
    assert [(wait["key"], wait["kind"]) for wait in waits] == [("first", "form")]
    lines = (await call("events", "done", "--follow", "--json")).out.splitlines()
    assert [json.loads(line)["position"] for line in lines] == list(range(1, len(WINDOWS) + 1))
    rest = await call("events", "done", "--after", len(WINDOWS) - 2)
    assert len(rest.out.splitlines()) == 2
    dry = (await call("retention", "--days", "1", "--dry-run", "--json")).json
    assert (dry["dry_run"], dry["runs"], dry["events"], dry["blobs"]) == (True, 1, len(WINDOWS), 1)
    cleared = (await call("retention", "--days", "1", "--json")).json
    assert {**cleared, "dry_run": True} == dry
    assert [run["id"] for run in (await call("runs", "--json")).json["runs"]] == ["open"]


async def test_which_store_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    nothing = await store_command("status", folder=tmp_path)
    assert nothing.code == 1
    assert "'.perdure/runs.db'" in nothing.err
    off = await store_command("status", folder=tmp_path, PERDURE_STORE="off")
    assert (off.code, "name one with --store" in off.err) == (2, True)
    unknown = await store_command("status", "--store", "mysql://u@h/d", folder=tmp_path)
    assert (unknown.code, "no kind of run store" in unknown.err) == (1, True)
    dev = DevStack(os.getpid(), "127.0.0.1:1", "default", "q", None, None, f"sqlite:///{tmp_path}/dev.db")
    (tmp_path / "cache" / "dev").mkdir(parents=True)
    (tmp_path / "cache" / "dev" / f"{dev.pid}.json").write_text(json.dumps(asdict(dev)))
    found = await store_command("migrate", "--json", folder=tmp_path)
    assert (found.code, found.json["store"]) == (0, dev.store), found.err
    known = await store_command("show", "nobody", folder=tmp_path)
    assert (known.code, "has no run 'nobody'" in known.err) == (1, True)
