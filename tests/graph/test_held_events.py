"""Events whose order may still change are not shown."""

from __future__ import annotations

from fakes.driver import Driver
from fakes.graphs import code, document, end, start
from perdure_graph.graph import Graph
from perdure_graph.request import RunRequest
from perdure_graph.view import events_after


def test_events_are_held_back_from_a_time_on() -> None:
    add = code("add", "def main(x):\n    return {'r': x}", {"r": "number"}, x=["start", "x"])
    graph = Graph.from_document(document([start(x="number"), add, end(r=["add", "r"])], [("start", "add", "end")]))
    state = Driver(graph, RunRequest(graph=graph.document, inputs={"x": 1})).run()
    events = state.events
    whole = events_after(state, 0)
    assert (whole.events, whole.ended, whole.held) == (events, True, False)
    for event in events:
        page = events_after(state, 0, event.at)
        assert page.events == [one for one in events if one.at < event.at]
        assert (page.ended, page.held) == (False, True)
    assert events_after(state, 0, events[-1].at + 1) == whole
    last = events_after(state, len(events), events[0].at)
    assert (last.events, last.ended, last.held) == ([], True, False)
