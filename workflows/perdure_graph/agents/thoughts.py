"""The record of an agent's rounds: events for those who watch, and the objects that Dify keeps of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from ..nodes.base import News
from . import ids
from .loop_state import AgentState, CallState

BEGINNING = 500


def thought(state: AgentState, *, answer: str = "") -> News:
    """Tell of the round at hand; told again, it replaces what was told before."""
    said = state.said
    return News(
        "agent_thought",
        {
            "thread": state.thread,
            "id": ids.thought_id(state.thread, state.round),
            "position": state.round,
            "thought": said.thought,
            "reasoning": said.reasoning,
            "answer": answer,
            "calls": [_call(state, call) for call in state.calls],
            "usage": said.usage,
            "model_provider": said.provider,
            "model_name": said.model,
            "simulated": said.simulated,
        },
    )


def limit(state: AgentState, reason: str, note: str) -> News:
    """Tell that the agent met a limit."""
    fields = {"thread": state.thread, "reason": reason, "note": note, "rounds": state.round}
    return News("agent_limit", fields)


def beginning(text: str, most: int = BEGINNING) -> str:
    """Cut a text to what a record shows of it."""
    return text if len(text) <= most else f"{text[:most]}..."


def _call(state: AgentState, call: CallState) -> dict[str, Any]:
    facts = state.facts(call.name)
    record: dict[str, Any] = {
        "id": call.id,
        "name": call.name,
        "label": (facts.label if facts else "") or call.name,
        "provider": facts.use.provider_id if facts else "",
        "provider_type": facts.use.provider_type if facts else "",
        "arguments": call.given if call.arguments is None else call.arguments,
        "status": call.status,
        "observation": call.observation,
        "size": call.size,
        "error": call.error,
        "error_kind": call.error_kind,
        "elapsed": call.elapsed,
        "files": list(call.files),
    }
    if call.form:
        record["form"] = call.form
    if call.original is not None:
        record["asked_arguments"] = call.original
        record["changed_by"] = "person"
    return record


def as_dify(
    thoughts: Sequence[Mapping[str, Any]], *, message_id: str = "", role: str = "end_user", user: str = ""
) -> list[dict[str, Any]]:
    """Give the thought objects that Dify keeps, made of events `agent_thought`: one per round, in order.

    Dify keys inputs, observations and meta by the name of the tool. Of several calls of one tool in a round the first
    has its name, the others `name#2`, `name#3`, so that all are told; `tool` lists them joined by `;` as usual.
    """
    last = {str(one["id"]): one for one in thoughts}
    ordered = sorted(last.values(), key=lambda one: int(one["position"]))
    return [_dify(one, message_id, role, user) for one in ordered]


def _dify(one: Mapping[str, Any], message_id: str, role: str, user: str) -> dict[str, Any]:
    calls = _named(cast("Sequence[Mapping[str, Any]]", one.get("calls") or ()))
    usage = cast("Mapping[str, Any]", one.get("usage") or {})
    answer = one.get("answer") or ""
    files = [file for call in calls.values() for file in call.get("files") or ()]
    return {
        "id": one["id"],
        "message_id": message_id,
        "position": one["position"],
        "thought": one.get("thought") or answer,
        "tool": ";".join(calls),
        "tool_labels": {name: _label(call) for name, call in calls.items()},
        "tool_input": _json({name: call.get("arguments") for name, call in calls.items()}) if calls else "",
        "observation": _json({name: call.get("observation") or "" for name, call in calls.items()}) if calls else "",
        "tool_meta": {name: _meta(call) for name, call in calls.items()},
        "answer": answer,
        "message_files": [file.get("id") or file.get("related_id") for file in files],
        "message_token": usage.get("prompt_tokens", 0),
        "message_unit_price": usage.get("prompt_unit_price", "0"),
        "message_price_unit": usage.get("prompt_price_unit", "1"),
        "answer_token": usage.get("completion_tokens", 0),
        "answer_unit_price": usage.get("completion_unit_price", "0"),
        "answer_price_unit": usage.get("completion_price_unit", "1"),
        "tokens": usage.get("total_tokens", 0),
        "total_price": usage.get("total_price", "0"),
        "currency": usage.get("currency", "USD"),
        "latency": usage.get("latency", 0.0),
        "created_by_role": role,
        "created_by": user,
    }


def _named(calls: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    named: dict[str, Mapping[str, Any]] = {}
    for call in calls:
        name, times = str(call["name"]), 1
        while name in named:
            times += 1
            name = f"{call['name']}#{times}"
        named[name] = call
    return named


def _label(call: Mapping[str, Any]) -> dict[str, Any]:
    label = call.get("label") or call["name"]
    return {"en_US": label, "zh_Hans": label}


def _meta(call: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "time_cost": call.get("elapsed") or 0.0,
        "error": call.get("error") or None,
        "tool_config": {
            "name": call["name"],
            "provider": call.get("provider") or "",
            "provider_type": call.get("provider_type") or "",
            "parameters": call.get("arguments"),
            "icon": None,
        },
    }


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)
