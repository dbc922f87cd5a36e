"""Failures that wait for an operator, effects that were interrupted, and `retry`."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.driver import Driver
from fakes.graphs import document, end, iteration, node, start, template
from fakes.moments import MOMENTS, RETRIES, driver, items, line, loop, worker
from perdure_graph.commands import Begin, Call, EffectFailed, Pause, Resume, Retry, StartTimer, Stop
from perdure_graph.errors import CommandRefused
from perdure_graph.events import NodeFinished, NodeHeld, NodeReleased, NodeStarted, RunPaused
from perdure_graph.graph import Document, NodeSpec
from perdure_graph.request import Pin
from perdure_graph.view import result, view


def went(flow: Document, failures: int = 1, **options: Any) -> Driver:
    run = driver(flow, failures, on_failure="wait", **options)
    run.run()
    return run


def k(**data: Any) -> NodeSpec:
    return worker("k", ["start", "n"], **data)


def in_it(**data: Any) -> Document:
    return items(worker("k", ["it", "item"], "it"), [("its", "k")], **data)


def test_a_failure_holds_its_node_and_says_why() -> None:
    run = went(line(k()))
    events = [e for e in run.state.events if isinstance(e, NodeFinished | NodeHeld | RunPaused)][-3:]
    assert [e.type for e in events] == ["node_finished", "node_held", "run_paused"]
    assert (events[0].status, events[1].reason, events[1].error_type) == ("failed", "failed", "Luck")
    reason = {"type": "node_held", "key": "k", "node_id": "k", "message": "no luck"}
    assert events[2].reasons == [reason | {"error_type": "Luck", "reason": "failed"}]
    shown = view(run.graph, run.state, run.now)
    assert [(h.key, h.title, h.error, h.reason) for h in shown.held] == [("k", "k", "no luck", "failed")]
    assert {n.key: n.status for n in shown.nodes} == {"start": "succeeded", "k": "held"}


def test_without_wait_a_failure_ends_the_run() -> None:
    assert driver(line(k()), 1).run().status == "failed"


def test_other_branches_go_on_and_the_join_waits() -> None:
    flow = document(
        [start(n="number"), k(), worker("b", ["start", "n"]), worker("join", ["b", "r"]), end(r=["join", "r"])],
        [("start", "k"), ("start", "b"), ("k", "join"), ("b", "join"), ("join", "end")],
    )
    run = went(flow)
    assert (run.state.status, run.state.root.nodes["b"].status, "join" in run.state.root.nodes) == (
        "paused",
        "succeeded",
        False,
    )
    run.send(Retry(node="k"))
    while run.tick():
        pass
    assert (run.state.status, result(run.state).outputs) == ("partial-succeeded", {"r": 3})


def test_a_retried_node_starts_anew_under_a_new_key_with_all_its_attempts() -> None:
    run = went(line(k(retry_config=RETRIES)), 2)
    run.performer.failures = 1  # type: ignore[attr-defined]
    run.send(Retry(node="k"))
    while run.tick():
        pass
    assert result(run.state).outputs == {"out": 2}
    assert [e.attempts for e in run.state.events if isinstance(e, NodeFinished) and e.node_id == "k"] == [2, 2]
    assert sum(isinstance(e, NodeStarted) and e.node_id == "k" for e in run.state.events) == 2
    keys = [call.effect.meta.idempotency_key for call in run.calls if call.effect.meta]
    assert keys == ["run/k#1/1", "run/k#1/1", "run/k#1/2", "run/k#1/2"]
    assert len({call.key for call in run.calls}) == 4


def test_outputs_given_instead_are_what_the_next_nodes_read() -> None:
    run = went(line(k(), worker("after", ["k", "r"])))
    run.send(Retry(node="k", outputs={"r": 41}))
    while run.tick():
        pass
    assert result(run.state).outputs == {"out": 42}
    [released] = [e for e in run.state.events if isinstance(e, NodeReleased)]
    assert (released.key, released.given) == ("k", True)


def test_outputs_of_the_wrong_type_are_refused_by_name() -> None:
    run = went(line(k()))
    with pytest.raises(CommandRefused, match="output 'r' of node 'k' must be number, got string"):
        run.send(Retry(node="k", outputs={"r": "many"}))
    assert run.state.status == "paused"


def test_while_paused_a_retry_waits_for_the_resume() -> None:
    run = MOMENTS["paused, with a node held"]()
    calls = len(run.calls)
    run.send(Retry(node="k"))
    assert (run.state.status, len(run.calls)) == ("paused", calls)
    assert view(run.graph, run.state, 0).nodes[-1].status == "released"
    with pytest.raises(CommandRefused, match="no node 'k'"):
        run.send(Retry(node="k"))
    run.send(Resume())
    while run.tick():
        pass
    assert result(run.state).outputs == {"out": 2}


def test_between_two_attempts_a_retry_does_not_wait_for_the_clock() -> None:
    run = MOMENTS["between two attempts"]()
    [timer] = run.pending.values()
    assert isinstance(timer, StartTimer)
    run.send(Retry(node="k"))
    [call] = run.pending.values()
    assert isinstance(call, Call)
    assert run.state.root.nodes["k"].attempt == 2, "it is the attempt that was due"


def held_in_two_items() -> Driver:
    return went(in_it(is_parallel=True, parallel_nums=2), 2)


def test_a_node_in_an_item_is_named_by_its_key() -> None:
    run = held_in_two_items()
    assert list(run.state.failures) == ["it[0].k", "it[1].k"]
    with pytest.raises(CommandRefused, match=r"waits several times: 'it\[0\].k', 'it\[1\].k'"):
        run.send(Retry(node="k"))
    run.send(Retry(node="it[1].k", outputs={"r": 20}))
    run.send(Retry(node="k"))
    while run.tick():
        pass
    assert result(run.state).outputs == {"out": [2, 20, 4]}


@pytest.mark.parametrize("name", ["start", "it", "nobody", "it[2].k"])
def test_what_does_not_wait_cannot_be_retried(name: str) -> None:
    run = held_in_two_items()
    with pytest.raises(CommandRefused, match=r"nodes that do: 'it\[0\].k', 'it\[1\].k'. To run it again .* fork"):
        run.send(Retry(node=name))


@pytest.mark.parametrize("mode", ["continue-on-error", "remove-abnormal-output"])
def test_a_failure_that_the_iteration_takes_is_not_held(mode: str) -> None:
    run = went(in_it(error_handle_mode=mode))
    assert run.state.status == "partial-succeeded"


def test_a_failure_in_a_loop_is_held_and_the_loop_goes_on_after_it() -> None:
    run = went(loop(worker("k", ["start", "n"])))
    assert list(run.state.failures) == ["loop[0].k"]
    run.send(Retry(node="k"))
    while run.tick():
        pass
    assert result(run.state).outputs == {"out": 2}


def test_an_error_strategy_around_it_takes_the_failure() -> None:
    flow = in_it(error_strategy="fail-branch")
    edges = tuple(e.model_copy(update={"handle": "fail-branch"}) if e.source == "it" else e for e in flow.edges)
    run = went(flow.model_copy(update={"edges": edges}))
    assert (run.state.status, run.state.failures) == ("partial-succeeded", {})


def test_a_container_that_fails_itself_is_held_and_opens_anew() -> None:
    flow = iteration(["start", "n"], [template("k", "x", "it")], [("its", "k")], ["k", "output"])
    run = went(flow, 0)
    assert list(run.state.failures) == ["it"]
    run.send(Retry(node="it"))
    assert list(run.state.failures) == ["it"], "nothing changed, so it fails again"
    run.send(Retry(node="it", outputs={"output": ["x"]}))
    assert result(run.state).outputs == {"out": ["x"]}


def branch() -> Driver:
    """An if-else that is pinned to select nothing."""
    case = {"case_id": "yes", "logical_operator": "and", "conditions": []}
    flow = document(
        [start(n="number"), node("if", "if-else", cases=[case]), end("a", r=["start", "n"]), end("b")],
        [("start", "if"), ("if", "yes", "a"), ("if", "false", "b")],
    )
    run = driver(flow, pins={"if": Pin(outputs={})}, on_failure="wait")
    run.run()
    return run


def test_a_branch_that_selects_nothing_is_held_until_somebody_says_which() -> None:
    run = branch()
    [held] = view(run.graph, run.state, 0).held
    assert (held.key, held.error_type, run.state.status) == ("if", "BranchNotSelected", "paused")
    for outputs in ({}, {"selected_case_id": "maybe"}):
        with pytest.raises(CommandRefused, match=r"need 'selected_case_id' to say which edge.*'yes', 'false'"):
            run.send(Retry(node="if", outputs=outputs))
    run.send(Retry(node="if", outputs={"selected_case_id": "yes"}))
    assert (run.state.status, result(run.state).outputs) == ("succeeded", {"r": 1})


def test_the_step_limit_ends_a_run_that_waits_for_operators() -> None:
    run = driver(line(k(), worker("b", ["k", "r"])), on_failure="wait", max_steps=2)
    assert run.run().status == "failed"


def interrupted(flow: Document, key: str = "k", *, silent: bool = True, refused: bool = False) -> Driver:
    run = driver(flow)
    run.send(Begin())
    while key not in run.pending:
        run.tick()
    del run.pending[key]
    run.send(EffectFailed(key, "timed out (heartbeat)", "EffectTimeout", interrupted=silent, refused=refused))
    return run


NEVER = {"perdure": {"retry": "never"}}


def test_an_interrupted_effect_that_must_not_be_repeated_asks_the_operator() -> None:
    run = interrupted(line(k(retry_config=RETRIES, error_strategy="fail-branch", **NEVER)))
    [held] = view(run.graph, run.state, 0).held
    assert (held.reason, held.error, run.state.status) == ("interrupted", "timed out (heartbeat)", "paused")
    assert (run.state.exceptions_count, run.state.root.nodes["k"].attempt) == (0, 1)
    run.send(Retry(node="k", outputs={"r": 9}))
    assert run.state.status == "succeeded"


def test_an_effect_that_was_refused_for_now_waits_whatever_the_graph_says() -> None:
    run = interrupted(line(k(retry_config=RETRIES, error_strategy="fail-branch")), silent=False, refused=True)
    [held] = view(run.graph, run.state, 0).held
    assert (held.reason, run.state.status) == ("refused", "paused")
    assert (run.state.exceptions_count, run.state.root.nodes["k"].attempt) == (0, 1)
    run.send(Retry(node="k"))
    while run.tick():
        pass
    assert (run.state.status, len(run.calls)) == ("succeeded", 2)


def test_one_that_may_be_repeated_follows_the_graph() -> None:
    run = interrupted(line(k(retry_config=RETRIES)))
    assert (run.state.failures, list(run.state.timers)) == ({}, ["k~2"])


def test_an_effect_that_must_not_be_repeated_and_failed_is_not_retried_by_the_graph() -> None:
    run = interrupted(line(k(retry_config=RETRIES, **NEVER)), silent=False)
    assert (run.state.status, len(run.calls)) == ("failed", 1)


def test_one_in_an_item_is_held_and_the_others_go_on() -> None:
    spec = worker("k", ["it", "item"], "it", **NEVER)
    run = interrupted(items(spec, [("its", "k")], is_parallel=True, parallel_nums=3), "it[1].k")
    while run.tick():
        pass
    assert (list(run.state.failures), run.state.status) == (["it[1].k"], "paused")
    run.send(Retry(node="k"))
    while run.tick():
        pass
    assert result(run.state).outputs == {"out": [2, 3, 4]}


def test_a_failing_item_takes_held_nodes_beside_it_along() -> None:
    spec = worker("k", ["it", "item"], "it", **NEVER)
    run = interrupted(items(spec, [("its", "k")], is_parallel=True, parallel_nums=2), "it[0].k")
    del run.pending["it[1].k"]
    run.send(EffectFailed("it[1].k", "no", "No"))
    assert list(run.state.failures) == ["it[0].k"], "the iteration ends once nothing in it is open"
    run.send(Stop())
    assert (run.state.status, run.state.failures) == ("stopped", {})


def test_stop_ends_a_run_that_waits_for_an_operator() -> None:
    run = went(line(k()))
    run.send(Stop(reason="no"))
    assert (run.state.status, run.state.failures) == ("stopped", {})


def test_a_pause_before_the_failure_keeps_both_reasons() -> None:
    run = driver(line(k()), 1, on_failure="wait")
    run.send(Begin())
    run.send(Pause(reason="lunch"))
    run.tick()
    assert [r["type"] for r in view(run.graph, run.state, 0).reasons] == ["scheduled_pause", "node_held"]
    run.send(Resume())
    assert run.state.status == "paused"
