"""The demo: four real flows and an agent on a server and a worker of its own, no key needed. Workers are killed on the
way, and the models are simulated.

    make demo            (or: python examples/demo.py; with --keep the server and its UI stay up at the end)

It checks every output and exits with 0 only if all are as expected.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml
from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table
from temporalio.api.enums.v1 import EventType
from watch import Watcher

from perdure import Client, Graph, PerdureError, RunHandle, RunResult
from perdure_graph.events import ContainerNext, RunPaused
from perdure_worker.embedded import EmbeddedStack, embedded
from perdure_worker.settings import WorkerSettings

HERE = Path(__file__).parent
KILL_AT = 8
TRIES = 3
ORDERS = {"decision": "approved", "accepted": 192, "rejected": 8, "total_cents": 2_969_578}
FEED_HITS = {"/feed.json": 1, "/entries/4": 1, "/entries/5": 1, "/entries/6": 3, "/entries/7": 4, "/entries/8": 1}
TEXT = "The workflow remembers where it was. The queue remembers the messages."
JOB = {"status": "done", "polls": 4, "words": 11, "most_common": "the"}
MESSAGE = "My invoice for order A-1042 was charged twice, please refund one of them"
DESK = {"desk": "Billing", "details": {"order_number": "A-1042", "urgency": "low", "wants_refund": True}}
CLAIM = "Order A1090 was charged twice, please refund the one in pounds"
REFUND = {"order_id": "A1090", "amount": 100.79, "currency": "GBP", "attempt": 1}
ROUNDS = [["find_order"], ["refund"], []]
PYTHON = """\
from pathlib import Path; from perdure import Graph, embedded
inputs = {"orders_csv": Path("examples/order-batch/orders.csv").read_text(), "order_limit": 10_000}
async with embedded() as client:  # or: client = await Client.connect("host:7233")
    handle = await client.start(Graph.load("examples/order-batch/flow.yml"), inputs)
    print(await handle.outputs())"""
SHELL = (
    "perdure run examples/order-batch/flow.yml -i orders_csv=@examples/order-batch/orders.csv "
    "--submit approval=approve,note=fine"
)

console = Console(highlight=False)


@dataclass(frozen=True)
class Row:
    """One line of the table at the end."""

    flow: str
    what: str
    seconds: float
    wrong: str


def server_of(example: str) -> ModuleType:
    """Load `server.py` of an example, whose folder is no package."""
    spec = importlib.util.spec_from_file_location(example.replace("-", "_") + "_server", HERE / example / "server.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    spec.loader.exec_module(module)
    return module


def flow(example: str) -> Graph:
    """Load the flow of an example."""
    return Graph.load(HERE / example / "flow.yml")


def differing(expected: dict[str, Any], got: dict[str, Any]) -> str:
    """Say in which values a run is not as expected; empty when it is."""
    return "; ".join(f"{k}: {got.get(k)!r}, expected {v!r}" for k, v in expected.items() if got.get(k) != v)


async def orders(client: Client, data: dict[str, Any]) -> tuple[Row, RunResult]:
    """Run the order flow to its end."""
    console.rule("1. 200 orders: check, price in parallel, ask, report", align="left")
    began = time.monotonic()
    run = await client.start(flow("order-batch"), data)
    result = await Watcher(console).follow(run, "approve", "known customer")
    console.print(Markdown(str(result.outputs.get("report", result.error))))
    seconds = time.monotonic() - began
    return Row(
        "order-batch", "200 orders in 25 batches, one approval", seconds, differing(ORDERS, result.outputs)
    ), result


async def crash(stack: EmbeddedStack, client: Client, data: dict[str, Any], undisturbed: RunResult) -> Row:
    """Run it again, kill the worker in the middle of the iteration, start another one."""
    console.rule("2. The same again; now the worker is killed in the middle", align="left")
    began = time.monotonic()
    result, hit = await _killed_run(stack, client, data)
    for _ in range(TRIES - 1):
        if hit:
            break
        console.print("  the kill came beside the iteration; once more")
        result, hit = await _killed_run(stack, client, data)
    wrong = differing(undisturbed.outputs, result.outputs) or ("" if hit else "never killed within the iteration")
    console.print(
        f"  outputs: [red]{wrong}[/]" if wrong else "  [green]outputs equal to those of the undisturbed run[/]"
    )
    return Row("order-batch", "the same through kill -9 of the worker", time.monotonic() - began, wrong)


async def _killed_run(stack: EmbeddedStack, client: Client, data: dict[str, Any]) -> tuple[RunResult, bool]:
    watcher = Watcher(console)
    run = await client.start(flow("order-batch"), data)
    async for event in run.events():
        watcher.show(event)
        if isinstance(event, ContainerNext) and event.index >= KILL_AT:
            break
    pid = stack.worker_pids[0]
    await stack.kill_worker()
    killed = time.time()
    described = await stack.client.get_workflow_handle(run.run_id).describe()
    status = described.status.name.lower() if described.status else "unknown"
    watcher.line(f"[bold red]kill -9 {pid}[/]: no worker is left; to the server the run is {status}")
    await stack.restart_worker()
    watcher.line(f"[bold green]started worker {stack.worker_pids[0]}[/], which has never heard of the run")
    result = await watcher.follow(run, "approve", "known customer")
    before, after, again = await effects(stack, run, killed)
    watcher.line(
        f"effects inside the iteration: {before} were done before the kill and not repeated, {after} followed; "
        f"{again} that were in flight were started again"
    )
    return result, bool(before and after)


async def effects(stack: EmbeddedStack, run: RunHandle, killed: float) -> tuple[int, int, int]:
    """Count in the history of a run: effects of batches done before and after a time, and those started twice."""
    history = await stack.client.get_workflow_handle(run.run_id).fetch_history()
    inside = {
        event.event_id
        for event in history.events
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
        and event.activity_task_scheduled_event_attributes.activity_id.startswith("batches[")
    }
    ended = [
        event.event_time.ToMicroseconds() / 1e6
        for event in history.events
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED
        and event.activity_task_completed_event_attributes.scheduled_event_id in inside
    ]
    again = sum(
        event.activity_task_started_event_attributes.attempt > 1
        for event in history.events
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED
    )
    before = sum(at < killed for at in ended)
    return before, len(ended) - before, again


async def digest(client: Client, feed: Any) -> Row:
    """Read a feed of which one entry is busy at first and one is gone."""
    console.rule("3. A feed over HTTP: retries, and an entry that is gone", align="left")
    began = time.monotonic()
    run = await client.start(flow("feed-digest"), {"feed_url": f"{feed.url}/feed.json", "keyword": "orkflow"})
    result = await Watcher(console).follow(run, "", "")
    console.print(Markdown(str(result.outputs.get("digest", result.error))))
    wrong = differing(FEED_HITS, dict(feed.hits)) or differing({"etag": feed.etag}, result.outputs)
    lines = str(result.outputs.get("digest")).count("\n- ")
    wrong = wrong or ("" if lines == 5 else f"{lines} lines in the digest, expected 5")
    return Row("feed-digest", "entry 6: 503, 503, 200; entry 7: 404, handled", time.monotonic() - began, wrong)


async def poll(client: Client, jobs: Any) -> Row:
    """Start a job on a server and poll until it is done."""
    console.rule("4. A job on another server: a loop polls until it is done", align="left")
    began = time.monotonic()
    run = await client.start(flow("job-poll"), {"server": jobs.url, "text": TEXT})
    result = await Watcher(console).follow(run, "", "")
    wrong = differing(JOB, result.outputs) or ("" if len(jobs.jobs) == 1 else f"{len(jobs.jobs)} jobs were started")
    return Row("job-poll", f"one job, {result.outputs.get('polls')} polls", time.monotonic() - began, wrong)


async def ask(client: Client) -> Row:
    """Have a model sort, read and answer a message. It is simulated: nothing here says how well a model does it."""
    console.rule("5. A support desk: a model sorts, reads and answers (simulated)", align="left")
    began = time.monotonic()
    run = await client.start(flow("support-desk"), {"message": MESSAGE})
    result = await Watcher(console).follow(run, "", "")
    wrong = differing(DESK, result.outputs)
    if not str(result.outputs.get("reply")).startswith("[simulated]"):
        wrong = wrong or f"reply: {result.outputs.get('reply')!r}"
    return Row("support-desk", "classifier, structured output, reply", time.monotonic() - began, wrong)


async def refund(stack: EmbeddedStack, client: Client) -> Row:
    """Have an agent look an order up and pay back, with a yes of a person; the worker dies right after the payment.

    What it thinks is simulated. Its tools are real, and what they did is counted.
    """
    console.rule("6. An agent: it asks before it pays, and its worker is killed as it pays (simulated)", align="left")
    began = time.monotonic()
    watcher = Watcher(console)
    run = await client.start_agent(HERE / "order-agent" / "agent.yml", CLAIM)
    asked = 0
    async for event in run.events():
        watcher.show(event)
        if isinstance(event, RunPaused):
            asked += 1
            watcher.line("[bold]here a person would answer; the demo does it itself: approve[/]")
            (call,) = await run.approvals()
            await run.approve(call.key)
            booked = await payments(stack, run)
            pid = stack.worker_pids[0]
            await stack.kill_worker()
            watcher.line(f"[bold red]kill -9 {pid}[/]: {len(booked)} refund is booked, and nobody has told the agent")
            await stack.restart_worker()
            watcher.line(
                f"[bold green]started worker {stack.worker_pids[0]}[/]; the call is made again, with the same key, "
                "when its heartbeats are missed"
            )
    result, thoughts = await run.result(), await run.thoughts()
    console.print(Markdown(str(result.outputs.get("answer", result.error))))
    booked = await payments(stack, run)
    got = {"rounds": [[call["name"] for call in one.calls] for one in thoughts], "booked": booked, "asked": asked}
    wrong = differing({"rounds": ROUNDS, "booked": [REFUND], "asked": 1}, got)
    if not str(result.outputs.get("answer")).startswith("[simulated]"):
        wrong = wrong or f"answer: {result.outputs.get('answer')!r}"
    watcher.line(
        f"the model was asked {len(thoughts)} times, a person {asked} time, and {len(booked)} refund is booked"
    )
    return Row("order-agent", "two tools, one approval, kill -9 in a refund", time.monotonic() - began, wrong)


async def payments(stack: EmbeddedStack, run: RunHandle) -> list[dict[str, Any]]:
    """Read what the tool has booked in the folder of the run; waits for the first."""
    folder = stack.settings.runs_dir / run.run_id / "refunds"
    async with asyncio.timeout(30):
        while True:
            texts = [file.read_text() for file in folder.glob("*.json")]
            if texts and all(texts):
                return [json.loads(text) for text in texts]
            await asyncio.sleep(0.02)


def script(folder: Path) -> Path:
    """Write what the fake provider says in all examples."""
    read = [yaml.safe_load((HERE / name / "model.yml").read_text()) for name in ("support-desk", "order-agent")]
    path = folder / "model.yml"
    path.write_text(yaml.safe_dump(read[0] | {"steps": [step for one in read for step in one["steps"]]}))
    return path


def conclude(rows: list[Row], total: float) -> None:
    """Print the table and how to do the same."""
    table = Table(title=f"{total:.1f} s in all", title_justify="left")
    for heading in ("flow", "what", "seconds", "outputs"):
        table.add_column(heading, justify="right" if heading == "seconds" else "left")
    for row in rows:
        verdict = f"[red]{row.wrong}[/]" if row.wrong else "[green]as expected[/]"
        table.add_row(row.flow, row.what, f"{row.seconds:.1f}", verdict)
    console.print(table)
    console.print("\nThe same in five lines of Python (in `python -m asyncio`):\n")
    console.print(PYTHON, soft_wrap=True, markup=False)
    console.print("\nand in one line of shell:\n")
    console.print(SHELL, soft_wrap=True)


async def main(keep: bool = False) -> int:
    """Run the demo; 0 when every output is as expected."""
    began = time.monotonic()
    data = {"orders_csv": (HERE / "order-batch" / "orders.csv").read_text()}
    with (
        server_of("feed-digest").serve() as feed,
        server_of("job-poll").serve() as jobs,
        tempfile.TemporaryDirectory(prefix="perdure-demo-") as folder,
    ):
        # Flows may not reach the machine they run on, except where the operator says so.
        os.environ["PERDURE_HTTP_ALLOW"] = f"{feed.address},{jobs.address}"
        settings = WorkerSettings(
            address=None,
            log_level="error",
            graceful_shutdown_s=2.0,
            demo_model="start",
            demo_script=script(Path(folder)),
            tools=HERE / "order-agent" / "tools.yml",
            runs_dir=Path(folder) / "runs",
        )
        async with embedded(settings, ui=keep, progress=console.print) as stack:
            client = Client(stack.client, stack.task_queue, store=stack.store_url)
            seconds = time.monotonic() - began
            console.print(f"Temporal server {stack.address} and worker {stack.worker_pids[0]}, up in {seconds:.1f} s")
            first, result = await orders(client, data)
            rows = [
                first,
                await crash(stack, client, data, result),
                await digest(client, feed),
                await poll(client, jobs),
                await ask(client),
                await refund(stack, client),
            ]
            conclude(rows, time.monotonic() - began)
            if keep:
                console.print(f"The runs are at {stack.ui_url} until you press Enter.")
                await asyncio.to_thread(input)
    return 1 if any(row.wrong for row in rows) else 0


if __name__ == "__main__":
    try:
        code = asyncio.run(main(keep="--keep" in sys.argv[1:]))
    except PerdureError as error:
        console.print(f"[red]{error}[/]")
        code = 1
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)
