"""Approvals: forms with the actions `approve` and `deny`, and the commands that answer them."""

from __future__ import annotations

import json
import re

from pydantic import JsonValue

from . import child_runs
from .child_runs import OpenForm
from .commands import Approve, Deny, Submit
from .errors import CommandRefused
from .graph import Graph
from .nodes.base import Form
from .nodes.human_input import check_submission
from .state import RunState

APPROVE, DENY = "approve", "deny"


def is_approval(form: Form) -> bool:
    """Whether a form asks for an approval."""
    return {APPROVE, DENY} <= {action.id for action in form.actions}


def check(graph: Graph, state: RunState, command: Approve | Deny) -> None:
    """Check that the call waits for approval, and that the answer fits.

    Raises:
        CommandRefused: says which calls wait.
    """
    found = _find(graph, state, command)
    submission = _submission(found, command)
    try:
        check_submission(found.form, submission.action, submission.values)
    except CommandRefused as error:
        raise CommandRefused(str(error).replace("cannot submit", f"cannot {submission.action}", 1)) from error


def submission(graph: Graph, state: RunState, command: Approve | Deny) -> Submit:
    """Say a command as the submission that it is."""
    return _submission(_find(graph, state, command), command)


def _submission(found: OpenForm, command: Approve | Deny) -> Submit:
    fields = {field.name for field in found.form.inputs}
    values: dict[str, JsonValue] = {}
    if isinstance(command, Deny):
        action = DENY
        if command.reason:
            values["reason"] = command.reason
    else:
        action = APPROVE
        if command.arguments is not None:
            values["arguments"] = json.dumps(command.arguments, ensure_ascii=False)
        if command.comment:
            values["comment" if "comment" in fields else "reason"] = command.comment
    return Submit(id=command.id, form=found.key, action=action, values=values)


def _find(graph: Graph, state: RunState, command: Approve | Deny) -> OpenForm:
    """Find a call by the key of its form; by the call's id, or the end of the key, where only one form has it."""
    verb = APPROVE if isinstance(command, Approve) else DENY
    forms = [form for form in child_runs.open_forms(graph, state) if is_approval(form.form)]
    exact = [form for form in forms if form.key == command.call]
    ends = re.compile(rf"(?:^|[#:/.]){re.escape(command.call)}$")
    found = exact or [form for form in forms if command.call and form.form.call == command.call]
    found = found or [form for form in forms if command.call and ends.search(form.key)]
    found = found or [form for form in forms if form.node_id == command.call]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(repr(form.key) for form in (found or forms)) or "none"
    if found:
        raise CommandRefused(f"cannot {verb}: call {command.call!r} waits several times: {listed}. Name one of these.")
    raise CommandRefused(
        f"cannot {verb}: no call {command.call!r} waits for approval in run {state.run_id!r}; calls that do: {listed}."
    )
