"""The commands and their options. What performs a command is imported when it is called."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from .agent_cmd import agent, approve, deny, thoughts
from .arguments import (
    Address,
    Batch,
    Conversation,
    ConversationId,
    Deadline,
    DemoModel,
    DemoScript,
    Flow,
    Inputs,
    Json,
    OnFailure,
    Pairs,
    Parallel,
    Pins,
    Query,
    Reason,
    Run,
    RunId,
)
from .memories_cmd import memories
from .models_cmd import models
from .payloads_cmd import blobs, codec_server
from .store_cmd import store
from .tools_cmd import tools
from .versions_cmd import deployment, replay

if TYPE_CHECKING:
    from .output import Output

app = typer.Typer(
    name="perdure",
    help="Run Dify workflow graphs and agents as durable Temporal workflows.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich takes a fifth of a second to load
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def run(
    flow: Flow,
    pairs: Pairs = None,
    inputs: Inputs = None,
    pins: Pins = None,
    query: Query = None,
    conversation: Conversation = None,
    conversation_id: ConversationId = None,
    run_id: RunId = None,
    max_parallel: Parallel = None,
    on_failure: OnFailure = "fail",
    deadline: Deadline = None,
    batch: Batch = False,
    submit: Annotated[
        list[str] | None,
        typer.Option("--submit", metavar="NODE=ACTION[,FIELD=VALUE...]", help="Answer a human-input form."),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Start it on a server and leave it there.")] = False,
    demo_model: DemoModel = False,
    demo_script: DemoScript = None,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Run a flow to its end; without a server on a stack of its own."""
    from . import run as runs
    from .connect import Demo, configured

    options = runs.options_of(max_parallel, on_failure, deadline, batch)
    asked = runs.Asked(
        flow, pairs or [], inputs, pins, query, conversation, conversation_id, run_id, options, submit or []
    )
    if detach:
        _finish(lambda out: runs.start(asked, address, out), as_json, run_id)
    demo = Demo.of(demo_model, demo_script)
    _finish(lambda out: runs.run(asked, configured(address), out, demo), as_json, run_id)


