"""`perdure agent run` and `check`: load an agent here, start it, follow it to its answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perdure_graph.agents.agent_file_draft import LoadedAgent
from perdure_graph.errors import InvalidGraph
from perdure_graph.report import Finding
from perdure_graph.request import RunOptions

from ..agents import agent_request, hash_of, read_agent
from . import given
from .connect import Demo, Server, connected
from .forms import Answers
from .output import INVALID, OK, Output
from .run import to_the_end


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for on the command line."""

    config: Path
    query: str
    pairs: list[str] = field(default_factory=list[str])
    inputs: Path | None = None
    conversation_id: str | None = None
    run_id: str | None = None
    user: str = "user"
    options: RunOptions = field(default_factory=RunOptions)
    approve_all: bool = False


async def run(asked: Asked, server: Server | None, out: Output, demo: Demo | None = None) -> int:
    """Run an agent to its answer, on a server or on a stack of our own."""
    loaded = read_agent(asked.config)
    types = None if loaded.form is None else {one.variable: one.type for one in loaded.form}
    inputs = given.read_mapping(asked.inputs, "inputs") | given.typed(types, given.read_pairs(asked.pairs))
    for finding in loaded.findings:
        out.note(f"{finding.level}: {finding}")
    for note in given.unknown_inputs(types, inputs, "agent"):
        out.note(note)
    # Before a server is started.
    agent_request(loaded, asked.query, inputs=inputs)
    config = loaded.config
    async with connected(server, out.note, worker_process=False, demo=demo) as client:
        handle = await client.start_agent(
            loaded,
            asked.query,
            inputs=inputs,
            user=asked.user,
            conversation_id=asked.conversation_id,
            run_id=asked.run_id,
            options=asked.options,
        )
        out.run_id = handle.run_id
        tools = sum(tool.enabled for tool in config.tools)
        out.say(f"run {handle.run_id}: {config.name}, {config.model.name}, {tools} tools")
        return await to_the_end(handle, Answers({}, approve_all=asked.approve_all), server, out)


def check(path: Path, out: Output) -> int:
    """Write what there is to say about an agent's file; the exit code is 2 when it cannot be loaded."""
    try:
        loaded = read_agent(path)
    except InvalidGraph as error:
        _findings(error.findings, out)
        out.say(f"{path.name} cannot run: {len(error.findings)} refused")
        _json(path.name, None, error.findings, out)
        return INVALID
    _findings(loaded.findings, out)
    config = loaded.config
    for tool in config.tools:
        source = f"{tool.provider_type} {tool.provider_id}".strip()
        notes = [f"approval {tool.approval}" if tool.approval else "", "" if tool.enabled else "disabled"]
        out.say(f"  tool {tool.tool_name} ({source}) {', '.join(note for note in notes if note)}".rstrip())
    for one in loaded.form or ():
        out.say(f"  input {one.variable} ({one.type}){', required' if one.required else ''}")
    strategy = config.strategy or "strategy by the model"
    model = f"{config.model.provider}/{config.model.name}"
    out.say(f"{config.name} can run: {model}, {strategy}, at most {config.limits.max_iteration} rounds with tools")
    _json(config.name, loaded, loaded.findings, out)
    return OK


def _findings(findings: Sequence[Finding], out: Output) -> None:
    for finding in findings:
        out.say(f"{finding.level:<8} {finding}")


def _json(name: str, loaded: LoadedAgent | None, findings: Sequence[Finding], out: Output) -> None:
    if not out.as_json:
        return
    shown: dict[str, Any] = {
        "valid": loaded is not None,
        "status": "valid" if loaded else "invalid",
        "name": name,
        "hash": hash_of(loaded.config) if loaded else None,
        "config": loaded.config.model_dump(mode="json", exclude_defaults=True) if loaded else None,
        "inputs": [one.model_dump(mode="json") for one in (loaded.form if loaded else None) or ()],
        "findings": [finding.model_dump() for finding in findings],
    }
    out.json(shown)
