"""The table of docs/commands.md, cell by cell: what each command does in each state."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from graph.turning import KIND, NODE

from fakes.driver import Driver
from fakes.moments import MOMENTS
from perdure_graph.commands import Approve, Begin, Command, Deny, GoOn, Pause, Resume, Retry, SetVariables, Stop, Submit
from perdure_graph.errors import CommandRefused
from perdure_graph.naming import COMMANDS
from perdure_graph.nodes import registry
from perdure_graph.view import view

DOC = Path(__file__).parents[2] / "docs" / "commands.md"
GIVEN: dict[str, Command] = {
    "pause": Pause(id="one", reason="why"),
    "resume": Resume(id="one"),
    "stop": Stop(id="one", reason="why"),
    "submit": Submit(id="one", form="ask", action="go"),
    "set_variables": SetVariables(id="one", variables={"start": {"n": 5}}),
    "retry": Retry(id="one", node="k"),
    "approve": Approve(id="one", call="call_1"),
    "deny": Deny(id="one", call="call_1", reason="why"),
}


@pytest.fixture(autouse=True)
def kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry(), KIND, NODE)


def table() -> list[list[str]]:
    """The rows of the table, its head first."""
    lines = DOC.read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("| the run |"))
    rows: list[list[str]] = []
    for line in lines[first:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return [rows[0], *rows[2:]]


def cells() -> list[tuple[str, str, str]]:
    head, *rows = table()
    return [(row[0], command.strip("`"), cell) for row in rows for command, cell in zip(head[1:], row[1:], strict=True)]


CELLS = cells()
ENDS = ("after the end", "after a stop")


def state(run: Driver) -> dict[str, Any]:
    return run.state.model_dump()


def test_the_table_has_every_command_and_every_state() -> None:
    head, *rows = table()
    assert [name.strip("`") for name in head[1:]] == list(COMMANDS) == list(GIVEN)
    assert [row[0] for row in rows] == list(MOMENTS)


@pytest.mark.parametrize(("moment", "name", "cell"), CELLS)
def test_a_command_does_what_its_cell_says(moment: str, name: str, cell: str) -> None:
    run, command = MOMENTS[moment](), GIVEN[name]
    if cell.startswith("refused: "):
        before, pending = state(run), dict(run.pending)
        with pytest.raises(CommandRefused, match=re.escape(cell.removeprefix("refused: "))):
            run.send(command)
        assert (state(run), run.pending) == (before, pending), "a refused command changes nothing"
        return
    calls = len(run.calls)
    run.send(command)
    assert f"`{run.state.status}`" == cell
    if name in ("pause", "stop") or run.state.halted:
        assert len(run.calls) == calls, "nothing starts"
    if name == "stop":
        assert not run.pending


@pytest.mark.parametrize(("moment", "name", "cell"), [c for c in CELLS if not c[2].startswith("refused")])
def test_the_same_command_again_changes_nothing_then_or_later(moment: str, name: str, cell: str) -> None:
    run, command = MOMENTS[moment](), GIVEN[name]
    run.send(command)
    after, pending = state(run), dict(run.pending)
    run.send(command)
    assert (state(run), run.pending) == (after, pending)
    to_the_end(run)
    ended, calls = state(run), len(run.calls)
    run.send(command)
    assert (state(run), len(run.calls)) == (ended, calls), "a repeat is no error after the end either"


@pytest.mark.parametrize(("moment", "name", "cell"), [c for c in CELLS if c[0] not in ENDS])
def test_a_run_comes_to_its_end_after_any_command(moment: str, name: str, cell: str) -> None:
    run = MOMENTS[moment]()
    try:
        run.send(GIVEN[name])
    except CommandRefused:
        assert cell.startswith("refused")
    to_the_end(run)
    assert run.state.status in (("stopped",) if name == "stop" else ("succeeded", "partial-succeeded"))
    assert [event.seq for event in run.state.events] == list(range(1, run.state.seq + 1))


def to_the_end(run: Driver) -> None:
    """Let a run go on whatever it waits for."""
    if not run.state.ended and run.state.root.open == 0:
        run.send(Begin())
    for _ in range(100):
        if run.state.ended:
            return
        if run.state.draining:
            run.send(GoOn())
        if run.state.pause is not None:
            run.send(Resume())
        for key in list(run.state.failures):
            run.send(Retry(node=key))
        for form in view(run.graph, run.state, run.now).forms:
            run.send(Submit(form=form.key, action=form.form.actions[0].id))
        run.tick()
    raise AssertionError(run.state)
