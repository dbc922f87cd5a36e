"""What a model is told of its calls, in place of results and as them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import JsonValue

from ..children import FlowAnswer
from ..models.messages import FilePart, TextPart, ToolMessage
from .config import AgentConfig, ToolUse
from .effects import AgentAnswer
from .limits import Limits, not_run
from .loop_state import End
from .tools import ToolFacts

NO_OUTPUT = "(no output)"
APOLOGY = "I am sorry, I could not finish this within the steps that I am allowed."

_CUT = "\n[... the rest of this result was left out ...]"


def tool_message(
    config: AgentConfig,
    call_id: str,
    name: str,
    text: str,
    files: Sequence[dict[str, JsonValue]] = (),
    *,
    is_error: bool = False,
) -> ToolMessage:
    """Make the message that answers a call. Images go along where the agent sees images."""
    images = [file for file in files if file.get("type") == "image"] if config.vision != "off" else []
    detail = "low" if config.vision == "low" else "high"
    parts = [FilePart(kind="image", file=file, detail=detail) for file in images]
    return ToolMessage(
        call_id=call_id, name=name, content=(TextPart(text=text or NO_OUTPUT), *parts), is_error=is_error
    )


def unknown(name: str, facts: Sequence[ToolFacts]) -> str:
    """Say that there is no such tool, and which there are."""
    names = ", ".join(one.name for one in facts if one.use.enabled)
    return f"There is not a tool named {name!r}. " + (f"Tools: {names}." if names else "There are no tools.")


def one_at_a_time(name: str, first: str) -> str:
    """Say that only the first call of a round was made."""
    return (
        f"Tool {name!r} was not run: one call at a time is possible here, and that of {first!r} came before it. "
        "Call it again if it is still needed."
    )


def closed(name: str, reason: End, limits: Limits) -> str:
    """Say that a call comes too late."""
    if reason == "max_iterations":
        return not_run(name, limits)
    return f"Tool {name!r} was not run: no more tools can be used."


def given_up(name: str) -> str:
    """Say that the agent ended before a call was made."""
    return f"Tool {name!r} was not run: the agent was stopped before."


def partial(found: str) -> str:
    """Give what there is when an agent is stopped that has said nothing; `found` is the last result of a tool."""
    return f"{APOLOGY}\n\nThe last result was, from {found}" if found else APOLOGY


def denied(name: str, reason: str) -> str:
    """Say that a person does not want a call to be made."""
    why = f" The reason given: {reason}" if reason else ""
    return f"A person denied this call of {name!r}, so it was not run.{why}"


def nobody_approved(name: str) -> str:
    """Say that no person decided in time."""
    return f"This call of {name!r} needs a person's approval. Nobody approved it in time, so it was not run."


def unsure(name: str) -> str:
    """Say that nobody knows what became of a call."""
    return (
        f"The call of {name!r} was interrupted. It is not known whether it was done: "
        "find that out before you rely on it or call it again."
    )


def lost(name: str, use: ToolUse) -> str:
    """Say that a call was lost with whatever ran it, and what that means for what comes next."""
    session = f"the session with the MCP server {use.provider_id!r}" if use.provider_type == "mcp" else "its session"
    return (
        f"The worker that ran {name!r} was lost, and {session} with it. It is not known whether the call was carried "
        "out: find that out before you rely on it or call it again. What the session held in memory is gone."
    )


def failed(message: str) -> str:
    """Say that a call failed."""
    return f"tool invoke error: {message}"


def edited(name: str, call_id: str, arguments: Mapping[str, JsonValue]) -> str:
    """Say that a person changed a call before it was made."""
    written = json.dumps(arguments, ensure_ascii=False)
    return f"Before call {call_id} of {name!r} was made, a person changed its arguments to: {written}"


def of_agent(answer: AgentAnswer) -> str:
    """Tell what an agent came to that is a tool."""
    if answer.end == "answer":
        return answer.text
    return f"{answer.text}\n\n(This agent ended without finishing: {answer.end}.)".strip()


def of_flow(answer: FlowAnswer) -> str:
    """Tell what a graph gave that is a tool: its only output where that is a text, else all as JSON."""
    outputs: Any = answer.outputs
    if len(answer.outputs) == 1 and isinstance(only := next(iter(answer.outputs.values())), str):
        return only
    return json.dumps(outputs, ensure_ascii=False)


def within(text: str, most: int) -> str:
    """Cut a text to so many bytes, and say so."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= most:
        return text
    return raw[: max(0, most - len(_CUT))].decode("utf-8", "ignore") + _CUT
