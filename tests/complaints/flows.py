"""What the complaint tests share: a target that counts what reaches it, and small flows around it."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from temporalio.client import Client as TemporalClient

from fakes.command_line import COMMAND
from fakes.graphs import document, end, node, start, template
from fakes.http_server import HttpServer, Recorded, listening
from perdure import Client, Graph, RunHandle
from perdure_graph.events import Event
from perdure_graph.view import RunView
from perdure_store.read import Store
from perdure_store.records import RunRecord
from perdure_worker.embedded import EmbeddedStack


@dataclass
class Target(HttpServer):
    """The outside world: `/hit?of=<who>` counts, `/slow?of=<who>&s=<seconds>` takes time, `/hold?of=<who>` waits.

    busy: requests that are being answered now; peak: the most there were at once.
    """

    busy: int = 0
    peak: int = 0

    def hits(self, prefix: str = "") -> Counter[str]:
        """How often each who was asked for."""
        asked = (parse_qs(urlsplit(request.target).query).get("of", [""])[0] for request in self.requests)
        return Counter(who for who in asked if who.startswith(prefix))

    async def _answer(self, request: Recorded, writer: asyncio.StreamWriter) -> None:
        parts = urlsplit(request.target)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        self.busy += 1
        self.peak = max(self.peak, self.busy)
        try:
            if parts.path == "/slow":
                await asyncio.sleep(float(query["s"]))
            elif parts.path == "/hold":
                await self.release.wait()
        finally:
            self.busy -= 1
        body = query.get("say", "ok").encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


@asynccontextmanager
async def serving() -> AsyncIterator[Target]:
    """Serve a target on a free port."""
    target = Target()
    async with listening(target.handle) as target.port:
        yield target


def call(node_id: str, url: str, parent: str | None = None, **data: Any) -> Any:
    """A POST to a URL, which may name variables."""
    given: dict[str, Any] = {
        "method": "post",
        "url": url,
        "headers": "",
        "params": "",
        "authorization": {"type": "no-auth", "config": None},
        "body": {"type": "none", "data": []},
        "timeout": {},
    }
    return node(node_id, "http-request", parent, **given | data)


def ask(node_id: str, *actions: str, timeout: int = 1, fields: tuple[str, ...] = ("note",)) -> Any:
    """A form with buttons (`go` where none is named) and text fields; it times out after `timeout` days."""
    return node(
        node_id,
        "human-input",
        form_content=f"{node_id}?",
        inputs=[{"type": "text_input", "output_variable_name": name} for name in fields],
        user_actions=[{"id": action, "title": action} for action in actions or ("go",)],
        timeout=timeout,
        timeout_unit="day",
    )


def shout(node_id: str, parent: str | None = None, /, **variables: list[str]) -> Any:
    """A template that is rendered in an activity, so that it is an effect."""
    text = " ".join(f"{{{{ {name} | upper }}}}" for name in variables)
    return template(node_id, text, parent, **variables)


def graph(nodes: list[Any], edges: list[tuple[str, ...]], **more: Any) -> Graph:
    """A graph; the start node with a number `x` and a text `s` is added."""
    return Graph.from_document(document([start(x="number", s="paragraph"), *nodes], edges, **more))


def chain(*nodes: Any, **outputs: list[str]) -> Graph:
    """start -> nodes in a row -> end; forms go on by their first action."""
    names = ["start", *(each.id for each in nodes), "end"]
    handles = {each.id: each.data["user_actions"][0]["id"] for each in nodes if each.data["type"] == "human-input"}
    edges = [
        (source, handles[source], target) if source in handles else (source, target)
        for source, target in itertools.pairwise(names)
    ]
    return graph([*nodes, end(**outputs)], edges)


def counting_loop(rounds: int, body: list[Any], edges: list[tuple[str, ...]], stop_at: int | None = None) -> list[Any]:
    """Nodes of a loop `lo` whose variable `count` grows by one per round; `keep` is the last of its inside.

    edges: inside the loop, from `los` to `keep`; they are not added here.
    """
    conditions = (
        []
        if stop_at is None
        else [{"variable_selector": ["lo", "count"], "comparison_operator": "≥", "value": str(stop_at)}]
    )
    assert ("keep" in {edge[-1] for edge in edges}) and edges[0][0] == "los"
    return [
        node(
            "lo",
            "loop",
            start_node_id="los",
            loop_count=rounds,
            loop_variables=[{"label": "count", "var_type": "number", "value_type": "constant", "value": 0}],
            break_conditions=conditions,
            logical_operator="and",
        ),
        node("los", "loop-start", "lo", isInLoop=True, loop_id="lo"),
        *body,
        node(
            "keep",
            "assigner",
            "lo",
            version="2",
            items=[{"variable_selector": ["lo", "count"], "input_type": "constant", "operation": "+=", "value": 1}],
        ),
    ]


def client_of(stack: EmbeddedStack) -> Client:
    """A client of the workers of a stack, which reads their run store."""
    return Client(stack.client, stack.task_queue, task_timeout=stack.task_timeout, store=stack.store_url)


async def cli(stack: EmbeddedStack, *words: str) -> str:
    """What `perdure ...` prints; it must do what it is told."""
    given = {"PERDURE_ADDRESS": stack.address, "PERDURE_BLOBS": stack.blobs, "PERDURE_STORE": stack.store_url}
    return await output_of([*COMMAND, *words], {**os.environ, **given})


async def output_of(argv: list[str], environment: dict[str, str] | None = None) -> str:
    """What a command prints; it must end well."""
    done = await asyncio.to_thread(
        subprocess.run, argv, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, (argv, done.stdout, done.stderr)
    return done.stdout


async def until(handle: RunHandle, fits: Callable[[RunView], bool] | str, seconds: float = 30) -> RunView:
    """Wait until the view of a run fits, or has the status that is named."""
    async with asyncio.timeout(seconds):
        while True:
            view = await handle.status()
            if view.status == fits if isinstance(fits, str) else fits(view):
                return view
            await asyncio.sleep(0.03)


async def reached(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def events_of(handle: RunHandle) -> list[Event]:
    """All events of a run that has ended; their numbers have no gap."""
    events = [event async for event in handle.events()]
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    return events


async def stored(stack: EmbeddedStack, run_id: str) -> tuple[RunRecord, list[Event]]:
    """What the run store has of a run that has ended, once all of it is there."""
    events = [entry.event async for entry in client_of(stack).run(run_id).log()]
    async with Store.open(stack.store_url) as store:
        return await store.run(run_id), events


async def scheduled(temporal: TemporalClient, run_id: str) -> Counter[str]:
    """How often each effect of a run was asked for, by activity id."""
    history = await temporal.get_workflow_handle(run_id).fetch_history()
    return Counter(
        event.activity_task_scheduled_event_attributes.activity_id
        for event in history.events
        if event.HasField("activity_task_scheduled_event_attributes")
        and event.activity_task_scheduled_event_attributes.activity_type.name != "record_events"
    )
