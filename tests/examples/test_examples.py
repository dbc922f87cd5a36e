"""The example flows validate, their cases hold, and the two that speak HTTP do so with their real servers."""

from __future__ import annotations

import asyncio
import csv
import importlib.util
import re
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import temporalio.client

from perdure import Client, Graph, RunHandle, RunResult
from perdure.testing import find, run_cases
from perdure_graph import checks
from perdure_graph.events import ContainerStarted, Event, FormRequired, NodeFinished
from perdure_worker.embedded import EmbeddedStack, embedded
from perdure_worker.replay import replay
from perdure_worker.settings import WorkerSettings

EXAMPLES = Path(__file__).parents[2] / "examples"
FLOWS = ("order-batch", "feed-digest", "job-poll")


def module_of(path: Path) -> ModuleType:
    """Import a file whose folder is no package."""
    name = f"example_{path.parent.name}_{path.stem}".replace("-", "_")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def flow(name: str) -> Graph:
    return Graph.load(EXAMPLES / name / "flow.yml")


@pytest.fixture(scope="module")
def feed() -> Iterator[Any]:
    with module_of(EXAMPLES / "feed-digest" / "server.py").serve() as server:
        yield server


@pytest.fixture(scope="module")
def jobs() -> Iterator[Any]:
    with module_of(EXAMPLES / "job-poll" / "server.py").serve() as server:
        yield server


