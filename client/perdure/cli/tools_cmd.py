"""`perdure tools`: which tools a worker has, and whether what they need is there."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from .arguments import Json

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from perdure_worker.tools_admin import Admin, ListedTool

    from .output import Output

File = Annotated[
    Path | None,
    typer.Option("--file", envvar="PERDURE_TOOLS", help="The tools file; without one there are the built-in tools."),
]

tools = typer.Typer(
    name="tools",
    help="Tools: where they come from, and what they need.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@tools.command("list")
def list_tools(
    provider: Annotated[
        str | None, typer.Option("--provider", metavar="P", help="Only tools of this one: its id, or a provider type.")
    ] = None,
    live: Annotated[bool, typer.Option("--live", help="Also those of MCP servers, which are started.")] = False,
    file: File = None,
    as_json: Json = False,
) -> None:
    """List the tools as agents and graphs name them, with what the model gives them."""
    _finish(lambda out: _list(provider, file, out, live=live), as_json)


@tools.command()
def check(
    live: Annotated[
        bool, typer.Option("--live", help="Start MCP servers, or connect, and ask for their tools.")
    ] = False,
    file: File = None,
    as_json: Json = False,
) -> None:
    """Check the tools file and all that it names; exit code 1 when something of it cannot be used."""
    _finish(lambda out: _check(file, out, live=live), as_json)


def _admin(file: Path | None) -> AbstractAsyncContextManager[Admin]:
    from .connect import lacks_worker

    try:
        from perdure_worker.tools_admin import administering
    except ImportError as error:
        raise lacks_worker(error) from error
    # A variable that is there and empty, as in compose files, names nothing.
    return administering(file if file is not None and str(file) not in ("", ".") else None)


async def _list(provider: str | None, file: Path | None, out: Output, *, live: bool) -> int:
    from perdure_graph.errors import InvalidInputs

    from .output import OK

    async with _admin(file) as admin:
        found = await admin.tools(provider, live=live)
        if provider is not None and not (found.tools or found.without):
            known = sorted({tool.provider_id for tool in (await admin.tools()).tools})
            raise InvalidInputs(f"there is no provider {provider!r}; there are: {', '.join(known)}.", field="provider")
    shown = ("", "")
    for tool in found.tools:
        if (tool.provider_type, tool.provider_id) != shown:
            shown = (tool.provider_type, tool.provider_id)
            out.say(f"{tool.provider_type} {tool.provider_id}")
        out.say(f"  {_line(tool)}")
    for kind, name, why in found.without:
        out.say(f"{kind} {name}: {why}")
    if out.as_json:
        without = [{"provider_type": kind, "provider_id": name, "why": why} for kind, name, why in found.without]
        out.json({"source": found.source, "tools": [asdict(tool) for tool in found.tools], "without": without})
    return OK


def _line(tool: ListedTool) -> str:
    call = f"{tool.tool_name}({', '.join(tool.parameters)})"
    about = [tool.description] if tool.description else []
    about += [] if tool.approval == "never" else [f"[approval: {tool.approval}]"]
    about += ["[never repeated]"] if tool.retry == "never" else []
    return f"{call:<40} {' '.join(about)}".rstrip()


async def _check(file: Path | None, out: Output, *, live: bool) -> int:
    from .output import FAILED, OK

    async with _admin(file) as admin:
        found = await admin.check(live=live)
        source = admin.config.source
    for one in found:
        out.say(f"{'ok     ' if one.ok else 'PROBLEM'} {one.kind} {one.name}: {one.detail}")
        for problem in one.problems:
            out.say(f"        left out: {problem}")
    if not found:
        out.say("nothing to check: only the built-in tools are there")
    if out.as_json:
        out.json({"source": source, "ok": all(one.ok for one in found), "checks": [asdict(one) for one in found]})
    return OK if all(one.ok for one in found) else FAILED


def _finish(work: Callable[[Output], Coroutine[Any, Any, int]], as_json: bool) -> NoReturn:
    from .output import Output, execute

    out = Output(as_json=as_json)
    raise typer.Exit(execute(lambda: work(out), out))
