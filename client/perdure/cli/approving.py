"""Ask on the terminal whether a call of a tool may be made, as it is or with other arguments."""

from __future__ import annotations

import json
from typing import Any

import typer

from perdure_graph.agents.loop_forms import ARGUMENTS, REASON
from perdure_graph.approvals import APPROVE, DENY
from perdure_graph.nodes.base import Form
from perdure_graph.view import FormView

_YES, _NO, _EDIT = ("y", "yes"), ("n", "no"), ("e", "edit")


def render_approval(view: FormView) -> str:
    """Write for people which call waits."""
    return "\n".join([f"{view.title!r} asks for approval ({view.key}):", *_indented(view.form.content)])


def ask_approval(form: Form) -> tuple[str, dict[str, Any]] | None:
    """Ask for yes, no or other arguments; None when the person closes the input."""
    try:
        while True:
            said = str(typer.prompt("approve? [y]es, [n]o, [e]dit the arguments", err=True)).strip().lower()
            if said in _YES:
                return APPROVE, {}
            if said in _NO:
                reason = str(typer.prompt("reason, for the model", default="", show_default=False, err=True))
                return DENY, {REASON: reason} if reason else {}
            if said in _EDIT and (edited := _edited(form)) is not None:
                return APPROVE, {ARGUMENTS: edited}
    except (typer.Abort, EOFError):
        return None


def _edited(form: Form) -> str | None:
    """Have other arguments written; None when they are no JSON object."""
    default = next((field.default for field in form.inputs if field.name == ARGUMENTS), None)
    text = str(typer.prompt("arguments", default=_on_one_line(str(default or "{}")), err=True))
    try:
        value = json.loads(text)
    except ValueError as error:
        typer.echo(f"this is no JSON: {error}.", err=True)
        return None
    if not isinstance(value, dict):
        typer.echo("arguments must be one JSON object.", err=True)
        return None
    return text


def _on_one_line(text: str) -> str:
    try:
        return json.dumps(json.loads(text), ensure_ascii=False)
    except ValueError:
        return text


def _indented(text: str) -> list[str]:
    return [f"  {line}" for line in text.splitlines()]
