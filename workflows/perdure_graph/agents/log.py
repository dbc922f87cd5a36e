"""The tree that Dify shows of an agent: `ROUND n`, in it what the model thought and each call of a tool.

Entries hold beginnings of long texts. No clock is read here: how long things took is what their replies say.
"""

from __future__ import annotations

from typing import Any, Literal

from ..nodes.base import News
from . import ids
from .effects import Opening, RoundAnswer
from .loop_state import AgentState, CallState
from .thoughts import beginning
from .units import Action, effective

# Of an observation, in the entry of its round.
_GLIMPSE = 100

Status = Literal["start", "success", "error"]


def opened(state: AgentState, opening: Opening) -> News | None:
    """Tell what is not as the agent's configuration wants it; None where all is."""
    data: dict[str, Any] = {"strategy": opening.strategy}
    if opening.fallback:
        data["fallback"] = opening.fallback
    if opening.toolset.skipped:
        data["skipped_tools"] = dict(opening.toolset.skipped)
    if len(data) == 1:
        return None
    return _entry(ids.round_id(state.thread, 0), "STRATEGY", "success", data=data)


def round_started(state: AgentState) -> News:
    """Tell that the model is asked."""
    return _entry(_round(state), f"ROUND {state.round}", "start")


def model_said(state: AgentState, reply: RoundAnswer) -> News:
    """Tell what the model said."""
    unit = effective(reply.units) if reply.units else None
    if isinstance(unit, Action):
        data: dict[str, Any] = {"thought": beginning(reply.text), "action": unit.name, "action_input": unit.input}
    else:
        asked = [{"name": call.name, "args": _arguments(call.arguments, call.given)} for call in reply.calls]
        data = {
            "output": beginning(reply.text),
            "tool_name": ";".join(one["name"] for one in asked),
            "tool_input": asked,
        }
    for name in ("dropped", "shortened"):
        if count := getattr(reply, name):
            data[name] = count
    usage = reply.usage.as_dify()
    metadata = {
        "provider": reply.provider,
        "elapsed_time": usage["latency"],
        **{name: usage[name] for name in ("total_price", "currency", "total_tokens")},
    }
    label = f"{state.said.model} Thought"
    return _entry(f"{_round(state)}-thought", label, "success", parent=_round(state), data=data, metadata=metadata)


def call_started(state: AgentState, call: CallState) -> News:
    """Tell that a call begins."""
    return _call(state, call, "start", {"tool_call_args": _arguments(call.arguments, call.given)})


def call_ended(state: AgentState, call: CallState) -> News:
    """Tell what a call gave."""
    data: dict[str, Any] = {"tool_call_args": _arguments(call.arguments, call.given), "output": call.observation}
    if call.original is not None:
        data["asked_args"] = call.original
        data["changed_by"] = "person"
    if call.error_kind is not None:
        data["error_kind"] = call.error_kind
    return _call(state, call, "success" if call.status == "done" else "error", data)


def round_ended(state: AgentState) -> News:
    """Tell what the round at hand came to."""
    # All that the log tells of them stands in the entries of the calls.
    responses = [{"name": call.name, "output": beginning(call.observation, _GLIMPSE)} for call in state.calls]
    data: dict[str, Any] = {"output": {"llm_response": beginning(state.said.thought), "tool_responses": responses}}
    return _entry(_round(state), f"ROUND {state.round}", "success", data=data)


def _call(state: AgentState, call: CallState, status: Status, data: dict[str, Any]) -> News:
    facts = state.facts(call.name)
    index = next(index for index, one in enumerate(state.calls) if one.id == call.id)
    metadata: dict[str, Any] = {"provider": facts.use.provider_id if facts else ""}
    if status != "start":
        metadata["elapsed_time"] = call.elapsed
    return _entry(
        f"{_round(state)}-{index}",
        f"CALL {call.name}",
        status,
        parent=_round(state),
        error=call.error or None,
        data={"tool_name": call.name, **data},
        metadata=metadata,
    )


def _arguments(arguments: dict[str, Any] | None, given: str) -> Any:
    return given if arguments is None else arguments


def _round(state: AgentState) -> str:
    return ids.round_id(state.thread, state.round)


def _entry(
    entry: str,
    label: str,
    status: Status,
    *,
    parent: str | None = None,
    error: str | None = None,
    data: dict[str, Any] | None = None,
    metadata: dict[str, Any] | None = None,
) -> News:
    fields = {"id": entry, "parent_id": parent, "label": label, "status": status, "error": error}
    return News("agent_log", {**fields, "data": data or {}, "metadata": metadata or {}})
