"""What is below a run, between its own events: in order, once, with keys and nodes of the run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

from perdure.archive import Archive
from perdure.children import Children
from perdure.live import Reader
from perdure.thoughts import folded
from perdure_graph.errors import PlatformError
from perdure_graph.events import AgentThought, Event, FormRequired, NodeFinished, NodeStarted, RunFinished
from perdure_graph.nodes.base import Form
from perdure_graph.view import EventPage

NODE = {"node_id": "k", "title": "K", "node_type": "agent"}
RUN = [
    NodeStarted(seq=1, at=10, **NODE),
    NodeFinished(seq=2, at=30, status="succeeded", **NODE),
    RunFinished(seq=3, at=40, status="succeeded", outputs={}),
]


def thought(seq: int, at: int, position: int, text: str = "") -> AgentThought:
    return AgentThought(
        seq=seq,
        at=at,
        node_id="agent",
        title="helper",
        node_type="agent-loop",
        thread="t",
        id=f"r{position}",
        position=position,
        thought=text,
    )


def form(seq: int, at: int) -> FormRequired:
    asked = Form(content="may I?")
    return FormRequired(
        seq=seq, at=at, node_id="agent", title="helper", node_type="agent-loop", key="agent#approve", form=asked
    )


class Shelf:
    """A store with what is below one run, by position; `away` makes it refuse."""

    def __init__(self, rows: list[tuple[str, Event]]) -> None:
        self.rows = rows
        self.away = False
        self.opened = self.closed = 0

    configured = True

    @asynccontextmanager
    async def reading(self, _what: str) -> AsyncIterator[Any]:
        if self.away:
            raise PlatformError("away")
        self.opened += 1
        yield self
        self.closed += 1

    async def events_of_children(self, _run: str, after: int) -> list[Any]:
        rows = [
            SimpleNamespace(scope=scope, event=event, position=position)
            for position, (scope, event) in enumerate(self.rows, 1)
        ]
        return [row for row in rows if row.position > after]

    async def position_of(self, _run: str, seq: int) -> int:
        return seq

    def children(self, after: int = 0) -> Children:
        return Children(cast("Archive", self), "run", after)


class Pages:
    """A run that gives its events in pages."""

    def __init__(self, *pages: list[Event]) -> None:
        self.pages = [EventPage(events=page, ended=page is pages[-1]) for page in pages]

    async def page(self, after: int) -> EventPage:
        return self.pages.pop(0)

    async def older(self, after: int, before: int) -> list[Event]:
        return []

    async def history(self, after: int) -> AsyncIterator[Event]:
        for event in RUN:
            if event.seq > after:
                yield event


def shown(events: list[Event]) -> list[tuple[str, int]]:
    return [(event.type, event.at) for event in events]


WHOLE = [
    ("node_started", 10),
    ("agent_thought", 15),
    ("human_input_required", 18),
    ("agent_thought", 20),
    ("node_finished", 30),
    ("run_finished", 40),
]
BELOW: list[tuple[str, Event]] = [
    ("k", NodeStarted(seq=1, at=12, node_id="agent", title="helper", node_type="agent-loop")),
    ("k", thought(2, 15, 1)),
    ("k", form(3, 18)),
    ("k", thought(4, 20, 2)),
]


async def test_all_of_an_ended_run_comes_in_order() -> None:
    shelf = Shelf(BELOW)
    reader = Reader(Pages(list(RUN)), 0, None, shelf.children())
    events = [event async for event in reader.events()]
    assert shown(events) == WHOLE
    assert [event.seq for event in events] == [1, 1, 1, 1, 2, 3]
    assert (shelf.opened, shelf.closed) == (1, 1)


async def test_what_comes_while_the_run_goes_on_comes_once() -> None:
    shelf = Shelf(BELOW[:2])
    reader = Reader(Pages([RUN[0]], [], [], [RUN[1], RUN[2]]), 0, None, shelf.children())
    events: list[Event] = []
    async for event in reader.events():
        events.append(event)
        if event.type == "agent_thought" and len(shelf.rows) == 2:
            shelf.rows = BELOW
    assert shown(events) == WHOLE


async def test_a_forgotten_run_has_them_too() -> None:
    reader = Reader(Pages([]), 0, None, Shelf(BELOW).children())
    assert shown([event async for event in reader.recorded()]) == WHOLE


async def test_forms_have_the_key_and_the_node_of_the_run() -> None:
    scope = "it[3].k#child/agent#ask"
    children = Shelf([(scope, form(1, 5))]).children()
    children.want()
    await children.fetch()
    (event,) = children.rest(7)
    assert isinstance(event, FormRequired)
    assert (event.key, event.node_id, event.frame, event.seq) == (f"{scope}/agent#approve", "k", "it[3].", 7)


async def test_nothing_is_read_of_runs_that_have_nothing_below() -> None:
    shelf = Shelf(BELOW)
    plain = NodeStarted(seq=1, at=10, node_id="c", title="C", node_type="code")
    reader = Reader(Pages([plain, RUN[2]]), 0, None, shelf.children())
    assert shown([event async for event in reader.events()]) == [("node_started", 10), ("run_finished", 40)]
    assert shelf.opened == 0


async def test_a_store_that_is_away_costs_only_time() -> None:
    shelf = Shelf(BELOW)
    shelf.away = True
    reader = Reader(Pages([RUN[0]], [], [RUN[1], RUN[2]]), 0, None, shelf.children())
    events: list[Event] = []
    async for event in reader.events():
        events.append(event)
        shelf.away = False
    assert shown(events) == WHOLE


async def test_whoever_resumes_is_shown_what_was_recorded_since() -> None:
    # Number 2 of the run was recorded at position 2 of what is there.
    reader = Reader(Pages([RUN[2]]), 2, None, Shelf(BELOW).children(after=2))
    assert shown([event async for event in reader.events()]) == [
        ("human_input_required", 18),
        ("agent_thought", 20),
        ("run_finished", 40),
    ]


def test_the_last_state_of_a_round_counts() -> None:
    rounds = folded([thought(1, 1, 1, "asked"), thought(2, 2, 2, "more"), thought(3, 3, 1, "over"), *RUN])
    assert [(one.position, one.thought) for one in rounds] == [(1, "over"), (2, "more")]
