"""A file -> an agent: our own YAML, which is `AgentConfig` as it stands, or an agent app that Dify exported.

    path -> yaml_reader.read -> the files that its tools name, put in -> AgentConfig + findings

Every problem is collected before the file is refused, with field and line. Nothing is executed, and only files in the
folder of the agent, or below it, are read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from ..dsl_draft import Mapping, kind_of, short
from ..yaml_reader import read
from .agent_chat import read_app
from .agent_file_draft import AgentDraft, LoadedAgent
from .agent_file_parts import NOWHERE, Place, put_in, text_of
from .config import AgentConfig

_GRAPHS = ("workflow", "advanced-chat")
_UNBUILT = "knowledge bases cannot be searched yet, so the agent runs without this tool."


def load(source: str | bytes | Path) -> LoadedAgent:
    """Load an agent from a file given as a `Path`, or from a text; a text can name no further files.

    Raises:
        InvalidAgent: it cannot be loaded; `findings` holds every reason with its line.
    """
    if isinstance(source, Path):
        place = Place.of(source)
        return _load(text_of(source), place, source.name)
    return _load(source, NOWHERE, "")


def _load(text: str | bytes, place: Place, name: str) -> LoadedAgent:
    draft = AgentDraft(read(text))
    draft.name = name
    data: Any = draft.reading.data
    if not isinstance(data, dict):
        step = "To load a file, pass a `Path`." if isinstance(data, str) else "Write an agent; see docs/agents.md."
        draft.stop(f"the document is {kind_of(data)}: a mapping is needed.", (), step)
    document = cast("Mapping", data)
    if "app" in document or "kind" in document or "model_config" in document:
        _check_app(draft, document)
        loaded = read_app(draft, document)
    else:
        loaded = LoadedAgent(_own(draft, document, place))
    for index, tool in enumerate(loaded.config.tools):
        if tool.provider_type == "dataset-retrieval" and tool.enabled:
            draft.note("warning", f"{tool.tool_name!r}: {_UNBUILT}", _place_of(document, index), "Disable it.")
    return LoadedAgent(loaded.config, loaded.form, loaded.opening, loaded.suggestions, draft.located())


def _place_of(document: Mapping, index: int) -> tuple[str | int, ...]:
    return ("tools", index) if "tools" in document else ("model_config", "dataset_configs", "datasets")


def _own(draft: AgentDraft, document: Mapping, place: Place) -> AgentConfig:
    return draft.config(put_in(draft, document, place, _load))


def _check_app(draft: AgentDraft, document: Mapping) -> None:
    kind, app = document.get("kind"), document.get("app")
    if kind not in (None, "app"):
        draft.stop(f"unsupported kind {short(kind)}.", ("kind",), "An agent is of kind 'app'.")
    if not isinstance(app, dict):
        draft.stop("there is no app section.", ("app",), "Export the app from Dify as DSL.")
    mode = cast("Mapping", app).get("mode")
    if mode == "agent-chat":
        return
    if mode in _GRAPHS:
        draft.stop(f"a {mode} app is a graph, no agent.", ("app", "mode"), "Run it with `perdure run`.")
    what = "the app has no mode." if mode is None else f"{short(mode)} apps are no agents."
    draft.stop(what, ("app", "mode"), "Convert the app to an agent or a workflow in Dify and export that.")
