"""What an agent asks people: whether a call may be made, what became of one, whether to go on in circles. A tool node
asks the first of these too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal, cast

from pydantic import JsonValue

from ..nodes.base import Form, FormAction, FormInput, FormReply
from .config import ApprovalPolicy

APPROVE, DENY = "approve", "deny"
RUN_AGAIN, GIVE_RESULT, NOT_KNOWN = "run_again", "give_result", "not_known"
GO_ON, FINISH, STOP = "go_on", "finish", "stop"
ARGUMENTS, REASON, RESULT, NOTE = "arguments", "reason", "result", "note"


class NoArguments(Exception):
    """What a person wrote is no JSON object."""


def approval(
    name: str,
    label: str,
    arguments: Mapping[str, JsonValue],
    policy: ApprovalPolicy,
    problem: str = "",
    *,
    kind: Literal["Agent", "Node"] = "Agent",
    settings: Mapping[str, JsonValue] | None = None,
) -> Form:
    """Ask whether a call may be made, as it is or with other arguments. problem: with what was written before.

    settings: what it is called with besides, which nobody changes here.
    """
    written = _shown(arguments)
    parts = [f"{kind} **{name}** wants to use **{label}** with:", _fenced(written)]
    if settings:
        parts += ["Its settings:", _fenced(_shown(settings))]
    if problem:
        parts.insert(0, f"The arguments were not taken: {problem}")
    return Form(
        content="\n\n".join(parts),
        inputs=(
            FormInput(name=ARGUMENTS, type="paragraph", default=written),
            FormInput(name=REASON, type="paragraph", default=""),
        ),
        actions=(
            FormAction(id=APPROVE, title="Approve", style="primary"),
            FormAction(id=DENY, title="Deny"),
        ),
        timeout_s=policy.timeout_s,
    )


def tool_of(form: Form) -> str:
    """Read which tool an approval is about, as people call it."""
    found = re.search(r"wants to use \*\*(.*?)\*\* with:", form.content, re.DOTALL)
    return found[1] if found else ""


def changed(reply: FormReply, arguments: Mapping[str, JsonValue]) -> dict[str, JsonValue] | None:
    """Read the arguments that a person wrote; None where they are those that were asked for.

    Raises:
        NoArguments: they are no JSON object.
    """
    given: Any = reply.values.get(ARGUMENTS)
    if isinstance(given, str):
        if not given.strip():
            return None
        try:
            given = json.loads(given, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            raise NoArguments(f"they are no JSON ({error}).") from error
    if given is None:
        return None
    if not isinstance(given, dict):
        raise NoArguments("they must be one JSON object.")
    written = cast("dict[str, JsonValue]", given)
    return None if written == arguments else written


def text_in(reply: FormReply, name: str) -> str:
    """Read what a person wrote."""
    value = reply.values.get(name)
    return value.strip() if isinstance(value, str) else ""


def interrupted(agent: str, label: str, arguments: Mapping[str, JsonValue], error: str) -> Form:
    """Ask what became of a call that must not simply be made again."""
    return Form(
        content=(
            f"Agent **{agent}** used **{label}**, and the call was interrupted: {error}\n\nNobody knows whether it was "
            "done, and this tool must not be run twice for the same. It was called with:\n\n"
            + _fenced(_shown(arguments))
        ),
        inputs=(FormInput(name=RESULT, type="paragraph", default=""),),
        actions=(
            FormAction(id=RUN_AGAIN, title="Run again"),
            FormAction(id=GIVE_RESULT, title="Give its result"),
            FormAction(id=NOT_KNOWN, title="Tell the model that it is not known"),
        ),
    )


def circling(question: str, policy: ApprovalPolicy) -> Form:
    """Ask whether an agent that goes in circles is to go on. The note is told to its model."""
    return Form(
        content=question,
        inputs=(FormInput(name=NOTE, type="paragraph", default=""),),
        actions=(
            FormAction(id=GO_ON, title="Go on"),
            FormAction(id=FINISH, title="Finish"),
            FormAction(id=STOP, title="Stop"),
        ),
        timeout_s=policy.timeout_s,
    )


def _shown(arguments: Mapping[str, JsonValue]) -> str:
    return json.dumps(cast("dict[str, Any]", arguments), ensure_ascii=False, indent=2)


def _fenced(text: str) -> str:
    """Fence JSON so that nothing in it ends the fence."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}json\n{text}\n{fence}"


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
