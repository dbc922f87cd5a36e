"""`perdure agent`: agents on their own; and `approve`, `deny` and `thoughts`, for agents wherever they run."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from .arguments import (
    Address,
    Batch,
    ConversationId,
    Deadline,
    DemoModel,
    DemoScript,
    Inputs,
    Json,
    OnFailure,
    Pairs,
    Parallel,
    Reason,
    Run,
    RunId,
)

if TYPE_CHECKING:
    from .output import Output

Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="A file of an agent, or a Dify agent app.")]
Call = Annotated[str, typer.Argument(metavar="CALL", help="Key of the call, or its id where only one such waits.")]

agent = typer.Typer(
    name="agent",
    help="Agents: models that use tools until they have an answer.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@agent.command("run")
def run(
    config: Config,
    query: Annotated[str, typer.Option("-q", "--query", help="What it is asked.")],
    pairs: Pairs = None,
    inputs: Inputs = None,
    conversation_id: ConversationId = None,
    run_id: RunId = None,
    user: Annotated[str, typer.Option("--user", help="For whom; long-term memory is by user.")] = "user",
    approve_all: Annotated[
        bool, typer.Option("--approve-all", help="Make every call that waits for approval, without asking.")
    ] = False,
    max_parallel: Parallel = None,
    on_failure: OnFailure = "fail",
    deadline: Deadline = None,
    batch: Batch = False,
    demo_model: DemoModel = False,
    demo_script: DemoScript = None,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Run an agent to its answer, and show what it thinks and does; without a server on a stack of its own."""
    from . import agent_run
    from .connect import Demo, configured
    from .run import options_of

    options = options_of(max_parallel, on_failure, deadline, batch)
    asked = agent_run.Asked(
        config, query, pairs or [], inputs, conversation_id, run_id, user, options, approve_all=approve_all
    )
    demo = Demo.of(demo_model, demo_script)
    _finish(lambda out: agent_run.run(asked, configured(address), out, demo), as_json, run_id)


@agent.command()
def check(config: Config, as_json: Json = False) -> None:
    """Say whether an agent's file can be loaded, and what of it cannot be taken over; exit code 2 when it cannot."""
    from . import agent_run

    async def checked(out: Output) -> int:
        return agent_run.check(config, out)

    _finish(checked, as_json)


def approve(
    run: Run,
    call: Call,
    arguments: Annotated[
        str | None, typer.Option("--arguments", metavar="JSON|@FILE", help="Make it with these instead.")
    ] = None,
    comment: Annotated[str, typer.Option("--comment", help="Recorded with the run.")] = "",
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Let a call of a tool be made that waits for approval."""
    from . import control

    _finish(lambda out: control.approve(run, call, arguments, comment, address, out), as_json, run)


def deny(run: Run, call: Call, reason: Reason = "", address: Address = None, as_json: Json = False) -> None:
    """Have a call of a tool not made that waits for approval; the model is told the reason."""
    from . import control

    _finish(lambda out: control.deny(run, call, reason, address, out), as_json, run)


def thoughts(run: Run, address: Address = None, as_json: Json = False) -> None:
    """Show the rounds of the agents of a run: thoughts, calls, observations; with --json as Dify keeps them."""
    from . import look_thoughts

    _finish(lambda out: look_thoughts.thoughts(run, address, out), as_json, run)


def _finish(work: Callable[[Output], Coroutine[Any, Any, int]], as_json: bool, run_id: str | None = None) -> NoReturn:
    from .output import Output, execute

    out = Output(as_json=as_json, run_id=run_id)
    raise typer.Exit(execute(lambda: work(out), out))
