"""The tree that Dify shows of an agent: `ROUND n`, in it what the model thought and each call of a tool.

Entries hold beginnings of long texts. Their times are those of the run's clock, in seconds since the epoch; how long a
model or a tool took is what it says itself.
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
_TOTALS = ("total_price", "currency", "total_tokens")

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
    return _entry(_round(state), f"ROUND {state.round}", "start", metadata=_times(state.began))


def model_said(state: AgentState, reply: RoundAnswer, now: int) -> News:
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
        **_times(state.began, now),
        "provider": reply.provider,
        "elapsed_time": usage["latency"],
        **{name: usage[name] for name in _TOTALS},
    }
    label = f"{state.said.model} Thought"
    return _entry(f"{_round(state)}-thought", label, "success", parent=_round(state), data=data, metadata=metadata)


def call_started(state: AgentState, call: CallState) -> News:
    """Tell that a call begins."""
    return _call(state, call, "start", {"tool_call_args": _arguments(call.arguments, call.given)}, _times(call.began))


def call_ended(state: AgentState, call: CallState, now: int) -> News:
    """Tell what a call gave."""
    data: dict[str, Any] = {"tool_call_args": _arguments(call.arguments, call.given), "output": call.observation}
    if call.original is not None:
        data["asked_args"] = call.original
        data["changed_by"] = "person"
    if call.error_kind is not None:
        data["error_kind"] = call.error_kind
    times = {**_times(call.began or now, now), "elapsed_time": call.elapsed}
    return _call(state, call, "success" if call.status == "done" else "error", data, times)


def round_ended(state: AgentState, now: int) -> News:
    """Tell what the round at hand came to."""
    said = state.said
    # All that the log tells of them stands in the entries of the calls.
    responses = [{"name": call.name, "output": beginning(call.observation, _GLIMPSE)} for call in state.calls]
    data: dict[str, Any] = {"output": {"llm_response": beginning(said.thought), "tool_responses": responses}}
    if state.ready.strategy == "react":
        acts = state.calls[0] if state.calls else CallState(id="", name="")
        data = {
            "action_name": acts.name,
            "action_input": _arguments(acts.arguments, acts.given),
            "thought": beginning(said.thought),
            "observation": beginning(acts.observation, _GLIMPSE),
        }
    totals = {name: said.usage[name] for name in _TOTALS if name in said.usage}
    metadata = {**_times(state.began, now), "provider": said.provider, **totals}
    return _entry(_round(state), f"ROUND {state.round}", "success", data=data, metadata=metadata)


def _times(began: int, now: int | None = None) -> dict[str, Any]:
    """Say when something began, and, where it is over, when that was and how long it took."""
    started = {"started_at": began / 1000}
    return started if now is None else started | {"finished_at": now / 1000, "elapsed_time": (now - began) / 1000}


def _call(state: AgentState, call: CallState, status: Status, data: dict[str, Any], times: dict[str, Any]) -> News:
    facts = state.facts(call.name)
    index = next(index for index, one in enumerate(state.calls) if one.id == call.id)
    return _entry(
        f"{_round(state)}-{index}",
        f"CALL {call.name}",
        status,
        parent=_round(state),
        error=call.error or None,
        data={"tool_name": call.name, **data},
        metadata={**times, "provider": facts.use.provider_id if facts else ""},
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
