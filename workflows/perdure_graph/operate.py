"""Commands: whether one fits the state a run is in, and what it does. docs/commands.md has the whole table.

A command may carry an id. One whose id was seen changes nothing and is no error, whatever the run has come to since:
so a sender who got no answer sends it again, as an update or as a signal.
"""

from __future__ import annotations

from typing import assert_never

from . import approvals, child_runs, holding, lifecycle, variables_command, windows
from .child_runs import OpenForm
from .commands import Approve, Command, Deny, Pause, Resume, Retry, SetVariables, Stop, Submit
from .errors import CommandRefused
from .events import FormFilled
from .graph import Graph
from .machine import Machine
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
    Approve: "approve",
    Deny: "deny",
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
            check_submission(_form(graph, state, command.form).form, command.action, command.values)
        case Approve() | Deny():
            approvals.check(graph, state, command)
        case SetVariables():
            variables_command.check(graph, state, command.variables)
        case Retry():
            holding.check_retry(graph, state, command)
        case Pause() | Resume() | Stop():
            return
        case _:
            assert_never(command)


def _instead(state: RunState) -> str:
    children = state.children.values()
    if state.waiting or any(child.forms for child in children):
        return " It waits for a form: use submit."
    if state.failures or any(child.failures for child in children):
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
        case Approve() | Deny():
            _submit(m, approvals.submission(m.graph, m.state, command))
        case SetVariables():
            variables_command.apply(m, command.variables)
        case Retry():
            holding.retry(m, command)
        case _:
            assert_never(command)


def _submit(m: Machine, command: Submit) -> None:
    form = _form(m.graph, m.state, command.form)
    reply = check_submission(form.form, command.action, command.values)
    if form.child:
        child_runs.pass_on(m, form.child, command.model_copy(update={"form": form.inner}))
        return
    place = m.state.waiting[form.key]
    frame, node = m.state.frames[place.frame], m.graph.nodes[place.node]
    m.emit_node(FormFilled, frame, node, key=form.key, action=command.action, values=reply.values)
    lifecycle.answer_form(m, form.key, reply)


def _form(graph: Graph, state: RunState, name: str) -> OpenForm:
    forms = child_runs.open_forms(graph, state)
    for form in forms:
        if form.key == name:
            return form
    found = [form for form in forms if form.node_id == name]
    if len(found) == 1:
        return found[0]
    waiting = ", ".join(repr(form.key) for form in forms) or "none"
    raise CommandRefused(f"cannot submit: no single form {name!r} is waiting in run {state.run_id!r}; open: {waiting}.")
