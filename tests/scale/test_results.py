"""What a parent of thousands of children keeps, shows and returns is small: its own results once, and no more.

In memory: so many children on a server take minutes.
"""

from __future__ import annotations

from dataclasses import dataclass

from perdure_bench_nodes.effects import BenchNoop, BenchReply
from pydantic_core import to_json
from scale.flows import each_item

from fakes.driver import Driver
from perdure import RunOptions
from perdure_graph.commands import Begin
from perdure_graph.effects import Effect
from perdure_graph.outbox import KEEP_EVENTS, SLACK_EVENTS, Outbox
from perdure_graph.request import RunRequest
from perdure_graph.view import result, view

CHILDREN = 2_000
SMALL = 4_000
# Twice the children, and some slack.
MOST = 2.3


@dataclass
class Sizes:
    """Largest sizes of a run on its way: of its state and its answer to `status` in bytes, of its list of events."""

    state: int = 0
    status: int = 0
    events: int = 0
    outcome: int = 0


def echo(effect: Effect) -> BenchReply:
    assert isinstance(effect, BenchNoop)
    return BenchReply(text=effect.text)


def sizes(children: int) -> Sizes:
    """Run an iteration in so many windows, with a run store that takes what it is given."""
    items = [f"item {index:05}" for index in range(2 * children)]
    graph = each_item(16)
    request = RunRequest(graph=graph.document, inputs={"items": {"l": items}}, options=RunOptions(window_items=2))
    run, box, found, seen = Driver(graph, request, performer=echo), Outbox(), Sizes(), 0
    run.send(Begin())
    while True:
        assert run.tick()
        if box.take(run.state, "carrier"):
            box.settle(run.state, "carrier", "yes")
        found.events = max(found.events, len(run.state.events))
        if run.state.ended:
            break
        if run.state.steps >= seen + children // 5:
            seen = run.state.steps
            found.state = max(found.state, len(to_json(run.state)))
            found.status = max(found.status, len(to_json(view(graph, run.state, run.now))))
    assert run.state.outputs == {"out": items}
    found.outcome = len(to_json(result(run.state))) - len(to_json(run.state.outputs))
    return found


def test_complaint_19_and_26_thousands_of_children_leave_their_results_and_little_else() -> None:
    """More than 100 items failed (19); every step stored the whole state again (26)."""
    half, whole = sizes(CHILDREN // 2), sizes(CHILDREN)
    assert whole.events <= KEEP_EVENTS + SLACK_EVENTS
    assert max(whole.status, whole.outcome) < SMALL
    assert whole.state < MOST * half.state
