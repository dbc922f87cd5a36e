"""A run becomes a regression case: it passes with the outside world gone, and fails when the flow does otherwise."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from client.conftest import Outside
from client.test_fork import call

from fakes.graphs import code, document, end, node, start, template
from perdure import Graph, InvalidInputs, RunHandle, RunOptions
from perdure.testing import TestReport, find, record_case, run_cases, write_case
from perdure_graph.errors import PerdureError
from perdure_graph.graph import Document
from perdure_graph.values import ValueType


async def written(handle: RunHandle, folder: Path) -> Path:
    """The case file of a run."""
    return write_case(await record_case(handle), folder / "flow.cases.json", None)[0]


async def checked(outside: Outside, case: Path) -> TestReport:
    """Run a case; nothing may reach the outside world."""
    outside.server.requests.clear()
    report = await run_cases(outside.client, find([case]))
    assert outside.asked() == []
    return report


def edited(case: Path, old: str, new: str) -> None:
    """Change the flow beside a case."""
    flow = case.with_name("flow.graph.json")
    text = flow.read_text()
    assert old in text
    flow.write_text(text.replace(old, new))


def order(outside: Outside) -> Document:
    """Ask the outside (item by item too), ask a person, work out a total; a branch is skipped."""
    inner = {"iteration_id": "it", "isInIteration": True}
    ask = node(
        "ask",
        "human-input",
        form_content="Sum {{#sum.total#}}?",
        inputs=[{"type": "text_input", "output_variable_name": "note"}],
        user_actions=[{"id": "yes", "title": "Yes"}, {"id": "no", "title": "No"}],
        timeout=1,
        timeout_unit="day",
    )
    total = "def main(bodies):\n    return {'total': sum(len(body) for body in bodies)}"
    return document(
        [
            start(items="json_object"),
            call("fetch", outside.url("fetch")),
            node(
                "it",
                "iteration",
                start_node_id="its",
                iterator_selector=["start", "items", "l"],
                output_selector=["book", "body"],
            ),
            node("its", "iteration-start", "it", **inner),
            call("book", outside.url("book-{{#it.item#}}"), "it", **inner),
            code("sum", total, {"total": "number"}, bodies=["it", "output"]),
            ask,
            template("kept", "kept {{ n }}", n=["ask", "note"]),
            template("lost", "lost"),
            end(text=["kept", "output"], total=["sum", "total"]),
        ],
        [
            ("start", "fetch"),
            ("fetch", "it"),
            ("its", "book"),
            ("it", "sum"),
            ("sum", "ask"),
            ("ask", "yes", "kept"),
            ("ask", "no", "lost"),
            ("kept", "end"),
        ],
    )


async def ordered(outside: Outside, **more: Any) -> RunHandle:
    handle = await outside.client.start(
        Graph.from_document(order(outside)), {"items": {"l": ["a", "bb", "ccc"]}}, **more
    )
    async with asyncio.timeout(60):
        while (await handle.status()).status != "paused":
            await asyncio.sleep(0.05)
    await handle.submit("ask", "yes", {"note": "fine"})
    assert (await handle.result()).status == "succeeded"
    return handle


async def test_a_case_passes_without_the_outside_and_fails_when_the_flow_changes(
    outside: Outside, tmp_path: Path
) -> None:
    handle = await ordered(outside)
    assert outside.asked() == ["fetch", "book-a", "book-bb", "book-ccc"]
    case = await written(handle, tmp_path)
    data = json.loads(case.read_text())["cases"][0]
    assert sorted(data["mocks"]) == ["book", "fetch", "it[1].book", "it[2].book"]
    assert data["human"] == {"ask": {"handle": "yes", "outputs": {"note": "fine"}}}
    assert data["expect"]["nodes"]["lost"] == {"status": "skipped"}
    report = await checked(outside, case)
    assert [(outcome.verdict, outcome.why) for outcome in report.outcomes] == [("passed", "")]
    edited(case, "sum(len(body)", "1 + sum(len(body)")
    (failed,) = (await checked(outside, case)).outcomes
    assert failed.verdict == "failed"
    assert "--- node sum expected\n+++ node sum got" in failed.why
    total = data["expect"]["outputs"]["total"]
    assert f'-  "total": {total}\n+  "total": {total + 1}' in failed.why


async def test_an_iteration_in_windows_is_pinned_as_a_whole(outside: Outside, tmp_path: Path) -> None:
    handle = await ordered(outside, options=RunOptions(window_items=2))
    recording = await record_case(handle)
    assert sorted(recording.case["mocks"]) == ["fetch", "it"]
    assert "'it' is pinned as a whole" in recording.notes[0]
    case, _ = write_case(recording, tmp_path / "flow.cases.json", None)
    assert (await checked(outside, case)).count("passed") == 1


async def test_a_fork_makes_a_case_too(outside: Outside, tmp_path: Path) -> None:
    handle = await ordered(outside)
    forked = await handle.fork("kept")
    await forked.result()
    case = await written(forked, tmp_path)
    assert (await checked(outside, case)).count("passed") == 1


async def test_failures_and_retries_of_the_outside_are_repeated(outside: Outside, tmp_path: Path) -> None:
    retry = {"retry_enabled": True, "max_retries": 2, "retry_interval": 1}
    refused = "http://127.0.0.1:1/closed"
    handled = call("away", refused, error_strategy="fail-branch", retry_config=retry)
    nodes = [start(), handled, template("said", "{{ m }}", m=["away", "error_type"]), end(text=["said", "output"])]
    graph = Graph.from_document(document(nodes, [("start", "away"), ("away", "fail-branch", "said"), ("said", "end")]))
    handle = await outside.client.start(graph)
    result = await handle.result()
    assert (result.status, result.exceptions_count) == ("partial-succeeded", 3)
    case = await written(handle, tmp_path)
    data = json.loads(case.read_text())["cases"][0]
    assert set(data["mocks"]["away"]) == {"error", "error_type"}
    report = await checked(outside, case)
    assert [(outcome.verdict, outcome.why) for outcome in report.outcomes] == [("passed", "")]


async def test_a_run_that_failed_makes_a_case_that_expects_it(outside: Outside, tmp_path: Path) -> None:
    source = "def main():\n    return {'r': 1 / 0}"
    nodes = [start(), call("a", outside.url("a")), code("bad", source, {"r": "number"}), end(r=["bad", "r"])]
    graph = Graph.from_document(document(nodes, [("start", "a"), ("a", "bad"), ("bad", "end")]))
    handle = await outside.client.start(graph)
    await handle.result()
    case = await written(handle, tmp_path)
    assert (await checked(outside, case)).count("passed") == 1
    edited(case, "1 / 0", "1 / 1")
    (failed,) = (await checked(outside, case)).outcomes
    assert '-"failed"\n+"succeeded"' in failed.why


async def test_what_differs_from_run_to_run_is_kept_and_secrets_are_not(outside: Outside, tmp_path: Path) -> None:
    nodes = [
        start(),
        template("stamp", "{{ t }} {{ r }}", t=["sys", "timestamp"], r=["sys", "workflow_run_id"]),
        call("keyed", outside.url("k") + "&key={{#env.key#}}"),
        end(text=["stamp", "output"]),
    ]
    secret = ({"name": "key", "value_type": ValueType.SECRET, "value": "canary-3141"},)
    edges = [("start", "stamp"), ("stamp", "keyed"), ("keyed", "end")]
    handle = await outside.client.start(Graph.from_document(document(nodes, edges, environment=secret)))
    await handle.result()
    recording = await record_case(handle)
    assert recording.case["sysvars"]["workflow_run_id"] == handle.run_id
    case, flow = write_case(recording, tmp_path / "flow.cases.json", None)
    assert "canary" not in flow.read_text() + case.read_text()
    assert "key=********" in recording.case["mocks"]["keyed"]["outputs"]["body"]
    assert any("secret variables are left out" in note for note in recording.notes)
    assert (await checked(outside, case)).count("passed") == 1
    again, _ = write_case(recording, case, None)
    assert len(json.loads(again.read_text())["cases"]) == 1, "the case of a run is written over, not twice"


async def test_cases_gather_in_one_file_for_one_flow(outside: Outside, tmp_path: Path) -> None:
    def greeting(text: str) -> Graph:
        nodes = [start(who="text-input"), template("say", text, who=["start", "who"]), end(text=["say", "output"])]
        return Graph.from_document(document(nodes, [("start", "say"), ("say", "end")]))

    case = tmp_path / "flow.cases.json"
    for who in ("x", "y"):
        handle = await outside.client.start(greeting("hello {{ who }}"), {"who": who})
        await handle.result()
        write_case(await record_case(handle), case, None)
    assert (await checked(outside, case)).count("passed") == 2
    other = await outside.client.start(greeting("bye {{ who }}"), {"who": "z"})
    await other.result()
    with pytest.raises(InvalidInputs, match="drawn otherwise than the run was"):
        write_case(await record_case(other), case, None)


async def test_runs_that_have_not_ended_or_were_stopped_make_no_case(outside: Outside) -> None:
    ask = node("ask", "human-input", form_content="?", user_actions=[{"id": "y", "title": "Y"}], timeout=1)
    graph = Graph.from_document(document([start(), ask, end()], [("start", "ask"), ("ask", "y", "end")]))
    handle = await outside.client.start(graph)
    for status in ("paused", "stopped"):
        async with asyncio.timeout(30):
            while (await handle.status()).status != status:
                await asyncio.sleep(0.05)
        with pytest.raises(PerdureError, match=f"is {status}: no case"):
            await record_case(handle)
        if status == "paused":
            await handle.stop()


async def test_the_command_writes_a_case_that_the_command_runs(outside: Outside, tmp_path: Path) -> None:
    handle = await ordered(outside)
    case = tmp_path / "orders.cases.json"
    done = await outside.cli("test", "--from-run", handle.run_id, "-o", case, "--json")
    assert done.code == 0, done.err
    assert (done.json["case"], done.json["flow"]) == (str(case), str(tmp_path / "orders.graph.json"))
    outside.asked()
    ran = await outside.cli("test", case)
    assert (ran.code, "1 passed, 0 failed" in ran.out, outside.asked()) == (0, True, [])
    flow = tmp_path / "orders.graph.json"
    flow.write_text(flow.read_text().replace("kept {{ n }}", "held {{ n }}"))
    ran = await outside.cli("test", flow)
    assert ran.code == 1
    assert "node kept expected" in ran.out
    assert (await outside.cli("test")).code == 2