@app.command()
def start(
    flow: Flow,
    pairs: Pairs = None,
    inputs: Inputs = None,
    pins: Pins = None,
    query: Query = None,
    conversation: Conversation = None,
    conversation_id: ConversationId = None,
    run_id: RunId = None,
    max_parallel: Parallel = None,
    on_failure: OnFailure = "fail",
    deadline: Deadline = None,
    batch: Batch = False,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Start a flow on a server and leave it there."""
    from . import run as runs

    options = runs.options_of(max_parallel, on_failure, deadline, batch)
    asked = runs.Asked(flow, pairs or [], inputs, pins, query, conversation, conversation_id, run_id, options)
    _finish(lambda out: runs.start(asked, address, out), as_json, run_id)


@app.command()
def validate(flow: Flow, pins: Pins = None, as_json: Json = False) -> None:
    """Say of each node whether it runs, and whether as in Dify; exit code 2 when something is refused."""
    from .report import validate as work

    async def checked(out: Output) -> int:
        return work(flow, pins, out)

    _finish(checked, as_json)


@app.command()
def test(
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="PATH...", help="Case files, flows, or folders of them.")
    ] = None,
    jobs: Annotated[int, typer.Option("-j", "--jobs", min=1, help="Cases at a time.")] = 8,
    from_run: Annotated[
        str | None, typer.Option("--from-run", metavar="RUN", help="Write a case that repeats this run.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="The case file; one that exists gets the case."),
    ] = None,
    flow: Annotated[
        Path | None, typer.Option("--flow", help="The flow that the case is for; by default it is written beside it.")
    ] = None,
    demo_model: DemoModel = False,
    demo_script: DemoScript = None,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Run the case files of flows; exit code 1 when a case fails."""
    from . import tests_cmd
    from .connect import Demo

    if from_run is not None:
        _finish(lambda out: tests_cmd.test_from_run(from_run, output, flow, address, out), as_json, from_run)
    demo = Demo.of(demo_model, demo_script)
    _finish(lambda out: tests_cmd.test_flows(paths or [], jobs, address, out, demo), as_json)


@app.command()
def status(run: Run, address: Address = None, as_json: Json = False) -> None:
    """Show where a run is: nodes, open forms, outputs so far."""
    from . import look

    _finish(lambda out: look.status(run, address, out), as_json, run)


@app.command()
def events(
    run: Run,
    after: Annotated[int, typer.Option("--after", min=0, help="Only events numbered above this.")] = 0,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Go on until the run ends.")] = False,
    every: Annotated[
        bool, typer.Option("--all", help="Also those of the windows of large iterations, from the run store.")
    ] = False,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Show what happened in a run; with --json one event per line."""
    from . import look

    show = look.log if every else look.events
    _finish(lambda out: show(run, address, out, after=after, follow=follow), as_json, run)


@app.command()
def result(run: Run, address: Address = None, as_json: Json = False) -> None:
    """Wait for the end of a run and show its outputs; exits as `perdure run` does."""
    from . import look

    _finish(lambda out: look.result(run, address, out), as_json, run)


@app.command()
def pause(run: Run, reason: Reason = "", address: Address = None, as_json: Json = False) -> None:
    """Start nothing new in a run; what is in flight finishes and is kept."""
    from . import control

    _finish(lambda out: control.pause(run, address, out, reason=reason), as_json, run)


@app.command()
def resume(run: Run, address: Address = None, as_json: Json = False) -> None:
    """Let a paused run go on."""
    from . import control

    _finish(lambda out: control.resume(run, address, out), as_json, run)


@app.command()
def stop(run: Run, reason: Reason = "", address: Address = None, as_json: Json = False) -> None:
    """End a run; outputs so far are kept."""
    from . import control

    _finish(lambda out: control.stop(run, address, out, reason=reason), as_json, run)


@app.command()
def submit(
    run: Run,
    form: Annotated[str, typer.Argument(metavar="FORM", help="Key of the form, or id of its node.")],
    action: Annotated[str, typer.Argument(metavar="ACTION", help="Id of the button to press.")],
    pairs: Annotated[
        list[str] | None, typer.Option("-i", "--input", metavar="K=V", help="A field of the form.")
    ] = None,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Answer an open form of a run."""
    from . import control

    _finish(lambda out: control.submit(run, form, action, pairs or [], address, out), as_json, run)


@app.command(name="set")
def set_variables(
    run: Run,
    pairs: Annotated[
        list[str],
        typer.Argument(metavar="NODE.NAME=VALUE...", help="VALUE is JSON or text; =@FILE reads a file."),
    ],
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Overwrite variables of a run: outputs of nodes, conversation.NAME, env.NAME, inputs of the start node."""
    from . import control

    _finish(lambda out: control.set_variables(run, pairs, address, out), as_json, run)


@app.command()
def retry(
    run: Run,
    node: Annotated[str, typer.Argument(metavar="NODE", help="Key or id of a node that waits.")],
    outputs: Annotated[
        str | None,
        typer.Option("--outputs", metavar="JSON|@FILE", help="Take these as its outputs instead of running it."),
    ] = None,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Run a node again that waits for an operator, or at once one that waits for its next attempt."""
    from . import control

    _finish(lambda out: control.retry(run, node, outputs, address, out), as_json, run)


@app.command(name="list")
def list_runs(
    status: Annotated[str | None, typer.Option("--status", help="running, paused, succeeded, failed, ...")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 100,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """List the runs of a server, newest first."""
    from . import look

    _finish(lambda out: look.list_runs(address, out, status=status, limit=limit), as_json)


@app.command()
def dev(
    db: Annotated[Path | None, typer.Option("--db", help="SQLite file that keeps the runs.")] = None,
    ui_port: Annotated[int | None, typer.Option("--ui-port", min=1, max=65535, help="Port of the web UI.")] = None,
    demo_model: DemoModel = False,
    demo_script: DemoScript = None,
) -> None:
    """Run a server, a worker and the web UI until Ctrl-C; other commands find it."""
    from .connect import Demo
    from .dev import dev as work

    _finish(lambda out: work(db, ui_port, out, Demo.of(demo_model, demo_script)), as_json=False)


@app.command()
def worker(
    namespace: Annotated[str | None, typer.Option("--namespace", envvar="PERDURE_NAMESPACE")] = None,
    task_queue: Annotated[str | None, typer.Option("--task-queue", envvar="PERDURE_TASK_QUEUE")] = None,
    log_level: Annotated[str | None, typer.Option("--log-level", help="debug, info, warning or error.")] = None,
    smoke: Annotated[bool, typer.Option("--smoke", help="Prove the worker with a run first.")] = False,
    versioned: Annotated[
        bool, typer.Option("--versioned", help="Take only runs of its version; see `perdure deployment`.")
    ] = False,
    deployment_name: Annotated[str | None, typer.Option("--deployment", help="Name of its deployment.")] = None,
    build_id: Annotated[str | None, typer.Option("--build-id", help="Its version in that deployment.")] = None,
    address: Address = None,
) -> None:
    """Run a worker against a server until SIGTERM or Ctrl-C."""
    from perdure_graph.errors import PerdureError

    from .dev import worker as work
    from .output import Output

    settings: dict[str, Any] = {
        "namespace": namespace,
        "task_queue": task_queue,
        "log_level": log_level,
        "smoke": smoke or None,
        "versioning": versioned or None,
        "deployment_name": deployment_name,
        "build_id": build_id,
    }
    try:
        code = work(address, {name: value for name, value in settings.items() if value is not None})
    except PerdureError as error:
        code = Output(as_json=False).refuse(error)
    raise typer.Exit(code)


@app.command()
def doctor(address: Address = None, as_json: Json = False) -> None:
    """Say what is missing on this machine and how to get it; exit code 1 when that is required."""
    from .dev import doctor as work

    _finish(lambda out: work(address, out), as_json)


@app.command()
def fork(
    run: Run,
    from_node: Annotated[
        str | None,
        typer.Option("--from", metavar="NODE", help="Begin with this node; it[3]: with the fourth item of it."),
    ] = None,
    flow: Annotated[Path | None, typer.Option("--flow", help="A changed flow; by default that of the run.")] = None,
    pairs: Pairs = None,
    inputs: Inputs = None,
    variables: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NODE.NAME=VALUE", help="Change an output that is taken over."),
    ] = None,
    pins: Pins = None,
    run_id: RunId = None,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Start a run that takes over what another did before a node, and runs the rest anew."""
    from .fork_cmd import Changes
    from .fork_cmd import fork as work

    changes = Changes(from_node, flow, pairs or [], inputs, variables or [], pins)
    _finish(lambda out: work(run, changes, run_id, address, out), as_json, run_id)


@app.command()
def diff(
    a: Run,
    b: Annotated[str, typer.Argument(metavar="RUN", help="Id of another run.")],
    attempts: Annotated[bool, typer.Option("--attempts", help="Also compare how many attempts nodes took.")] = False,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Say where two runs part: exit code 0 when they did the same, 1 when not, 2 when they cannot be compared."""
    from .fork_cmd import diff as work

    _finish(lambda out: work(a, b, address, out, attempts=attempts), as_json)


def _finish(work: Callable[[Output], Coroutine[Any, Any, int]], as_json: bool, run_id: str | None = None) -> NoReturn:
    from .output import Output, execute

    out = Output(as_json=as_json, run_id=run_id)
    raise typer.Exit(execute(lambda: work(out), out))


app.add_typer(agent)
app.command()(approve)
app.command()(deny)
app.command()(thoughts)
app.add_typer(blobs)
app.add_typer(deployment)
app.add_typer(memories)
app.add_typer(models)
app.command()(replay)
app.add_typer(store)
app.add_typer(tools)
app.command()(codec_server)


def main() -> NoReturn:
    """Run the command line and leave with its exit code; never returns.

    At interpreter exit the Temporal SDK's runtime aborts now and then, which would change the code.
    """
    code: int | str | None = 1
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what a terminal cannot show must not end a run
    try:
        app()
    except SystemExit as leaving:
        code = leaving.code
    except BrokenPipeError:
        code = 1
    except BaseException:
        sys.excepthook(*sys.exc_info())  # pyright: ignore[reportArgumentType]
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)
