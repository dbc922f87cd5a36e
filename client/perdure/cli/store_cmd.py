"""`perdure store`: the run store, read and cared for without a worker and without Temporal."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from .arguments import Json, Run

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from perdure_store.database import Address
    from perdure_store.read import Store
    from perdure_store.records import NodeRecord, RunRecord, WaitRecord
    from perdure_store.run_folders import RunFolders

    from .output import Output

Url = Annotated[
    str | None,
    typer.Option(
        "--store",
        envvar="PERDURE_STORE",
        metavar="URL",
        help="sqlite:///PATH or postgresql://USER@HOST/NAME; by default that of `perdure dev`, or of a worker here.",
    ),
]

store = typer.Typer(
    name="store", help="The run store: what happened in all runs.", no_args_is_help=True, rich_markup_mode=None
)


@store.command()
def migrate(
    to: Annotated[str, typer.Option("--to", metavar="REVISION", help="Also backwards; `base` drops it all.")] = "head",
    yes: Annotated[bool, typer.Option("--yes", help="Go back although what is recorded may be lost.")] = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Make the tables, or bring them up to this version; PostgreSQL needs it once, and after an upgrade."""
    _finish(lambda out: _migrate(url, to, out, sure=yes), as_json)


@store.command()
def status(url: Url = None, as_json: Json = False) -> None:
    """Say where the store is, of which revision its tables are, and what is in them."""
    _finish(lambda out: _status(url, out), as_json)


