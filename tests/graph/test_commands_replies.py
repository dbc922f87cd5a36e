"""What a worker says beside a reply: whether it is one kept from before."""

from __future__ import annotations

import pytest

from fakes.moments import RETRIES, driver, items, line, worker
from perdure_graph.commands import Begin, EffectDone, EffectFailed, TimerFired
from perdure_graph.effects import CodeResult, ReplyMeta
from perdure_graph.events import NodeFinished
from perdure_graph.state import RunState


def reply(*, cached: bool | None) -> CodeResult:
    meta = None if cached is None else ReplyMeta(recorded="off", cached=cached)
    return CodeResult(result={"r": 1}, engine="monty", meta=meta)


def ends(state: RunState) -> list[bool]:
    return [e.cached for e in state.events if isinstance(e, NodeFinished) and e.node_id == "k"]


@pytest.mark.parametrize(("cached", "shown"), [(True, True), (False, False), (None, False)])
def test_the_end_of_a_node_says_that_its_reply_was_kept_from_before(cached: bool | None, shown: bool) -> None:
    run = driver(line(worker("k", ["start", "n"])))
    run.send(Begin())
    del run.pending["k"]
    run.send(EffectDone("k", reply(cached=cached)))
    assert (run.state.status, ends(run.state)) == ("succeeded", [shown])


def test_each_item_says_it_for_itself() -> None:
    run = driver(items(worker("k", ["it", "item"], "it"), [("its", "k")]))
    run.send(Begin())
    for index in range(3):
        key = f"it[{index}].k"
        del run.pending[key]
        run.send(EffectDone(key, reply(cached=index == 1)))
    assert (run.state.status, ends(run.state)) == ("succeeded", [False, True, False])


def test_a_failed_attempt_does_not_count_as_kept() -> None:
    run = driver(line(worker("k", ["start", "n"], retry_config=RETRIES)))
    run.send(Begin())
    del run.pending["k"]
    run.send(EffectFailed("k", "no", "No"))
    del run.pending["k~2"]
    run.send(TimerFired("k~2"))
    del run.pending["k#2"]
    run.send(EffectDone("k#2", reply(cached=True)))
    assert ends(run.state) == [True]
