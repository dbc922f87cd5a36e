"""Nodes with several effects: a pause, or a move to a fresh history, holds back the next one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fakes.driver import Driver
from fakes.moments import ask, driver, line, worker
from perdure_graph.commands import Begin, Drain, EffectDone, GoOn, Pause, Resume, Submit
from perdure_graph.effects import CodeResult, RunCode
from perdure_graph.graph import NodeSpec
from perdure_graph.nodes.base import Done, Outcome, Perform

AGAIN = RunCode(language="python3", code="", inputs={"x": 10})


def twice(_data: Any, ctx: Any, reply: Any) -> Outcome:
    """Ask for a second effect whatever came first, a reply or a form."""
    if ctx.memo == "second":
        return Done(outputs=reply.result, handle="go")
    return Perform(effect=AGAIN, memo="second")


def begun(spec: NodeSpec) -> Driver:
    run = driver(line(spec))
    node = run.graph.nodes[spec.id]
    kind = replace(node.type, resume=twice, effects=(RunCode,))
    run.graph.nodes[spec.id] = replace(node, type=kind)
    run.send(Begin())
    return run


def come_back(run: Driver, key: str) -> None:
    del run.pending[key]
    run.send(EffectDone(key, CodeResult(result={"r": 5}, engine="monty")))


def test_a_pause_holds_back_a_follow_up_effect() -> None:
    run = begun(worker("k", ["start", "n"]))
    run.send(Pause())
    come_back(run, "k")
    assert (run.state.status, run.pending) == ("paused", {})
    run.send(Resume())
    come_back(run, "k#2")
    assert run.state.status == "succeeded"


def test_a_resume_while_the_run_moves_starts_nothing_yet() -> None:
    run = begun(worker("k", ["start", "n"]))
    run.send(Drain())
    run.send(Pause())
    come_back(run, "k")
    run.send(Resume())
    assert (run.state.status, run.pending) == ("running", {})
    run.send(GoOn())
    assert list(run.pending) == ["k#2"]


def test_a_form_answered_while_paused_starts_no_effect() -> None:
    run = begun(ask("f"))
    run.send(Pause())
    run.send(Submit(form="f", action="go"))
    assert (run.state.status, run.calls) == ("paused", [])
    run.send(Resume())
    assert [call.key for call in run.calls] == ["f"]
