"""`perdure replay` and `perdure deployment`: changing the code of workers while runs are open."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from .output import Output

Address = Annotated[
    str | None, typer.Option("--address", envvar="PERDURE_ADDRESS", help="host:port of a Temporal server.")
]
Json = Annotated[bool, typer.Option("--json", help="End with one JSON object on stdout.")]
Name = Annotated[str, typer.Argument(metavar="NAME", envvar="PERDURE_DEPLOYMENT_NAME", help="Name of the deployment.")]

deployment = typer.Typer(
    name="deployment", help="Versions of the workers.", no_args_is_help=True, rich_markup_mode=None
)


def replay(
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE...", help="Histories in JSON, or folders of them.")
    ] = None,
    open_runs: Annotated[bool, typer.Option("--open", help="Those of the open runs of a server.")] = False,
    newest: Annotated[int, typer.Option("-n", "--newest", min=1, help="With --open: at most so many.")] = 100,
    task_queue: Annotated[
        str | None, typer.Option("--task-queue", help="With --open: only of runs on this queue.")
    ] = None,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Say whether this code can take over runs; exit code 1 when it cannot. The gate before a deployment."""
    from perdure_graph.errors import InvalidInputs

    from .replay_cmd import replay_files, replay_open

    async def work(out: Output) -> int:
        if open_runs and paths:
            raise InvalidInputs("give files, or --open, not both.", field="paths")
        if open_runs:
            return await replay_open(newest, task_queue, address, out)
        return await replay_files(paths or [], out)

    _finish(work, as_json)


@deployment.command("show")
def show(name: Name = "perdure", address: Address = None, as_json: Json = False) -> None:
    """List the versions of a deployment, and which of them open runs still need."""
    from . import deployment_cmd

    _finish(lambda out: deployment_cmd.show(name, address, out), as_json)


@deployment.command("set-current")
def set_current(
    build_id: Annotated[str, typer.Argument(metavar="BUILD_ID", help="A version whose workers run.")],
    name: Name = "perdure",
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Send new runs to a version of a deployment."""
    from . import deployment_cmd

    _finish(lambda out: deployment_cmd.set_current(name, build_id, address, out), as_json)


def _finish(work: Callable[[Output], Coroutine[Any, Any, int]], as_json: bool) -> NoReturn:
    from .output import Output, execute

    out = Output(as_json=as_json, run_id=None)
    raise typer.Exit(execute(lambda: work(out), out))
