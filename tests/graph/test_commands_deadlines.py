"""Deadlines of runs and nodes, and the timers that a run takes along to a fresh history."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.driver import Driver
from fakes.graphs import document, end, iteration, start
from fakes.moments import RETRIES, ask, driver, items, line, loop, worker
from perdure_graph.commands import Begin, Call, Drain, EffectDone, EffectFailed, Pause, Resume, Retry, Stop, TimerFired
from perdure_graph.effects import CodeResult
from perdure_graph.events import NodeFinished, NodeHeld
from perdure_graph.graph import Document, NodeSpec
from perdure_graph.timers import RUN_DEADLINE, armed
from perdure_graph.view import result, view


def k(**data: Any) -> NodeSpec:
    return worker("k", ["start", "n"], **data)


def begun(flow: Document, ticks: int = 0, failures: int = 0, **options: Any) -> Driver:
    run = driver(flow, failures, **options)
    run.send(Begin())
    for _ in range(ticks):
        run.tick()
    return run


def fire(run: Driver, key: str) -> None:
    del run.pending[key]
    run.send(TimerFired(key))


def retrying(**options: Any) -> Driver:
    run = begun(line(k(retry_config=RETRIES)), **options)
    del run.pending["k"]
    run.send(EffectFailed("k", "no", "No"))
    return run


CONTAINERS: dict[str, Any] = {
    "it": lambda: items(worker("k", ["it", "item"], "it"), [("its", "k")], is_parallel=True, parallel_nums=2),
    "loop": lambda: loop(worker("k", ["start", "n"])),
}
LIMIT = {"perdure": {"deadline_s": 30}}


@pytest.mark.parametrize(
    ("run", "waiting_for"),
    [
        (begun(line(k()), deadline_s=60), "node 'k'"),
        (begun(line(ask("f"), k()), deadline_s=60), "an answer to form 'f'"),
        (retrying(deadline_s=60), "the next attempt of node 'k'"),
        (begun(CONTAINERS["it"](), deadline_s=60), "node 'it[0].k', node 'it[1].k'"),
        (begun(CONTAINERS["it"](), deadline_s=60, window_items=2), "items 'it[0-1]', items 'it[2-2]'"),
    ],
)
def test_the_deadline_of_a_run_ends_it_and_says_what_it_waited_for(run: Driver, waiting_for: str) -> None:
    assert view(run.graph, run.state, 0).deadline_at == 61_000
    fire(run, RUN_DEADLINE)
    error = result(run.state).error
    assert error is not None
    assert (run.state.status, error.type, run.pending) == ("failed", "DeadlineExceeded", {})
    assert error.message == f"the run took longer than its deadline of 60 s; it was waiting for {waiting_for}."


def test_the_deadline_of_a_run_ends_it_while_it_is_paused_or_held() -> None:
    run = driver(line(k()), 1, on_failure="wait", deadline_s=60)
    run.send(Begin())
    run.send(Pause(reason="lunch"))
    call = next(item for item in run.pending.values() if isinstance(item, Call))
    del run.pending[call.key]
    run.send(EffectFailed(call.key, "no", "No"))
    assert run.state.status == "paused"
    fire(run, RUN_DEADLINE)
    error = result(run.state).error
    assert error is not None
    assert "a resume (paused: lunch), an operator's retry of node 'k'" in error.message


def test_a_run_that_ends_in_time_cancels_its_clock() -> None:
    run = begun(line(k()), deadline_s=60)
    assert run.pending.keys() == {"k", RUN_DEADLINE}
    run.send(EffectDone("k", CodeResult(result={"r": 1}, engine="monty")))
    run.pending.pop("k")
    assert (run.state.status, run.pending) == ("succeeded", {})


def test_a_node_past_its_deadline_fails_without_further_attempts() -> None:
    run = begun(line(k(retry_config=RETRIES, **LIMIT)))
    assert run.pending.keys() == {"k", "k!deadline"}
    fire(run, "k!deadline")
    error = result(run.state).error
    assert error is not None
    assert (error.type, error.message) == ("DeadlineExceeded", "node 'k' took longer than its deadline of 30 s")
    assert (run.state.status, run.pending, len(run.calls)) == ("failed", {}, 1)


def test_the_error_strategy_applies_and_late_replies_do_not() -> None:
    spec = k(error_strategy="fail-branch", **LIMIT)
    flow = document(
        [start(n="number"), spec, worker("b", ["start", "n"]), end(r=["b", "r"], why=["k", "error_type"])],
        [("start", "k"), ("k", "fail-branch", "b"), ("b", "end")],
    )
    run = begun(flow)
    fire(run, "k!deadline")
    run.send(EffectDone("k", CodeResult(result={"r": 1}, engine="monty")))
    while run.tick():
        pass
    assert result(run.state).outputs == {"r": 2, "why": "DeadlineExceeded"}


def test_the_clock_of_a_node_goes_on_over_attempts_and_stops_with_its_end() -> None:
    run = begun(line(k(retry_config=RETRIES, **LIMIT)), failures=1)
    del run.pending["k"]
    run.send(EffectFailed("k", "no", "No"))
    assert run.pending.keys() == {"k!deadline", "k~2"}
    fire(run, "k~2")
    run.pending.pop("k#2")
    run.send(EffectDone("k#2", CodeResult(result={"r": 1}, engine="monty")))
    assert (run.state.status, run.pending, run.state.limits) == ("partial-succeeded", {}, {})


def test_between_two_attempts_the_deadline_takes_the_timer_along() -> None:
    run = begun(line(k(retry_config=RETRIES, **LIMIT)))
    del run.pending["k"]
    run.send(EffectFailed("k", "no", "No"))
    fire(run, "k!deadline")
    assert (run.state.status, run.pending) == ("failed", {})


def test_a_form_past_the_deadline_of_its_node_is_gone() -> None:
    spec = ask("f")
    spec = spec.model_copy(update={"data": spec.data | LIMIT | {"error_strategy": "fail-branch"}})
    flow = document(
        [start(n="number"), spec, end(e=["f", "error_type"])], [("start", "f"), ("f", "fail-branch", "end")]
    )
    run = begun(flow)
    assert run.pending.keys() == {"f", "f!deadline"}
    fire(run, "f!deadline")
    assert (run.state.status, run.pending, run.state.waiting) == ("partial-succeeded", {}, {})
    assert result(run.state).outputs == {"e": "DeadlineExceeded"}


def limited(container: str) -> Document:
    flow: Document = CONTAINERS[container]()
    nodes = tuple(
        spec.model_copy(update={"data": spec.data | LIMIT}) if spec.id == container else spec for spec in flow.nodes
    )
    return flow.model_copy(update={"nodes": nodes})


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("window", [1, 50])
def test_a_container_past_its_deadline_takes_everything_inside_along(container: str, window: int) -> None:
    flow = limited(container)
    nodes = [
        spec.model_copy(update={"data": spec.data | {"error_strategy": "fail-branch"}})
        if spec.id == container
        else spec
        for spec in flow.nodes
    ]
    edges = [(e.source, "fail-branch", "f") if e.source == container else (e.source, e.target) for e in flow.edges]
    run = begun(document([*nodes, ask("f")], [*edges, ("f", "go", "end")]), window_items=window)
    assert len(run.pending) > 1
    fire(run, f"{container}!deadline")
    assert (run.state.status, list(run.pending), run.state.windows) == ("paused", ["f"], {})


def test_a_turn_in_the_queue_does_not_outlive_its_node() -> None:
    run = begun(limited("it"), on_failure="wait")
    run.send(Pause())
    call = next(key for key in run.pending if key.startswith("it[0]"))
    del run.pending[call]
    run.send(EffectDone(call, CodeResult(result={"r": 1}, engine="monty")))
    assert ("", "it") in run.state.ready
    fire(run, "it!deadline")
    run.send(Resume())
    assert (run.state.status, list(run.state.failures), run.pending) == ("paused", ["it"], {})


def test_a_held_node_has_no_deadline_until_it_runs_again() -> None:
    run = begun(line(k(**LIMIT)), on_failure="wait")
    fire(run, "k!deadline")
    [held] = [e for e in run.state.events if isinstance(e, NodeHeld)]
    assert (held.error_type, run.pending, run.state.status) == ("DeadlineExceeded", {}, "paused")
    run.send(Retry(node="k"))
    assert run.pending.keys() == {"k#2", "k!deadline"}
    run.now += 5_000
    run.pending.pop("k#2")
    run.send(EffectDone("k#2", CodeResult(result={"r": 1}, engine="monty")))
    assert (run.state.status, run.pending) == ("partial-succeeded", {})
    assert [e.status for e in run.state.events if isinstance(e, NodeFinished) and e.node_id == "k"] == [
        "failed",
        "succeeded",
    ]


def test_options_of_the_run_win_over_the_drawing() -> None:
    run = begun(line(k(**LIMIT)), nodes={"k": {"deadline_s": 5}})
    assert run.state.limits["k!deadline"].due == 6_000


def test_a_run_that_moves_takes_every_timer_along() -> None:
    flow = document(
        [start(n="number"), ask("f"), k(retry_config=RETRIES, **LIMIT), end()],
        [("start", "f"), ("start", "k"), ("f", "go", "end"), ("k", "end")],
    )
    run = begun(flow, deadline_s=60)
    del run.pending["k"]
    run.send(EffectFailed("k", "no", "No"))
    run.send(Drain())
    assert {t.key: t.seconds for t in armed(run.state, 1_000)} == {
        key: pytest.approx(item.seconds) for key, item in run.pending.items() if not isinstance(item, Call | Driver)
    }
    assert {t.key: t.seconds for t in armed(run.state, 11_000)} == {
        "k~2": 0,
        "k!deadline": 20,
        "f": 7190,
        RUN_DEADLINE: 50,
    }


def test_a_run_that_has_ended_arms_nothing() -> None:
    run = begun(line(k()), deadline_s=60)
    fire(run, RUN_DEADLINE)
    assert armed(run.state, 0) == []


def test_windows_have_no_deadline_of_the_run() -> None:
    run = begun(items(worker("k", ["it", "item"], "it"), [("its", "k")]), window_items=1, deadline_s=60)
    [window] = [item for item in run.pending.values() if isinstance(item, Driver)]
    assert (window.state.expires_at, armed(window.state, 0)) == (None, [])


def test_nodes_in_windows_have_theirs() -> None:
    spec = worker("k", ["it", "item"], "it", **LIMIT)
    run = begun(items(spec, [("its", "k")], error_handle_mode="continue-on-error"), window_items=1)
    [window] = [item for item in run.pending.values() if isinstance(item, Driver)]
    assert window.pending.keys() == {"it[0].k", "it[0].k!deadline"}
    fire(window, "it[0].k!deadline")
    assert (window.state.status, window.pending) == ("succeeded", {})


def test_what_happens_before_the_start_of_a_stopped_run_starts_nothing() -> None:
    run = driver(line(k()), deadline_s=60)
    run.send(Stop())
    run.send(Begin())
    run.send(TimerFired(RUN_DEADLINE))
    assert (run.state.status, run.pending, run.calls) == ("stopped", {}, [])


def test_iterations_count_what_is_done() -> None:
    flow = iteration(["start", "items", "l"], [worker("k", ["it", "item"], "it")], [("its", "k")], ["k", "r"])
    run = begun(flow, 2)
    [shown] = [n for n in view(run.graph, run.state, 0).nodes if n.key == "it"]
    assert (shown.done, shown.total) == (2, 3)
