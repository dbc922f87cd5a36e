"""What a tool node asks people: whether its call may be made, where a rule of the operator wants that."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from ..errors import NodeError
from ..nodes.base import FormReply, Turn
from ..values import to_text
from . import loop_forms, observations
from .config import ApprovalPolicy
from .loop_forms import NoArguments

MASK = "********"
DENIED = "ToolDenied"

# The deadline of the node is how long it waits.
_POLICY = ApprovalPolicy()

_Values = Mapping[str, JsonValue]


class Question(BaseModel):
    """A call that waits, as people see it: secrets are blotted out. times: how often it was asked."""

    model_config = ConfigDict(frozen=True)

    label: str
    arguments: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    settings: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    times: int = 1


def ask(node: str, question: Question, problem: str = "") -> Turn:
    """Ask a person. Each form has a name of its own, so that an answer to one is never taken for the next."""
    form = loop_forms.approval(
        node, question.label, question.arguments, _POLICY, problem, kind="Node", settings=question.settings
    )
    name = "approval" if question.times == 1 else f"approval.{question.times}"
    return Turn(wait=((name, form),), inputs=question.arguments, memo={"question": question.model_dump(mode="json")})


def approved(question: Question, reply: FormReply) -> dict[str, JsonValue]:
    """Read the arguments that a person approved, with blots where secrets were left alone.

    Raises:
        NodeError: nobody approved the call.
        NoArguments: what the person wrote is no JSON object.
    """
    if reply.action is None:
        raise NodeError(observations.nobody_approved(question.label), DENIED, final=True)
    if reply.action != loop_forms.APPROVE:
        reason = loop_forms.text_in(reply, loop_forms.REASON)
        raise NodeError(observations.denied(question.label, reason), DENIED, final=True)
    written = loop_forms.changed(reply, question.arguments)
    return question.arguments if written is None else written


def unblotted(seen: _Values, given: _Values, shown: _Values) -> dict[str, JsonValue]:
    """Put secrets back into values that a person saw; all others are as they were seen, whatever has changed since.

    given, shown: what the values are now, and how they are shown.

    Raises:
        NoArguments: a value holds a blot that stands for nothing.
    """
    values: dict[str, JsonValue] = {}
    for name, value in seen.items():
        if MASK not in to_text(value):
            values[name] = value
        elif name in given and shown.get(name) == value:
            values[name] = given[name]
        else:
            raise NoArguments(
                f"{name!r} holds {MASK}, which stands for a secret. Leave the whole value as it is, or write another."
            )
    return values
