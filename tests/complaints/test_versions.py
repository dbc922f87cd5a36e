"""Complaint 39: which version of a flow ran, and an old one that keeps running after a new one was published."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from complaints.flows import cli, client_of, events_of, until

from perdure import Client, CommandRefused, Graph, RunOptions
from perdure_worker.embedded import EmbeddedStack


def write(path: Path, text: str, *, x: int = 0, style: Any = None) -> Graph:
    """Write a flow that asks and then says `text`; `x` and `style` change how the file looks, not what it does."""
    ask = {
        "type": "human-input",
        "title": "ask",
        "form_content": "?",
        "inputs": [],
        "user_actions": [{"id": "go", "title": "Go"}],
        "timeout": 1,
        "timeout_unit": "day",
    }
    say = {"type": "template-transform", "title": "say", "template": text + "{{ 'x' | upper }}", "variables": []}
    last = {"type": "end", "title": "end", "outputs": [{"variable": "said", "value_selector": ["say", "output"]}]}
    nodes = {"start": {"type": "start", "title": "start", "variables": []}, "ask": ask, "say": say, "end": last}
    edges = [("start", "source", "ask"), ("ask", "go", "say"), ("say", "source", "end")]
    graph = {
        "nodes": [{"id": name, "data": data, "position": {"x": x, "y": x}} for name, data in nodes.items()],
        "edges": [
            {"id": f"e{x}{number}", "source": a, "sourceHandle": handle, "target": b}
            for number, (a, handle, b) in enumerate(edges)
        ],
    }
    app = {"name": "published", "mode": "workflow"}
    flow = {"kind": "app", "version": "0.6.0", "app": app, "workflow": {"graph": graph}}
    path.write_text(json.dumps(flow, indent=style))
    return Graph.load(path)


@pytest.mark.crash
async def test_complaint_39_a_run_keeps_the_graph_it_began_with_and_says_which(
    mortal: EmbeddedStack, tmp_path: Path
) -> None:
    """Nobody could tell which version ran; after publishing, some runs went on with the old one, some did not."""
    path = tmp_path / "flow.yml"
    first = write(path, "one")
    # So few events that each run moves to fresh histories, too.
    options = RunOptions(continue_after_events=10)
    client = client_of(mortal)
    old = await client.start(Graph.load(path), options=options)
    await until(old, lambda view: bool(view.forms))
    second = write(path, "two")
    assert second.hash != first.hash
    new = await client.start(Graph.load(path), options=options)
    await until(new, lambda view: bool(view.forms))
    path.unlink()
    await mortal.kill_worker()
    await mortal.restart_worker()
    for handle, graph, said in ((new, second, "twoX"), (old, first, "oneX")):
        for _ in range(3):
            await handle.pause()
            await handle.resume()
        await handle.submit("ask", "go")
        assert await handle.outputs() == {"said": said}
        assert (await handle.status()).graph_hash == graph.hash
        [began] = [event for event in await events_of(handle) if event.type == "run_started"]
        assert began.graph_hash == graph.hash
    shown = json.loads((await cli(mortal, "status", old.run_id, "--json")).splitlines()[-1])
    assert shown["graph_hash"] == first.hash


async def test_complaint_39_runs_are_found_by_the_version_they_run(perdure: Client, tmp_path: Path) -> None:
    """An operator asks which runs are still on the old version before it is taken away."""
    graphs = [write(tmp_path / "flow.yml", text) for text in ("three", "four")]
    handles = [await perdure.start(graph) for graph in (graphs[0], graphs[0], graphs[1])]
    for handle in handles:
        await until(handle, lambda view: bool(view.forms))
    query = f"PerdureGraphHash = '{graphs[0].hash}' AND ExecutionStatus = 'Running'"
    async with asyncio.timeout(20):
        while True:
            found = {run.id async for run in perdure.temporal.list_workflows(query)}
            if found == {handles[0].run_id, handles[1].run_id}:
                break
            await asyncio.sleep(0.1)
    for handle in handles:
        await handle.stop()


async def test_complaint_39_a_caller_pins_a_version_by_the_graph_it_gives(perdure: Client, tmp_path: Path) -> None:
    """A run id belongs to one graph: the same id with another version is refused, not answered by the wrong run."""
    one, two = (write(tmp_path / "flow.yml", text) for text in ("five", "six"))
    handle = await perdure.start(one, run_id=f"pinned-{one.hash[:12]}")
    assert (await perdure.start(one, run_id=handle.run_id)).run_id == handle.run_id
    with pytest.raises(CommandRefused, match="another graph"):
        await perdure.start(two, run_id=handle.run_id)
    await handle.stop()


def test_complaint_39_the_hash_tells_what_a_flow_does_not_how_it_is_drawn(tmp_path: Path) -> None:
    """Moving a node in the editor is no new version; a changed word in a template is."""
    path = tmp_path / "flow.yml"
    drawn = write(path, "same")
    assert write(path, "same", x=700, style=2).hash == drawn.hash
    assert write(path, "Same").hash != drawn.hash
