"""Commands through Temporal: two clients at once, signals beside updates, after the end, and runs nobody works on."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from typing import Any

import pytest
from temporalio.service import RPCError, RPCStatusCode

import perdure.client as client_module
from fakes.graphs import code, document, end, iteration, node, start
from fakes.moments import loop
from perdure import Client, CommandRefused, Graph, RunHandle, RunNotFound, RunOptions
from perdure_graph.events import FormFilled, NodeFinished, NodeHeld, RunPaused, VariablesSet
from perdure_graph.graph import NodeSpec
from perdure_graph.view import RunView
from perdure_worker.embedded import EmbeddedStack

DIVIDE = "def main(x):\n    return {'r': 12 // x}"
ENDLESS = "def main(x):\n    while True: pass"
ITEMS = list(range(30))
SLOW = "def main(x):\n    t = 0\n    for i in range(2_000_000):\n        t += i\n    return {'r': x}"


@pytest.fixture(scope="session")
def perdure(stack: EmbeddedStack) -> Client:
    return Client(stack.client, stack.task_queue)


def ask(node_id: str) -> NodeSpec:
    actions = [{"id": "go", "title": "Go"}, {"id": "no", "title": "No"}]
    return node(node_id, "human-input", form_content="?", user_actions=actions, timeout=1, timeout_unit="day")


def line(*between: NodeSpec, out: list[str] | None = None) -> Graph:
    ids = ["start", *(spec.id for spec in between), "end"]
    edges = [(a, "go", b) if a == "ask" else (a, b) for a, b in pairwise(ids)]
    return Graph.from_document(document([start(x="number"), *between, end(out=out or ["start", "x"])], edges))


def worker(node_id: str, source: str = DIVIDE, **data: Any) -> NodeSpec:
    spec = code(node_id, source, {"r": "number"}, x=["start", "x"])
    return spec.model_copy(update={"data": spec.data | data})


async def until(handle: RunHandle, met: Callable[[RunView], Any]) -> RunView:
    async with asyncio.timeout(30):
        while not met(view := await handle.status()):
            await asyncio.sleep(0.02)
        return view


async def asking(perdure: Client) -> RunHandle:
    handle = await perdure.start(line(ask("ask")), {"x": 1})
    await until(handle, lambda view: view.forms)
    return handle


async def every(*commands: Any) -> tuple[list[RunView], list[str]]:
    """Give commands at the same time: what was answered, and why the others were refused."""
    answers = await asyncio.gather(*commands, return_exceptions=True)
    refused = [str(a) for a in answers if isinstance(a, CommandRefused)]
    views = [a for a in answers if isinstance(a, RunView)]
    assert len(views) + len(refused) == len(answers), answers
    return views, refused


async def test_of_two_clients_that_pause_at_once_one_is_told_so(perdure: Client) -> None:
    handle, other = await asking(perdure), None
    other = perdure.run(handle.run_id)
    views, refused = await every(handle.pause("mine"), other.pause("theirs"))
    assert (len(views), len(refused)) == (1, 1)
    assert "is paused already" in refused[0]
    views, refused = await every(handle.resume(), other.resume())
    assert (len(views), len(refused)) == (1, 1)
    await handle.stop()


async def test_two_clients_with_one_id_give_one_command(perdure: Client) -> None:
    handle = await asking(perdure)
    other = perdure.run(handle.run_id)
    views, refused = await every(*(each.pause("lunch", id="p1") for each in (handle, other, handle, other)))
    assert (len(views), refused) == (4, [])
    await handle.resume()
    assert (await other.pause("lunch", id="p1")).reasons == [
        {"type": "human_input_required", "key": "ask", "node_id": "ask"}
    ]
    await handle.stop(id="s1")
    assert (await other.stop(id="s1")).status == "stopped", "a repeat is answered after the end as well"


async def test_of_many_answers_to_one_form_exactly_one_counts(perdure: Client) -> None:
    """Complaint 10: a double submit has one defined outcome."""
    handle = await asking(perdure)
    views, refused = await every(*(perdure.run(handle.run_id).submit("ask", "go") for _ in range(6)))
    assert (len(views), len(refused)) == (1, 5)
    assert await handle.outputs() == {"out": 1}
    assert sum(isinstance(e, FormFilled) for e in [e async for e in handle.events()]) == 1


async def test_parallel_forms_answered_at_once_all_land(perdure: Client) -> None:
    """Complaint 11: two parallel forms answered together leave the run paused."""
    names = [f"f{n}" for n in range(5)]
    flow = document(
        [start(x="number"), *map(ask, names), end(**{n: [n, "__action_id"] for n in names})],
        [("start", n) for n in names] + [(n, "go", "end") for n in names],
    )
    handle = await perdure.start(Graph.from_document(flow), {"x": 1})
    await until(handle, lambda view: len(view.forms) == 5)
    _, refused = await every(*(perdure.run(handle.run_id).submit(n, "go") for n in names))
    assert refused == []
    assert await handle.outputs() == dict.fromkeys(names, "go")


async def test_two_stops_at_once_stop_once(perdure: Client) -> None:
    """Complaint 7: the stop API answers success, and nodes keep running."""
    handle = await perdure.start(line(worker("spin", ENDLESS)), {"x": 1})
    await until(handle, lambda view: any(n.key == "spin" for n in view.nodes))
    views, refused = await every(handle.stop("a"), perdure.run(handle.run_id).stop("b"))
    assert views
    assert {view.status for view in views} == {"stopped"}
    assert all("has ended" in text for text in refused)
    assert (await handle.result()).status == "stopped"
    with pytest.raises(CommandRefused, match="has ended"):
        await handle.stop()


async def test_a_stop_and_an_answer_at_once_leave_one_clear_end(perdure: Client) -> None:
    handle = await asking(perdure)
    views, refused = await every(handle.submit("ask", "go"), perdure.run(handle.run_id).stop())
    assert (len(views), len(refused)) == (1, 1)
    assert (await handle.result()).status == ("succeeded" if "cannot stop" in refused[0] else "stopped")


async def test_a_signal_counts_once_even_beside_an_update(perdure: Client) -> None:
    handle = await asking(perdure)
    signals = perdure.temporal.get_workflow_handle(handle.run_id)
    for _ in range(3):
        await signals.signal("pause", {"id": "p", "reason": "by signal"})
    await until(handle, lambda view: any(r.get("message") == "by signal" for r in view.reasons))
    assert (await handle.pause("by update", id="p")).reasons[0]["message"] == "by signal"
    await signals.signal("resume", {"id": "r"})
    await until(handle, lambda view: view.reasons and view.reasons[0]["type"] == "human_input_required")
    await signals.signal("pause", {"id": "p"})
    await signals.signal("set_variables", {"id": "v", "variables": {"start": {"x": 5}}})
    await signals.signal("set_variables", {"variables": {"sys": {"x": 5}}})
    await signals.signal("submit", {"id": "f", "form": "ask", "action": "go"})
    assert await handle.outputs() == {"out": 5}
    events = [event async for event in handle.events()]
    assert sum(isinstance(event, VariablesSet) for event in events) == 1
    assert sum(isinstance(event, RunPaused) for event in events) == 1, "it was paused all along"


@pytest.mark.parametrize(("x", "stop", "status"), [(3, False, "succeeded"), (0, False, "failed"), (3, True, "stopped")])
async def test_after_the_end_every_command_names_the_run_and_its_status(
    perdure: Client, x: int, stop: bool, status: str
) -> None:
    handle = await perdure.start(line(ask("ask") if stop else worker("k")), {"x": x})
    if stop:
        await handle.stop()
    await handle.result()
    for command in (
        handle.pause(),
        handle.resume(),
        handle.stop(),
        handle.submit("ask", "go"),
        handle.set_variables({"start": {"x": 1}}),
        handle.retry("k"),
    ):
        with pytest.raises(CommandRefused, match=rf"^cannot .*: run '{handle.run_id}' has ended \({status}\)\.$"):
            await command
    with pytest.raises(RunNotFound, match="there is no run 'nobody'"):
        await perdure.run("nobody").stop()


def in_container(kind: str) -> tuple[Graph, dict[str, Any]]:
    """A graph whose work lies in a container, and the outputs of a run in which nothing went wrong."""
    if kind == "loop":
        return Graph.from_document(loop(code("k", SLOW, {"r": "number"}, "loop", x=["start", "n"]), rounds=20)), {
            "out": 20
        }
    inner = [code("k", SLOW, {"r": "number"}, "it", x=["it", "item"])]
    flow = iteration(["start", "items", "l"], inner, [("its", "k")], ["k", "r"], is_parallel=True, parallel_nums=2)
    return Graph.from_document(flow), {"out": ITEMS}


@pytest.mark.parametrize("kind", ["iteration", "windows", "loop"])
async def test_two_clients_command_a_container_in_the_same_second(perdure: Client, kind: str) -> None:
    flow, outputs = in_container(kind)
    options = RunOptions(window_items=10 if kind == "windows" else 1000)
    inputs = {"n": 1} if kind == "loop" else {"items": {"l": ITEMS}}
    handle = await perdure.start(flow, inputs, options=options)
    other = perdure.run(handle.run_id)
    await until(handle, lambda view: any(n.node_type in ("iteration", "loop") for n in view.nodes))
    views, refused = await every(handle.pause("mine"), other.pause("theirs"), other.retry("k"), handle.resume(id="r"))
    assert all(text.startswith(("cannot pause", "cannot resume", "cannot retry")) for text in refused)
    assert any("no node 'k'" in text for text in refused)
    if (await handle.status()).status == "running":
        # The resume came in between, or last.
        await handle.pause()
    await until(handle, lambda view: view.status == "paused")
    started = await effects_of(perdure, handle.run_id)
    await asyncio.sleep(0.3)
    assert await effects_of(perdure, handle.run_id) == started, "an effect started while the run was paused"
    views, refused = await every(handle.resume(), other.resume())
    assert (len(views), len(refused)) == (1, 1)
    assert "is not paused" in refused[0]
    assert await handle.outputs() == outputs
    assert await effects_of(perdure, handle.run_id) > started


async def effects_of(perdure: Client, run_id: str) -> int:
    """Count the effects of a run and its windows that were asked for so far."""
    found, ids = 0, [run_id]
    for workflow_id in ids:
        history = await perdure.temporal.get_workflow_handle(workflow_id).fetch_history()
        for event in history.events:
            child = event.start_child_workflow_execution_initiated_event_attributes
            if child.workflow_type.name == "IterationWindow":
                ids.append(child.workflow_id)
            found += event.activity_task_scheduled_event_attributes.activity_type.name == "run_code"
    return found


async def test_of_two_retries_at_once_one_counts(perdure: Client) -> None:
    flow = line(worker("k"), out=["k", "r"])
    handle = await perdure.start(flow, {"x": 0}, options=RunOptions(on_failure="wait"))
    await until(handle, lambda view: view.held)
    _, refused = await every(handle.retry("k", {"r": 1}), perdure.run(handle.run_id).retry("k", {"r": 2}))
    assert len(refused) == 1
    assert "no node 'k'" in refused[0] or "has ended (partial-succeeded)" in refused[0]
    assert (await handle.outputs())["out"] in (1, 2)


async def test_of_two_that_set_variables_at_once_both_land_whole(perdure: Client) -> None:
    handle = await asking(perdure)
    other = perdure.run(handle.run_id)
    _, refused = await every(handle.set_variables({"start": {"x": 5}}), other.set_variables({"start": {"x": 6}}))
    assert refused == []
    await handle.submit("ask", "go")
    written = [e.variables["start"]["x"] for e in [e async for e in handle.events()] if isinstance(e, VariablesSet)]
    assert sorted(written) == [5, 6]
    assert await handle.outputs() == {"out": written[-1]}


async def test_a_failure_waits_is_mended_and_goes_on(perdure: Client) -> None:
    """Complaint 15: no restart at the failed node."""
    flow = line(worker("k"), out=["k", "r"])
    handle = await perdure.start(flow, {"x": 0}, options=RunOptions(on_failure="wait"))
    view = await until(handle, lambda view: view.held)
    assert (view.status, view.held[0].key, view.reasons[0]["type"]) == ("paused", "k", "node_held")
    assert "ZeroDivisionError" in view.held[0].error
    with pytest.raises(CommandRefused, match="it must be number, got string"):
        await handle.set_variables({"start": {"x": "four"}})
    await handle.set_variables({"start": {"x": 4}})
    assert (await perdure.run(handle.run_id).retry("k")).status == "running"
    assert await handle.outputs() == {"out": 3}
    ends = [e.status for e in [e async for e in handle.events()] if isinstance(e, NodeFinished) and e.node_id == "k"]
    assert ends == ["failed", "succeeded"]


async def test_an_operator_gives_the_outputs(perdure: Client) -> None:
    flow = line(worker("k"), out=["k", "r"])
    handle = await perdure.start(flow, {"x": 0}, options=RunOptions(on_failure="wait"))
    await until(handle, lambda view: view.held)
    with pytest.raises(CommandRefused, match="To run it again from there, fork the run"):
        await handle.retry("start")
    await handle.retry("k", {"r": 42})
    assert await handle.outputs() == {"out": 42}


async def test_deadlines_of_runs_and_of_nodes_are_kept(perdure: Client) -> None:
    run = await perdure.start(line(ask("ask")), {"x": 1}, options=RunOptions(deadline_s=1.5))
    assert (await until(run, lambda view: view.forms)).deadline_at is not None
    spin = worker("spin", ENDLESS, perdure={"deadline_s": 1})
    node = await perdure.start(line(spin), {"x": 1})
    waiting = await perdure.start(line(spin), {"x": 1}, options=RunOptions(on_failure="wait"))
    result = await run.result()
    assert result.error is not None
    assert (result.status, result.error.type) == ("failed", "DeadlineExceeded")
    assert "waiting for an answer to form 'ask'" in result.error.message
    result = await node.result()
    assert result.error is not None
    assert (result.error.type, result.error.node) == ("DeadlineExceeded", "spin")
    view = await until(waiting, lambda view: view.held)
    assert view.held[0].error_type == "DeadlineExceeded"
    await waiting.stop()


async def test_commands_find_a_run_that_moves_to_fresh_histories(perdure: Client) -> None:
    inner = [code("k", SLOW, {"r": "number"}, "it", x=["it", "item"])]
    flow = iteration(["start", "items", "l"], inner, [("its", "k")], ["k", "r"])
    options = RunOptions(continue_after_events=20, deadline_s=120)
    handle = await perdure.start(Graph.from_document(flow), {"items": {"l": list(range(20))}}, options=options)
    other = perdure.run(handle.run_id)
    first = (await perdure.temporal.get_workflow_handle(handle.run_id).describe()).run_id
    signals = perdure.temporal.get_workflow_handle(handle.run_id)
    paused = 0
    while (await handle.status()).status not in ("succeeded", "failed"):
        try:
            await asyncio.gather(handle.pause(id=f"p{paused}"), other.pause(id=f"p{paused}"))
            # With its last effect back, a run that may go on ends at once.
            assert (await other.resume(id=f"r{paused}")).status in ("running", "succeeded")
            await handle.resume(id=f"r{paused}")
            # Had by now, mostly in an earlier history: were it applied, the pause after it would be refused.
            await signals.signal("pause", {"id": "p0"})
            paused += 1
        except CommandRefused as error:
            assert "has ended" in str(error)
        except RPCError as error:
            assert error.status is RPCStatusCode.NOT_FOUND
        await asyncio.sleep(0.05)
    assert await handle.outputs() == {"out": list(range(20))}
    assert paused > 3
    with pytest.raises(CommandRefused, match="has ended"):
        await handle.pause()
    assert (await handle.pause(id="p0")).status == "succeeded", "ids are known in the last history too"
    assert (await perdure.temporal.get_workflow_handle(handle.run_id).describe()).run_id != first


@pytest.fixture
async def nobody(stack: EmbeddedStack, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    """A client whose runs go to a queue that no worker polls."""
    monkeypatch.setattr(client_module, "_GRACE", client_module.timedelta(seconds=1))
    yield Client(stack.client, f"nobody-{uuid.uuid4()}")


async def test_a_run_that_no_worker_takes_says_so_and_ends_at_its_deadline(nobody: Client) -> None:
    """Complaint 5: started, no node ever runs, the timeout is ignored."""
    flow = line(worker("k"))
    handle = await nobody.start(flow, {"x": 1}, options=RunOptions(deadline_s=8))
    async with asyncio.timeout(8):
        view = await handle.status()
    assert (view.status, view.waiting_for_worker, view.queues) == ("running", True, [nobody.task_queue])
    assert (view.graph, view.graph_hash, view.nodes) == (flow.name, flow.hash, [])
    async with asyncio.timeout(20):
        result = await handle.result()
    assert result.error is not None
    assert (result.status, result.error.type) == ("failed", "DeadlineExceeded")
    assert repr(nobody.task_queue) in result.error.message
    async with asyncio.timeout(8):
        view = await handle.status()
    assert (view.status, view.waiting_for_worker) == ("failed", False)
    with pytest.raises(CommandRefused, match=r"has ended \(timed out\)"):
        await handle.resume()


async def test_an_effect_whose_queue_nobody_polls_says_so(perdure: Client) -> None:
    """Complaint 5, for one effect."""
    queue = f"snippets-{uuid.uuid4()}"
    handle = await perdure.start(line(worker("k")), {"x": 1}, options=RunOptions(queues={"code": queue}))
    view = await until(handle, lambda view: view.waiting_for_worker)
    assert (view.status, view.queues, view.nodes[-1].key) == ("running", [queue], "k")
    await handle.stop()


async def test_an_effect_that_takes_long_is_not_taken_for_one_without_a_worker(perdure: Client) -> None:
    handle = await perdure.start(line(worker("spin", ENDLESS)), {"x": 1})
    view = await until(handle, lambda view: view.elapsed > 4)
    assert (view.waiting_for_worker, view.queues) == (False, [])
    await handle.stop()


async def test_a_held_node_is_shown_in_events(perdure: Client) -> None:
    handle = await perdure.start(line(worker("k")), {"x": 0}, options=RunOptions(on_failure="wait"))
    await until(handle, lambda view: view.held)
    await handle.stop()
    [held] = [event async for event in handle.events() if isinstance(event, NodeHeld)]
    assert (held.key, held.reason) == ("k", "failed")
