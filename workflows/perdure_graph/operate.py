"""Commands: whether one fits the state a run is in, and what it does. docs/commands.md has the whole table.

A command may carry an id. One whose id was seen changes nothing and is no error, whatever the run has come to since:
so a sender who got no answer sends it again, as an update or as a signal.
"""

from __future__ import annotations

from typing import assert_never

from . import holding, lifecycle, variables_command, windows
from .commands import Command, Pause, Resume, Retry, SetVariables, Stop, Submit
from .errors import CommandRefused
from .events import FormFilled
from .graph import Graph
from .machine import Machine
from .nodes.base import Form
from .nodes.human_input import check_submission
from .state import RunState

REMEMBERED = 1000
NAMES: dict[type[Command], str] = {
    Pause: "pause",
    Resume: "resume",
    Stop: "stop",
    Submit: "submit",
    SetVariables: "set variables",
    Retry: "retry",
}


def was_given(state: RunState, id: str) -> bool:
    """Whether a command with this id was applied; one that did not fit was not."""
    return bool(id) and id in state.seen


def check_command(graph: Graph, state: RunState, command: Command) -> None:
    """Say whether a command fits the state, without changing anything.

    Raises:
        CommandRefused: with the reason and what would fit.
    """
    if was_given(state, command.id):
        return
    if state.ended:
        name = NAMES[type(command)]
        raise CommandRefused(f"cannot {name}: run {state.run_id!r} has ended ({state.status}).")
    match command:
        case Pause() if state.pause is not None:
            raise CommandRefused(f"cannot pause: run {state.run_id!r} is paused already; resume it first.")
        case Resume() if state.pause is None:
            raise CommandRefused(f"cannot resume: run {state.run_id!r} is not paused.{_instead(state)}")
        case Submit():
            check_submission(_form_of(state, command.form), command.action, command.values)
        case SetVariables():
            variables_command.check(graph, state, command.variables)
        case Retry():
            holding.check_retry(graph, state, command)
        case Pause() | Resume() | Stop():
            return
        case _:
            assert_never(command)


def _instead(state: RunState) -> str:
    if state.waiting:
        return " It waits for a form: use submit."
    if state.failures:
        return " It waits for an operator: use retry."
    return ""


def apply(m: Machine, command: Command) -> None:
    """Do what a command says that was found to fit; a repeat does nothing."""
    if was_given(m.state, command.id):
        return
    if command.id:
        m.state.seen.append(command.id)
        while len(m.state.seen) > REMEMBERED:
            m.state.seen.popleft()
    match command:
        case Pause(reason=reason):
            m.state.pause = reason
            windows.tell(m, command)
        case Resume():
            m.state.pause = None
            windows.tell(m, command)
            # While the state is about to be handed over nothing starts; `GoOn` lets it.
            if not m.state.draining:
                lifecycle.release(m)
        case Stop():
            lifecycle.finish(m, "stopped")
        case Submit():
            _submit(m, command)
        case SetVariables():
            variables_command.apply(m, command.variables)
        case Retry():
            holding.retry(m, command)
        case _:
            assert_never(command)


def _submit(m: Machine, command: Submit) -> None:
    key = _form_key(m.state, command.form)
    place = m.state.waiting[key]
    reply = check_submission(_form_of(m.state, key), command.action, command.values)
    frame, node = m.state.frames[place.frame], m.graph.nodes[place.node]
    m.emit_node(FormFilled, frame, node, key=key, action=command.action, values=reply.values)
    lifecycle.answer_form(m, key, reply)


def _form_of(state: RunState, name: str) -> Form:
    place = state.waiting[_form_key(state, name)]
    form = state.frames[place.frame].nodes[place.node].form
    assert form is not None
    return form


def _form_key(state: RunState, name: str) -> str:
    if name in state.waiting:
        return name
    keys = [key for key, place in state.waiting.items() if place.node == name]
    if len(keys) == 1:
        return keys[0]
    waiting = ", ".join(repr(key) for key in state.waiting) or "none"
    raise CommandRefused(f"cannot submit: no single form {name!r} is waiting in run {state.run_id!r}; open: {waiting}.")
