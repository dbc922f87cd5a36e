"""What starts an agent: its file or its configuration, checked, and the request that goes to its workflow."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from perdure_graph.agents.agent_file import load
from perdure_graph.agents.agent_file_draft import LoadedAgent
from perdure_graph.agents.config import AgentConfig
from perdure_graph.agents.effects import RunAgent
from perdure_graph.errors import InvalidInputs
from perdure_graph.files import FileProblem, read_file
from perdure_graph.inputs import check_inputs, without_nul
from perdure_graph.request import RunOptions

_TEXTS = ("text-input", "paragraph", "select")

AgentSource = AgentConfig | LoadedAgent | Path | str


def read_agent(source: AgentSource) -> LoadedAgent:
    """Give an agent from its configuration, from a file (`Path`, or a path in a one-line string) or from its text.

    Raises:
        InvalidAgent: it cannot be loaded; `findings` holds every reason with its line.
    """
    match source:
        case LoadedAgent():
            return source
        case AgentConfig():
            return LoadedAgent(source)
        case str() if "\n" not in source and not source.lstrip().startswith("{"):
            return load(Path(source))
        case _:
            return load(source)


def agent_request(
    agent: LoadedAgent,
    query: str,
    *,
    inputs: Mapping[str, Any] | None = None,
    files: Sequence[Mapping[str, Any]] = (),
    user: str = "user",
    tenant: str = "",
    conversation_id: str | None = None,
    options: RunOptions | None = None,
) -> RunAgent:
    """Check what an agent is asked, and give the input of its workflow.

    Raises:
        InvalidInputs: an input is missing or wrong, or a file is none.
    """
    given: dict[str, Any] = without_nul(dict(inputs or {}))
    if agent.form:
        checked = check_inputs(agent.form, given, agent.config.name)
        # A text that was left out is empty in the instruction; `{{name}}` would stay there otherwise.
        blank = {field.variable: "" for field in agent.form if field.type in _TEXTS}
        given = blank | {name: value for name, value in checked.items() if value is not None}
    try:
        return RunAgent(
            config=agent.config,
            query=without_nul(query),
            files=tuple(_file(index, dict(file)) for index, file in enumerate(files)),
            inputs=given,
            user=user,
            tenant=tenant,
            flow=agent.config.name,
            conversation_id=conversation_id or "",
            options=options or RunOptions(),
        )
    except ValidationError as error:
        detail = error.errors()[0]
        field = ".".join(str(part) for part in detail["loc"])
        raise InvalidInputs(f"{field}: {detail['msg']}", field=field) from error


def _file(index: int, given: dict[str, Any]) -> dict[str, Any]:
    try:
        return read_file(given)
    except FileProblem as problem:
        raise InvalidInputs(f"file {index} {problem}", field="files") from None


def hash_of(config: AgentConfig) -> str:
    """SHA-256 of an agent's canonical JSON, in hex."""
    text = json.dumps(config.model_dump(mode="json"), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