@store.command()
def retention(
    days: Annotated[float, typer.Option("--days", min=0, help="Keep runs that ended less than so many days ago.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    runs_dir: Annotated[
        Path | None,
        typer.Option(
            "--runs-dir",
            envvar="PERDURE_RUNS_DIR",
            metavar="DIR",
            help="Remove the folders of the runs too: from here.",
        ),
    ] = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Remove runs that ended long ago, with all their rows, and replies that have expired."""
    where = None if runs_dir is None else runs_dir.expanduser()
    _finish(lambda out: _retain(url, days, where, out, dry_run=dry_run), as_json)


@store.command()
def runs(
    status: Annotated[str | None, typer.Option("--status", help="running, paused, succeeded, failed, ...")] = None,
    flow: Annotated[str | None, typer.Option("--flow", metavar="NAME", help="Only runs of this graph.")] = None,
    before: Annotated[str | None, typer.Option("--before", metavar="RUN", help="The page after this run.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 100,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """List recorded runs, newest first: also those that Temporal has forgotten."""
    _finish(lambda out: _runs(url, out, status=status, flow=flow, before=before, limit=limit), as_json)


@store.command()
def show(run: Run, url: Url = None, as_json: Json = False) -> None:
    """Show a recorded run: its nodes, the windows of its iterations, what it waits for."""
    _finish(lambda out: _show(url, run, out), as_json, run)


@store.command()
def events(
    run: Run,
    after: Annotated[int, typer.Option("--after", min=0, help="Only those recorded after this position.")] = 0,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Go on until the run ends.")] = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Show what is recorded of a run and its windows, by position; with --json one event per line."""
    _finish(lambda out: _events(url, run, out, after=after, follow=follow), as_json, run)


def store_url(url: str | None) -> str:
    """Find the store: the one given, that of the only `perdure dev`, or the one a worker makes in this folder."""
    from perdure_graph.errors import InvalidInputs, PlatformError

    from ..dev_state import running

    try:
        from perdure_worker.settings import DEFAULT_STORE
    except ImportError as error:
        raise PlatformError(
            f"the run store needs the worker extra ({error}). Install it: pip install 'perdure[worker]'"
        ) from error
    known = {stack.store for stack in running() if stack.store and stack.store != "off"} if url is None else {url}
    if len(known) > 1:
        raise PlatformError(
            f"several `perdure dev` are running. Choose a store with --store: {', '.join(sorted(known))}"
        )
    chosen = next(iter(known), DEFAULT_STORE)
    if chosen == "off":
        raise InvalidInputs("the run store is `off`: name one with --store or in PERDURE_STORE.", field="store")
    return chosen


def _address(url: str | None) -> Address:
    found = store_url(url)
    from perdure_store.database import parse

    return parse(found)


def _opened(url: str | None) -> AbstractAsyncContextManager[Store]:
    found = store_url(url)
    from perdure_store.read import Store

    return Store.open(found)


async def _migrate(url: str | None, to: str, out: Output, *, sure: bool) -> int:
    from perdure_graph.errors import InvalidInputs
    from perdure_store import migrate

    from .output import OK

    address = _address(url)
    before = await migrate.revision_of(address)
    if to in ("head", migrate.HEAD) or before is None or (to != "base" and to >= before):
        await migrate.upgrade(address, to)
    elif sure:
        await migrate.downgrade(address, to)
    else:
        raise InvalidInputs(
            f"going back from revision {before} to {to!r} may lose what is recorded in {address}. Say --yes to do it.",
            field="yes",
        )
    after = await migrate.revision_of(address)
    out.say(f"{address}: {_named(before)} -> {_named(after)}" if before != after else f"{address}: {_named(after)}")
    if out.as_json:
        out.json({"store": str(address), "before": before, "revision": after})
    return OK


def _named(revision: str | None) -> str:
    return "no tables" if revision is None else f"revision {revision}"


async def _status(url: str | None, out: Output) -> int:
    from perdure_store.migrate import HEAD
    from perdure_store.records import Contents

    from .output import OK

    async with _opened(url) as store:
        contents = await store.contents()
        address = str(store.address)
    out.say(f"store:    {address}")
    out.say(f"tables:   revision {HEAD}")
    for name in Contents.model_fields:
        out.say(f"{name.replace('_', ' ') + ':':<13} {getattr(contents, name):,}")
    if out.as_json:
        out.json({"store": address, "revision": HEAD, **contents.model_dump()})
    return OK


async def _retain(url: str | None, days: float, runs_dir: Path | None, out: Output, *, dry_run: bool) -> int:
    from perdure_store.retention import retain
    from perdure_store.run_folders import RunFolders

    from .output import FAILED, OK

    folders = None if runs_dir is None else RunFolders(runs_dir)
    removed = (await retain(_address(url), days=days, dry_run=dry_run, folders=folders)).model_dump()
    found, left = ([], {}) if folders is None else (folders.found, folders.left)
    counts = removed if folders is None else {**removed, "folders": len(found)}
    shown = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    out.say(f"{'would remove' if dry_run else 'removed'}: {shown}")
    if dry_run:
        _say_folders(folders, out)
    for folder, why in left.items():
        out.note(f"{folder} cannot be removed ({why}), so its run stays too. Remove it by hand, and do this again.")
    if out.as_json:
        out.json(
            {
                "dry_run": dry_run,
                **removed,
                "folders": None if folders is None else len(found),
                "left": {str(folder): why for folder, why in left.items()},
            }
        )
    return FAILED if left else OK


def _say_folders(folders: RunFolders | None, out: Output) -> None:
    if folders is None:
        out.say("folders of runs stay: name the workers' PERDURE_RUNS_DIR with --runs-dir")
    elif not folders.runs_dir.exists():
        out.say(f"there is no folder {folders.runs_dir}")
    else:
        for folder in folders.found:
            out.say(f"  {folder}")


async def _runs(url: str | None, out: Output, **which: Any) -> int:
    from .output import OK

    async with _opened(url) as store:
        found = await store.runs(**which)
    for run in found:
        out.say(_line(run))
    if not found:
        out.say("no such run is recorded")
    if out.as_json:
        out.json({"runs": [run.model_dump(mode="json", exclude={"inputs", "outputs"}) for run in found]})
    return OK


def _line(run: RunRecord) -> str:
    cause = f"  {run.error_node or 'run'}: {run.error}" if run.error else ""
    return f"{run.id}  {run.status:<17} {_time(run.started_at)}  {run.events:>7,} events  {run.graph}{cause}".rstrip()


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


async def _show(url: str | None, run_id: str, out: Output) -> int:
    from .output import OK

    async with _opened(url) as store:
        run = await store.run(run_id)
        nodes = await store.nodes(run_id)
        waits = await store.waits(run_id)
        blobs = await store.blobs(run_id)
    out.say(_line(run))
    for node in nodes:
        out.say(_node_line(node))
    for wait in waits:
        out.say(f"  waits: {wait.kind} {wait.key!r} since {_time(wait.opened_at or 0)}")
    if blobs:
        out.say(f"  {len(blobs):,} blobs, {sum(blob.bytes for blob in blobs):,} bytes")
    if out.as_json:
        out.json(_all_of(run, nodes, waits) | {"blobs": [blob.model_dump(mode="json") for blob in blobs]})
    return OK


def _node_line(node: NodeRecord) -> str:
    about = [name for name in ("cached", "reused") if getattr(node, name)]
    about += [f"attempts={node.attempts}"] if node.attempts > 1 else []
    about += [f"{node.error_type}: {node.error}"] if node.error else []
    elapsed = "" if node.elapsed is None else f"{node.elapsed:.3f} s"
    place = f"{node.scope + ' ' if node.scope else ''}{node.frame}{node.node_id}"
    return f"  {node.status:<10} {elapsed:>10}  {place}  {' '.join(about)}".rstrip()


def _all_of(run: RunRecord, nodes: list[NodeRecord], waits: list[WaitRecord]) -> dict[str, Any]:
    return {
        "run": run.model_dump(mode="json"),
        "nodes": [node.model_dump(mode="json") for node in nodes],
        "waits": [wait.model_dump(mode="json") for wait in waits],
    }


async def _events(url: str | None, run_id: str, out: Output, *, after: int, follow: bool) -> int:
    from perdure.archive import Archive

    from .look import show_log
    from .output import OK

    await show_log(Archive(store_url(url)).log(run_id, after, follow=follow), out)
    return OK


def _finish(work: Callable[[Output], Coroutine[Any, Any, int]], as_json: bool, run_id: str | None = None) -> NoReturn:
    from .output import Output, execute

    out = Output(as_json=as_json, run_id=run_id)
    raise typer.Exit(execute(lambda: work(out), out))
