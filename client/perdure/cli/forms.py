"""Answer the forms of a run: from `--submit`, by asking on the terminal, or not at all."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Sequence
from shlex import quote
from typing import Any, TypeVar

import typer

from perdure_graph.approvals import APPROVE
from perdure_graph.events import HoldReason
from perdure_graph.nodes.base import Form
from perdure_graph.view import FormView, HeldView

from ..approvals import asks_for_call
from .approving import ask_approval, render_approval
from .given import Answer, form_values

T = TypeVar("T")

_WHY: dict[HoldReason, str] = {
    "failed": "failed",
    "interrupted": "was interrupted and may or may not have been done",
    "refused": "was not done",
}


class Answers:
    """What `--submit` says, by node; the last answer of a node is used again and again.

    approve_all: calls of tools that wait for approval are made.
    """

    def __init__(self, given: dict[str, list[Answer]], *, approve_all: bool = False) -> None:
        self._given = {node: list(answers) for node, answers in given.items()}
        self._approve_all = approve_all

    def take(self, key: str, node_id: str, title: str) -> Answer | None:
        """Take the next answer for a form, named by its key, its node's id or its node's title."""
        for name in (key, node_id, title):
            if answers := self._given.get(name):
                return answers.pop(0) if len(answers) > 1 else answers[0]
        return None

    def answer(self, view: FormView) -> Answer | None:
        """Take the next answer for a form, or the one that all approvals get."""
        told = self.take(view.key, view.node_id, view.title)
        return told or (Answer(APPROVE) if self._approve_all and asks_for_call(view.form) else None)


def field_types(form: Form) -> dict[str, str]:
    """Give name and type of the fields of a form."""
    return {field.name: field.type for field in form.inputs}


def render(view: FormView) -> str:
    """Write a form for people: content, fields, actions."""
    if asks_for_call(view.form):
        return render_approval(view)
    lines = [f"{view.title!r} asks:", *(f"  {line}" for line in view.form.content.splitlines())]
    for field in view.form.inputs:
        default = "" if field.default is None else f", by default {field.default!r}"
        lines.append(f"  field {field.name} ({field.type}){default}")
    lines.append("  actions: " + ", ".join(_action(a.id, a.title) for a in view.form.actions))
    return "\n".join(lines)


def render_held(held: HeldView) -> str:
    """Write for people which node waits for an operator, and why."""
    why = _WHY[held.reason]
    return f"{held.title!r} ({held.key}) {why}: {held.error}"


def _action(action: str, title: str) -> str:
    return action if title in ("", action) else f"{action} ({title})"


def command(run_id: str, view: FormView) -> str:
    """Write the `perdure submit`, or `approve`, that would answer a form."""
    if asks_for_call(view.form):
        return f"perdure approve {run_id} {quote(view.key)}"
    action = view.form.actions[0].id if view.form.actions else "ACTION"
    fields = "".join(f" -i {field.name}=..." for field in view.form.inputs)
    return f"perdure submit {run_id} {view.key} {action}{fields}"


def option(view: FormView) -> str:
    """Write the option that would answer a form."""
    if asks_for_call(view.form):
        return "--approve-all"
    action = view.form.actions[0].id if view.form.actions else "ACTION"
    fields = "".join(f",{field.name}=..." for field in view.form.inputs)
    return f"--submit {view.node_id}={action}{fields}"


def can_ask() -> bool:
    """Whether somebody sits at the terminal."""
    return sys.stdin.isatty()


async def ask(view: FormView) -> tuple[str, dict[str, Any]] | None:
    """Ask on the terminal (prompts go to stderr); None when the person closes the input."""
    typer.echo(render(view), err=True)
    return await _in_thread(lambda: ask_approval(view.form) if asks_for_call(view.form) else _ask(view.form))


def _ask(form: Form) -> tuple[str, dict[str, Any]] | None:
    try:
        texts = {
            field.name: str(typer.prompt(field.name, default=_shown(field.default), err=True)) for field in form.inputs
        }
        return _ask_action([action.id for action in form.actions]), form_values(field_types(form), texts)
    except (typer.Abort, EOFError):
        return None


def _shown(default: Any) -> str:
    return "" if default is None else str(default)


def _ask_action(actions: Sequence[str]) -> str:
    while True:
        first = actions[0] if len(actions) == 1 else None
        chosen = str(typer.prompt(f"action [{', '.join(actions)}]", default=first, err=True)).strip()
        if chosen in actions:
            return chosen
        typer.echo(f"{chosen!r} is none of the actions.", err=True)


async def _in_thread(work: Callable[[], T]) -> T:
    # No executor: its threads are waited for at exit, and this one may sit in a read for ever after Ctrl-C.
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if not done.cancelled():
            if error is not None:
                done.set_exception(error)
            else:
                done.set_result(result)  # pyright: ignore[reportArgumentType]

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except Exception as caught:
            error = caught
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="ask", daemon=True).start()
    return await done
