"""`perdure blobs gc` and `perdure codec-server`: the care of large and of encrypted values."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from .arguments import Address, Json

if TYPE_CHECKING:
    from perdure_payloads.collect import Count
    from perdure_payloads.inventory import Store
    from perdure_payloads.settings import PayloadSettings

    from .output import Output


blobs = typer.Typer(name="blobs", help="The store of large values.", no_args_is_help=True, rich_markup_mode=None)


@blobs.callback()
def _blobs() -> None:  # pyright: ignore[reportUnusedFunction] - makes `gc` a subcommand though it is alone
    """The store of large values."""


@blobs.command("gc")
def gc(
    days: Annotated[
        float | None,
        typer.Option(
            "--days", min=0, help="Keep what closed less than so many days ago; by default what Temporal still shows."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Delete the large values of runs that closed long ago, or that Temporal does not know any more."""
    _finish(lambda out: _collect(days, dry_run, address, out), as_json)


def codec_server(
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 8234,
    host: Annotated[str, typer.Option("--host", help="Beyond loopback PERDURE_CODEC_TOKEN must be set.")] = "127.0.0.1",
    origins: Annotated[
        list[str] | None,
        typer.Option("--origin", metavar="URL", help="Address of a UI that may ask; by default any on this machine."),
    ] = None,
    address: Address = None,
) -> None:
    """Let the Temporal UI and CLI read compressed, encrypted and large values, until Ctrl-C."""
    _finish(lambda out: _serve(host, port, origins or [], address, out), as_json=False)


async def _collect(days: float | None, dry_run: bool, address: str | None, out: Output) -> int:
    from perdure_payloads.collect import collect, shown_days

    from .connect import connect, payload_settings, required
    from .output import OK

    server = required(address)
    store = _store(payload_settings(server))
    client = await connect(server)
    if days is None:
        days = await shown_days(client.temporal)
        out.note(f"Temporal shows closed runs for {days:g} days; --days keeps their values for longer or shorter")
    done = await collect(client.temporal, store, days=days, dry_run=dry_run)
    out.say(f"{'would delete' if dry_run else 'deleted'}: {_shown(done.deleted)}")
    out.say(f"kept: {_shown(done.kept)}")
    if done.nameless.blobs:
        out.say(f"kept, of runs whose id is too long to tell: {done.nameless.blobs:,} blobs")
    if out.as_json:
        counts = {name: _plain(getattr(done, name)) for name in ("deleted", "kept", "nameless")}
        out.json({"dry_run": dry_run, "days": days, **counts})
    return OK


def _store(settings: PayloadSettings) -> Store:
    from perdure_graph.errors import InvalidInputs
    from perdure_payloads.inventory import FolderStore, S3Store
    from perdure_payloads.place import FolderPlace, S3Place
    from perdure_payloads.s3 import S3Client

    match settings.place():
        case FolderPlace(root):
            return FolderStore(root)
        case S3Place() as place:
            return S3Store(S3Client(place))
        case None:
            raise InvalidInputs("PERDURE_BLOBS is `off`: there are no blobs to collect.", field="blobs")


def _plain(count: Count) -> dict[str, int]:
    return {"runs": count.runs, "blobs": count.blobs, "bytes": count.size}


def _shown(count: Count) -> str:
    return f"{count.blobs:,} blobs of {count.runs:,} runs, {count.size:,} bytes"


async def _serve(host: str, port: int, origins: list[str], address: str | None, out: Output) -> int:
    from pydantic import ValidationError

    from perdure_graph.errors import PlatformError

    from .connect import known_dev, payload_settings
    from .follow import interrupts
    from .output import OK

    try:
        from perdure_payloads.endpoint import EndpointSettings
        from perdure_payloads.endpoint_server import serving
    except ImportError as error:
        raise PlatformError(f"the codec endpoint needs {error.name}. Install it: pip install 'perdure[api]'") from error
    known = payload_settings(known_dev(address))
    given: dict[str, Any] = {"codec_origins": ",".join(origins)} if origins else {}
    try:
        settings = EndpointSettings(blobs=known.blobs, blobs_create=known.blobs_create, **given)
    except ValidationError as error:
        raise PlatformError(f"PERDURE_CODEC_*: {error.errors()[0]['msg']}.") from None
    async with serving(settings, host=host, port=port) as url:
        with interrupts() as asked:
            out.say(f"codec endpoint: {url}")
            out.say("Ctrl-C ends it. The UI takes the address under its glasses icon, the `temporal` command as")
            out.say(f"`--codec-endpoint {url}`.")
            await asked.wait()
    return OK


def _finish(work: Callable[[Output], Coroutine[Any, Any, int]], as_json: bool) -> NoReturn:
    from .output import Output, execute

    out = Output(as_json=as_json, run_id=None)
    raise typer.Exit(execute(lambda: work(out), out))
