"""Calls of tools that wait for approval: the open forms of a run that ask for it, as calls."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, JsonValue

from perdure_graph.agents.loop_forms import ARGUMENTS, tool_of
from perdure_graph.approvals import is_approval
from perdure_graph.nodes.base import Form
from perdure_graph.view import FormView, RunView


class Approval(BaseModel):
    """A call that waits: answer it with `handle.approve(key)` or `handle.deny(key)`.

    tool: as people call it. agent: who wants to use it, an agent or a tool node of a graph.
    arguments: as the model gave them, or the node, with its secrets blotted out; None where they are no object.
    content: what a person is asked.
    """

    model_config = ConfigDict(frozen=True)

    key: str
    tool: str
    agent: str
    arguments: dict[str, JsonValue] | None
    content: str
    timeout_s: float | None = None


def approvals_of(view: RunView) -> list[Approval]:
    """Give the calls that wait in a run, oldest first."""
    return [approval_of(form) for form in view.forms if asks_for_call(form.form)]


def asks_for_call(form: Form) -> bool:
    """Whether a form asks for the approval of a call, and not a question that a graph asks with the same buttons."""
    return is_approval(form) and any(field.name == ARGUMENTS for field in form.inputs)


def approval_of(view: FormView) -> Approval:
    """Read the form of a call."""
    fields: Mapping[str, Any] = {field.name: field.default for field in view.form.inputs}
    return Approval(
        key=view.key,
        tool=tool_of(view.form) or view.title,
        agent=view.title,
        arguments=_object(fields.get(ARGUMENTS)),
        content=view.form.content,
        timeout_s=view.form.timeout_s,
    )


def _object(text: Any) -> dict[str, JsonValue] | None:
    try:
        value = json.loads(text) if isinstance(text, str) else text
    except ValueError:
        return None
    return cast("dict[str, JsonValue]", value) if isinstance(value, dict) else None