@pytest.fixture(scope="module")
async def allowed(stack: EmbeddedStack, feed: Any, jobs: Any) -> AsyncIterator[Client]:
    """A worker on a queue of its own that may reach the two servers; the one of the session may not."""
    settings = WorkerSettings(address=stack.address, task_queue=f"{stack.task_queue}-examples", graceful_shutdown_s=1.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERDURE_HTTP_ALLOW", f"{feed.address},{jobs.address}")
        async with embedded(settings) as running:
            yield Client(running.client, running.task_queue)


@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_is_what_dify_imports_and_runs_as_there(name: str) -> None:
    graph = flow(name)
    text = (EXAMPLES / name / "flow.yml").read_text()
    assert "\nversion: 0.6.0\n" in text
    assert "\nkind: app\n" in text
    assert {finding.level for finding in checks.report(graph)} == {"same"}
    for node_id in graph.nodes:
        assert re.fullmatch(r"[A-Za-z0-9_]{1,50}", node_id), "templates in Dify can only name such ids"


async def test_the_cases_hold(client: temporalio.client.Client, stack: EmbeddedStack) -> None:
    cases = list(find([EXAMPLES]))
    assert sorted(path.parent.name for path, _ in cases) == sorted(FLOWS)
    report = await run_cases(Client(client, stack.task_queue), cases, jobs=4)
    assert [f"{o.file} {o.case}: {o.why}" for o in report.outcomes if o.verdict != "passed"] == []
    assert len(report.outcomes) == sum(len(file.cases) for _, file in cases) >= 9


def expected_total() -> int:
    """What the 200 orders are worth in cents, worked out here in another way."""
    micro = {"EUR": 1_000_000, "USD": 921_500, "GBP": 1_163_000, "CHF": 1_048_000, "JPY": 6_120}
    seen: set[str] = set()
    total = 0
    with (EXAMPLES / "order-batch" / "orders.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            amount, currency = row["amount"] or "", row["currency"] or ""
            form = r"\d+" if currency == "JPY" else r"\d+\.\d\d"
            if currency not in micro or not re.fullmatch(form, amount) or not row["customer"]:
                continue
            if row["order_id"] in seen:
                continue
            seen.add(row["order_id"])
            minor = int(amount.replace(".", "")) * (100 if currency == "JPY" else 1)
            total += (minor * micro[currency] + 500_000) // 1_000_000
    assert len(seen) == 192
    return total


async def test_the_200_orders(client: temporalio.client.Client, stack: EmbeddedStack) -> None:
    inputs = {"orders_csv": (EXAMPLES / "order-batch" / "orders.csv").read_text()}
    run = await Client(client, stack.task_queue).start(flow("order-batch"), inputs)
    events: list[Event] = []
    async for event in run.events():
        events.append(event)
        if isinstance(event, FormRequired):
            assert "29,695.78 EUR (limit 100,000.00 EUR)" in event.form.content
            await run.submit(event.key, "approve", {"note": "fine"})
    outputs = await run.outputs()
    assert {name: outputs[name] for name in ("accepted", "rejected", "decision", "total_cents")} == {
        "accepted": 192,
        "rejected": 8,
        "decision": "approved",
        "total_cents": expected_total(),
    }
    assert "- approval: approved (fine)" in outputs["report"].replace("* ", "- ")
    assert [event.length for event in events if isinstance(event, ContainerStarted)] == [25]
    branches = {event.node_id for event in events if isinstance(event, NodeFinished) and event.frame}
    assert {"convert", "euro"} <= branches, "both branches of the batches ran"


async def test_runs_that_many_watch_replay(client: temporalio.client.Client, stack: EmbeddedStack) -> None:
    """Queries come at any moment, also between a template and what follows it: no history may depend on that."""
    inputs = {"orders_csv": (EXAMPLES / "order-batch" / "orders.csv").read_text(), "order_limit": 10_000}
    starter = Client(client, stack.task_queue)
    runs = [await starter.start(flow("order-batch"), inputs) for _ in range(3)]

    async def watch(run: RunHandle) -> list[int]:
        return [event.seq async for event in run.events()]

    seen = await asyncio.gather(*(watch(run) for run in runs for _ in range(4)))
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in seen)

    async def histories() -> AsyncIterator[temporalio.client.WorkflowHistory]:
        for run in runs:
            yield await client.get_workflow_handle(run.run_id).fetch_history()

    assert [replayed.error async for replayed in replay(histories(), client.data_converter)] == [None] * len(runs)


async def digest(client: Client, **inputs: str) -> RunResult:
    return await (await client.start(flow("feed-digest"), inputs)).result()


async def test_the_feed_is_digested_through_retries_and_a_missing_entry(allowed: Client, feed: Any) -> None:
    feed.hits.clear()
    result = await digest(allowed, feed_url=f"{feed.url}/feed.json", keyword="orkflow")
    assert result.status == "partial-succeeded"
    assert result.exceptions_count == 6, "two answers 503 and four 404"
    lines = result.outputs["digest"].splitlines()
    assert [re.sub(r" \(.*|:.*", "", line) for line in lines[2:]] == [
        "- 2026-09-28  Why our workflow waits on people",
        "- 2026-09-24  Workflow of the month",
        "- 2026-09-20  Idempotency keys for a workflow",
        "- 2026-09-16  Workflow histories are logs you can run",
        "- 2026-09-12  The day the printer was a workflow",
    ]
    assert lines[3].endswith("could not be read.")
    assert sum(line.endswith("could not be read.") for line in lines) == 1
    assert feed.hits["/entries/6"] == 3, "503, 503, then 200"
    assert feed.hits["/entries/7"] == 4, "404, and three retries"
    assert feed.hits["/entries/8"] == 1
    assert "/entries/3" not in feed.hits, "only the newest five are fetched"
    again = await digest(allowed, feed_url=f"{feed.url}/feed.json", etag=result.outputs["etag"])
    assert (again.status, again.outputs) == ("succeeded", {"etag": feed.etag})


async def test_the_feed_is_refused_where_the_operator_did_not_allow_it(
    client: temporalio.client.Client, stack: EmbeddedStack, feed: Any
) -> None:
    feed.hits.clear()
    result = await digest(Client(client, stack.task_queue), feed_url=f"{feed.url}/feed.json")
    assert result.status == "failed"
    assert result.error is not None
    assert result.error.type == "HttpAddressBlocked"
    assert not feed.hits


async def test_the_job_is_polled_until_done(allowed: Client, jobs: Any) -> None:
    before = len(jobs.jobs)
    run = await allowed.start(flow("job-poll"), {"server": jobs.url, "text": "the cat, the dog and the bird"})
    assert await run.outputs() == {"status": "done", "polls": 4, "words": 7, "most_common": "the"}
    assert len(jobs.jobs) == before + 1
    assert list(jobs.jobs.values())[-1].polls == 4


def test_the_job_server_makes_one_job_per_key() -> None:
    server = module_of(EXAMPLES / "job-poll" / "server.py")
    with server.serve() as running:
        first, again, other = running.take("k", "a"), running.take("k", "a"), running.take("", "a")
        assert first is again
        assert other is not first
