"""Windows of large iterations: same results as in frames, never more at once than allowed, and only where they may."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.driver import Driver
from fakes.graphs import code, iteration, node
from perdure_graph.commands import Begin, Pause, Resume
from perdure_graph.effects import CodeResult, Effect, Reply, RunCode
from perdure_graph.errors import NodeError
from perdure_graph.graph import Graph
from perdure_graph.request import RunOptions, RunRequest

Mode = Literal["terminated", "continue-on-error", "remove-abnormal-output"]


def square_or_fail(bad: frozenset[int]):
    def perform(effect: Effect) -> Reply:
        assert isinstance(effect, RunCode)
        value: Any = effect.inputs["x"]
        if value in bad:
            raise NodeError(f"no {value}", "Refused")
        return CodeResult(result={"r": value * value}, engine="monty")

    return perform


def graph(mode: Mode = "terminated", parallel: int = 1, extra: list[Any] | None = None, **data: Any) -> Graph:
    inner = [code("k", "def main(x): ...", {"r": "number"}, "it", x=["it", "item"]), *(extra or [])]
    edges: list[tuple[str, ...]] = [("its", "k")]
    if extra:
        edges.append(("k", extra[0].id))
    return Graph.from_document(
        iteration(
            ["start", "items", "l"],
            inner,
            edges,
            ["k", "r"],
            is_parallel=parallel > 1,
            parallel_nums=parallel,
            error_handle_mode=mode,
            **data,
        )
    )


def drive(g: Graph, items: list[int], window: int, bad: frozenset[int] = frozenset(), **more: Any) -> Driver:
    request = RunRequest(
        graph=g.document, inputs={"items": {"l": items}}, options=RunOptions(window_items=window, **more)
    )
    return Driver(g, request, performer=square_or_fail(bad), round_trip=True)


@settings(max_examples=60, deadline=None)
@given(
    items=st.lists(st.integers(0, 9), max_size=25),
    window=st.integers(1, 8),
    parallel=st.sampled_from([1, 2, 3, 5, 8, 13, 16]),
    bad=st.frozensets(st.integers(0, 9), max_size=2),
    mode=st.sampled_from(["terminated", "continue-on-error", "remove-abnormal-output"]),
    picks=st.lists(st.integers(0, 100), max_size=40),
)
def test_windows_change_nothing_but_the_histories(
    items: list[int], window: int, parallel: int, bad: frozenset[int], mode: Mode, picks: list[int]
) -> None:
    g = graph(mode, parallel)
    whole = drive(g, items, 10_000, bad).run()
    driver = drive(g, items, window, bad)
    driver.pick = lambda n: (picks.pop() if picks else 0) % n
    windowed = driver.run()
    assert windowed.status == whole.status
    assert windowed.outputs == whole.outputs
    if mode != "terminated":
        assert (windowed.steps, windowed.exceptions_count) == (whole.steps, whole.exceptions_count)
    numbers = [event.seq for event in windowed.events]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("parallel", [1, 2, 7, 10, 16])
def test_no_more_items_run_at_once_than_the_iteration_may(parallel: int) -> None:
    driver = drive(graph(parallel=parallel), list(range(200)), 5)
    driver.send(Begin())
    most = 0
    while True:
        children = [each for each in driver.pending.values() if isinstance(each, Driver)]
        most = max(most, sum(len(child.pending) for child in children))
        if not driver.tick():
            break
    assert driver.state.status == "succeeded"
    assert most == parallel
    assert driver.state.outputs["out"] == [n * n for n in range(200)]


def test_keys_of_effects_do_not_depend_on_windows() -> None:
    items = list(range(20))
    plain, windowed = drive(graph(), items, 1000), drive(graph(), items, 3)
    plain.run()
    windowed.run()

    def keys(driver: Driver) -> set[str]:
        return {call.effect.meta.idempotency_key for call in driver.calls if call.effect.meta}

    assert keys(plain) == keys(windowed)
    assert len(keys(plain)) == 20


def test_a_pause_rests_only_when_every_window_rests() -> None:
    driver = drive(graph(parallel=4), list(range(40)), 5)
    driver.send(Begin())
    driver.send(Pause())
    assert driver.state.status == "pausing"
    children = {key: each for key, each in driver.pending.items() if isinstance(each, Driver)}
    assert len(children) == 4
    assert all(child.state.status == "pausing" for child in children.values())
    for child in children.values():
        while child.tick():
            pass
        assert child.state.status == "paused"
    asked = len(driver.calls)
    from perdure_graph.commands import WindowPaused

    for key in children:
        assert driver.state.status == "pausing"
        driver.send(WindowPaused(key, True))
    assert driver.state.status == "paused"
    driver.send(Resume())
    while driver.tick():
        pass
    assert driver.state.outputs["out"] == [n * n for n in range(40)]
    assert len(driver.calls) == 40 > asked


@pytest.mark.parametrize(
    ("extra", "options"),
    [
        (
            node(
                "ask",
                "human-input",
                "it",
                form_content="?",
                inputs=[],
                user_actions=[{"id": "ok", "title": "OK"}],
                iteration_id="it",
                isInIteration=True,
            ),
            {},
        ),
        (node("say", "answer", "it", answer="hi", iteration_id="it", isInIteration=True), {}),
        (None, {"on_failure": "wait"}),
        (None, {"nodes": {"k": {"retry": "never"}}}),
    ],
)
def test_a_body_that_needs_the_run_stays_in_it(extra: Any, options: dict[str, Any]) -> None:
    driver = drive(graph(extra=[extra] if extra else None), list(range(20)), 3, **options)
    driver.send(Begin())
    assert not any(isinstance(each, Driver) for each in driver.pending.values())


def test_a_window_sees_the_variables_its_body_mentions_and_no_others() -> None:
    driver = drive(graph(), list(range(20)), 3)
    driver.send(Begin())
    child = next(each for each in driver.pending.values() if isinstance(each, Driver))
    scope = child.state.root.scope or {}
    assert set(scope) == {"sys", "env", "conversation"}, "the list itself need not travel"
