"""The agent that is killed: rounds with parallel calls, calls that somebody approves, and an agent below it.

What its models say is a script that goes by the conversation: a question that is asked again gets the same answer.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from perdure import AgentConfig, Client, RunHandle
from perdure_fake import Script

ROUNDS = {"boss": 6, "helper": 3}
# Where the events of each agent are told: the helper runs for the second call of the third round.
SCOPES = {"boss": "", "helper": "agent#r3.c1"}
APPROVED = "pay"
ANSWER = "All is booked, and paid for."

_MODEL = {"provider": "openai", "name": "gpt-4o"}
_HTTP = {"provider_type": "builtin", "provider_id": "http", "tool_name": "http_request"}
_CALCULATOR = {"provider_type": "builtin", "provider_id": "calculator", "tool_name": "calculator"}
_HELPER = "ask_helper"
# More than are needed, so that the last round has tools too.
_LIMITS = {"max_iteration": 8}
# Outside effects by agent and round; they are asked for side by side.
_EFFECTS: dict[str, dict[int, tuple[str, ...]]] = {
    "boss": {1: ("book-1", "book-2"), 2: (f"{APPROVED}-boss", "note-1"), 3: ("note-2",), 5: ("close-1", "close-2")},
    "helper": {1: ("look-1", "look-2"), 2: (f"{APPROVED}-helper",)},
}
_WHILE_KILLED = "killed"
# Slow enough that a kill finds some answers on their way.
_LATENCY = {"first": 0.1, "chunk": 0.01}


def effects() -> Counter[str]:
    """Every outside effect of one run, by name: each must happen once."""
    return Counter(what for rounds in _EFFECTS.values() for names in rounds.values() for what in names)


def rounds() -> list[tuple[str, int]]:
    """Every round of both agents."""
    return [(agent, number) for agent, last in ROUNDS.items() for number in range(1, last + 1)]


def of_round(agent: str, number: int) -> tuple[str, ...]:
    """The outside effects of a round, in the order of its calls."""
    return _EFFECTS[agent].get(number, ())


def script(url: str, held: tuple[str, int] | None = None) -> Script:
    """Say what the models answer, round by round. held: a round whose next answer takes so long that it can be lost."""
    steps = [
        {"match": {"contains": f"You are {agent}.", "turn": number}, "reply": _reply(agent, number, url)}
        for agent, number in rounds()
    ]
    if held is not None:
        match = {"contains": f"You are {held[0]}.", "turn": held[1]}
        steps.insert(0, {"match": match, "fault": _WHILE_KILLED, "times": 1})
    return Script.model_validate({"steps": steps, "latency": _LATENCY, "seed": 3})


def _reply(agent: str, number: int, url: str) -> dict[str, Any]:
    if number == ROUNDS[agent]:
        return {"text": ANSWER if agent == "boss" else "There is room for two."}
    asked: list[tuple[str, dict[str, Any]]] = [
        ("http_request", {"method": "POST", "url": f"{url}?what={what}", "body": what})
        for what in of_round(agent, number)
    ]
    if agent == "boss" and number == 3:
        asked.append((_HELPER, {"query": "Is there room?"}))
    if agent == "boss" and number == 4:
        asked += [("calculator", {"expression": f"6 * {factor}"}) for factor in (7, 8)]
    calls = [
        {"id": f"{agent}-{number}-{place}", "name": name, "arguments": arguments}
        for place, (name, arguments) in enumerate(asked, 1)
    ]
    return {"text": f"Step {number} of {agent}.", "tool_calls": calls}


def write_tools(path: Path) -> Path:
    """Write a tools file that has somebody asked about what costs money."""
    when = {"arguments": {"url": f"*what={APPROVED}-*"}}
    # JSON is YAML.
    path.write_text(
        json.dumps({"approval": [{"tools": "http/http_request", "approval": "policy", "when": when}]}), "utf-8"
    )
    return path


def agent(case: str) -> AgentConfig:
    """Build the agent of a case. Its case is told to target and models, in ways that leave no trace in the answers."""
    counted = {**_HTTP, "parameters": {"params": {"case": case}}}

    def one(name: str, *tools: dict[str, Any]) -> dict[str, Any]:
        return {
            "name": name,
            "model": _MODEL,
            "instruction": f"You are {name}. Case {case}.",
            "tools": tools,
            "limits": _LIMITS,
        }

    below = {"provider_type": "agent", "tool_name": _HELPER, "agent": one("helper", counted)}
    return AgentConfig.model_validate(one("boss", counted, _CALCULATOR, below))


async def start(client: Client, _url: str, case: str, run_id: str) -> RunHandle:
    """Start a run."""
    return await client.start_agent(agent(case), "Book it.", run_id=run_id)
