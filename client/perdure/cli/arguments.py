"""Arguments and options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Address = Annotated[
    str | None, typer.Option("--address", envvar="PERDURE_ADDRESS", help="host:port of a Temporal server.")
]
Json = Annotated[bool, typer.Option("--json", help="End with one JSON object on stdout; the rest goes to stderr.")]
Flow = Annotated[Path, typer.Argument(metavar="FLOW", help="A Dify DSL file.")]
Run = Annotated[str, typer.Argument(metavar="RUN", help="Id of a run.")]
Pairs = Annotated[
    list[str] | None,
    typer.Option("-i", "--input", metavar="K=V", help="An input; K=@FILE reads a file, K=@@V is the text @V."),
]
Inputs = Annotated[Path | None, typer.Option("--inputs", help="JSON or YAML file of inputs; -i goes first.")]
Pins = Annotated[Path | None, typer.Option("--pins", help="JSON or YAML file of nodes that answer as told.")]
Query = Annotated[str | None, typer.Option("--query", help="The message of the user (chatflows).")]
Conversation = Annotated[Path | None, typer.Option("--conversation", help="File of conversation variables.")]
ConversationId = Annotated[
    str | None, typer.Option("--conversation-id", metavar="ID", help="The conversation to go on with: its first run.")
]
RunId = Annotated[str | None, typer.Option("--run-id", help="Id of the run; the same id never runs twice.")]
Parallel = Annotated[int | None, typer.Option("--max-parallel", min=1, help="Effects in flight at once.")]
OnFailure = Annotated[
    Literal["fail", "wait"], typer.Option("--on-failure", help="wait: a node that fails waits for `perdure retry`.")
]
Deadline = Annotated[
    float | None, typer.Option("--deadline", metavar="SECONDS", min=0.001, help="The run fails when it takes longer.")
]
Batch = Annotated[bool, typer.Option("--batch", help="Nobody waits for it: it gives way to runs without this.")]
DemoModel = Annotated[bool, typer.Option("--demo-model", help="Have a fake provider answer for every model: no key.")]
DemoScript = Annotated[
    Path | None, typer.Option("--demo-script", metavar="FILE", help="YAML file of what the fake provider answers.")
]
Reason = Annotated[str, typer.Option("--reason", help="Shown with the run.")]
