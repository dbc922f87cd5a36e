"""`perdure set`, `retry`, `pause`, `--on-failure` and `--deadline` on a server, as a shell sees them."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from client.conftest import Outside

from fakes.graphs import code, document, end, node, start
from perdure_graph.graph import NodeSpec

DIVIDE = "def main(x):\n    return {'r': 12 // x}"


def written(folder: Path, *between: NodeSpec, out: list[str]) -> Path:
    """A Dify document on disk."""
    ids = ["start", *(spec.id for spec in between), "end"]
    drawn = document([start(x="number"), *between, end(out=out)], [])
    nodes = [{"id": spec.id, "data": {"title": spec.id, **spec.data}} for spec in drawn.nodes]
    handles = {"ask": "go"}
    edges = [
        {"id": f"e{n}", "source": a, "target": b, "sourceHandle": handles.get(a, "source")}
        for n, (a, b) in enumerate(pairwise(ids))
    ]
    path = folder / "flow.json"
    app = {"name": "divides", "mode": "workflow"}
    graph = {"graph": {"nodes": nodes, "edges": edges}}
    path.write_text(json.dumps({"kind": "app", "version": "0.6.0", "app": app, "workflow": graph}))
    return path


def divides(folder: Path) -> Path:
    return written(folder, code("k", DIVIDE, {"r": "number"}, x=["start", "x"]), out=["k", "r"])


def asks(folder: Path) -> Path:
    actions = [{"id": "go", "title": "Go"}]
    ask = node("ask", "human-input", form_content="?", inputs=[], user_actions=actions, timeout=1, timeout_unit="day")
    return written(folder, ask, out=["start", "x"])


async def until(outside: Outside, run: str, met: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    async with asyncio.timeout(90):
        while not met(shown := (await outside.cli("status", run, "--json")).json):
            await asyncio.sleep(0.1)
        return shown


async def started(outside: Outside, flow: Path, *options: str) -> str:
    run = f"cli-{uuid.uuid4()}"
    done = await outside.cli("start", flow, "--run-id", run, *options)
    assert done.code == 0, done.err
    return run


async def test_a_failed_node_waits_is_mended_by_set_and_runs_again(outside: Outside, tmp_path: Path) -> None:
    run = await started(outside, divides(tmp_path), "-i", "x=0", "--on-failure", "wait")
    shown = await until(outside, run, lambda view: view["held"])
    assert (shown["status"], shown["held"][0]["key"], shown["held"][0]["reason"]) == ("paused", "k", "failed")
    told = await outside.cli("status", run)
    assert f"run it again: perdure retry {run} k" in told.out
    refused = await outside.cli("set", run, "start.x=four", "--json")
    assert (refused.code, refused.json["status"]) == (1, "refused")
    assert "start.x: it must be number, got string" in refused.json["error"]["message"]
    assert (await outside.cli("set", run, "start.x", "--json")).code == 2
    (tmp_path / "four.json").write_text("4")
    assert (await outside.cli("set", run, f"start.x=@{tmp_path / 'four.json'}")).code == 0
    nobody = await outside.cli("retry", run, "start")
    assert nobody.code == 1
    assert "no node 'start'" in nobody.err
    assert (await outside.cli("retry", run, "k")).code == 0
    result = await outside.cli("result", run, "--json")
    assert (result.code, result.json["outputs"]) == (0, {"out": 3})


async def test_outputs_are_given_from_the_command_line(outside: Outside, tmp_path: Path) -> None:
    run = await started(outside, divides(tmp_path), "-i", "x=0", "--on-failure", "wait")
    await until(outside, run, lambda view: view["held"])
    for text, code_, said in (
        ("[1]", 2, "--outputs '[1]' is no JSON object"),
        ('{"r": "x"}', 1, "output 'r' of node 'k' must be number, got string"),
    ):
        refused = await outside.cli("retry", run, "k", "--outputs", text)
        assert (refused.code, said in refused.err) == (code_, True), refused.err
    assert (await outside.cli("retry", run, "k", "--outputs", '{"r": 42}')).code == 0
    assert (await outside.cli("result", run, "--json")).json["outputs"] == {"out": 42}


async def test_a_deadline_ends_a_run_and_commands_after_it_say_how(outside: Outside, tmp_path: Path) -> None:
    run = await started(outside, asks(tmp_path), "-i", "x=1", "--deadline", "15")
    shown = await until(outside, run, lambda view: view["forms"])
    assert shown["deadline_at"] == shown["started_at"] + 15_000
    assert "  deadline: " in (await outside.cli("status", run)).out
    result = await outside.cli("result", run, "--json")
    assert (result.code, result.json["error"]["type"]) == (1, "DeadlineExceeded")
    for words in (["pause", run], ["resume", run], ["stop", run], ["submit", run, "ask", "go"], ["retry", run, "ask"]):
        refused = await outside.cli(*words, "--json")
        assert (refused.code, refused.json["status"]) == (1, "refused")
        assert f"run '{run}' has ended (failed)." in refused.json["error"]["message"]


@pytest.mark.parametrize("seconds", ["0", "-1", "soon"])
async def test_a_deadline_that_is_none_is_refused(outside: Outside, tmp_path: Path, seconds: str) -> None:
    done = await outside.cli("start", asks(tmp_path), "-i", "x=1", "--deadline", seconds)
    assert (done.code, "--deadline" in done.err) == (2, True)
