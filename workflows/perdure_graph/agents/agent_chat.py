"""An agent app as Dify exports it (`app.mode: agent-chat`) -> an agent.

What cannot be taken over becomes a warning that says so; nothing is left out in silence.
"""

from __future__ import annotations

from typing import Any, Literal, cast

from ..dsl_draft import SUPPORTED, VERSION, Mapping, is_newer, kind_of, short, text_at
from .agent_chat_features import read_features
from .agent_chat_form import read_form
from .agent_chat_tools import read_datasets, read_tools
from .agent_file_draft import AgentDraft, LoadedAgent
from .config import Strategy
from .limits import MOST_ROUNDS

BASE = ("model_config",)
_ROUNDS = 10  # what Dify takes where an app does not say
_STRATEGIES: dict[str, Strategy] = {
    "function_call": "function_calling",
    "function_calling": "function_calling",
    "function-calling": "function_calling",
    "react": "react",
    "cot": "react",
}
_EXPORT = "Export the app from Dify as DSL."
_KNOWN = frozenset(
    {
        "agent_mode",
        "annotation_reply",
        "chat_prompt_config",
        "completion_prompt_config",
        "dataset_configs",
        "dataset_query_variable",
        "external_data_tools",
        "file_upload",
        "model",
        "more_like_this",
        "opening_statement",
        "pre_prompt",
        "prompt_type",
        "retriever_resource",
        "sensitive_word_avoidance",
        "speech_to_text",
        "suggested_questions",
        "suggested_questions_after_answer",
        "text_to_speech",
        "user_input_form",
        # what Dify's own tables add, and no run reads
        "app_id",
        "configs",
        "created_at",
        "created_by",
        "id",
        "model_id",
        "provider",
        "updated_at",
        "updated_by",
    }
)


def read_app(draft: AgentDraft, document: Mapping) -> LoadedAgent:
    """Read an app whose mode is `agent-chat`.

    Raises:
        InvalidAgent: it is none that could run; `findings` holds every reason.
    """
    app = cast("Mapping", document["app"])
    draft.name = text_at(app, "name") or draft.name
    _read_version(draft, document.get("version"))
    config = document.get("model_config")
    if not isinstance(config, dict):
        draft.stop("there is no model_config section.", BASE, _EXPORT)
    section = cast("Mapping", config)
    for key in section.keys() - _KNOWN:
        draft.note("warning", f"{key!r} is not known here and is left out.", (*BASE, key))
    mode = mapping_at(draft, section, "agent_mode")
    data: Mapping = {
        "name": text_at(app, "name") or "agent",
        "description": text_at(app, "description"),
        "model": _model(draft, section),
        **_strategy(draft, section, mode),
        "instruction": _instruction(draft, section),
        "tools": [*read_tools(draft, mode), *read_datasets(draft, section, mode)],
        "limits": {"max_iteration": _rounds(draft, mode)},
        "memory": {"enabled": True},
        "vision": read_features(draft, section),
    }
    form = read_form(draft, section.get("user_input_form"))
    return LoadedAgent(draft.config(data), form, text_at(section, "opening_statement"), _suggestions(section))


def mapping_at(draft: AgentDraft, section: Mapping, key: str) -> Mapping:
    """Give the mapping under a key of the section; anything else there is refused."""
    value = section.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        draft.note("refused", f"it is {kind_of(value)}: a mapping is needed.", (*BASE, key))
        return {}
    return cast("Mapping", value)


def _read_version(draft: AgentDraft, version: Any) -> None:
    if version is None:
        return
    if not isinstance(version, str) or not VERSION.fullmatch(version):
        step = f"Write it in quotes, like '{SUPPORTED[0]}.{SUPPORTED[1]}.0'."
        draft.note("refused", f"{short(version)} is no version.", ("version",), step)
    elif is_newer(version):
        message = f"made by a newer Dify: DSL {version}, while Perdure knows {SUPPORTED[0]}.{SUPPORTED[1]}."
        draft.note("warning", message, ("version",), "Compare an answer with Dify.")


def _model(draft: AgentDraft, section: Mapping) -> Mapping:
    model = mapping_at(draft, section, "model")
    found: Mapping = {}
    for key in ("provider", "name"):
        value = model.get(key)
        if not isinstance(value, str) or not value:
            draft.note(
                "refused", f"the {key} of the model is {kind_of(value or None)}.", (*BASE, "model", key), _EXPORT
            )
        found[key] = value if isinstance(value, str) else ""
    mode = model.get("mode") or "chat"
    if mode not in ("chat", "completion"):
        draft.note("warning", f"the mode {short(mode)} is not known; chat is taken.", (*BASE, "model", "mode"))
        mode = "chat"
    params = model.get("completion_params")
    return {**found, "mode": mode, "completion_params": params if isinstance(params, dict) else {}}


def _strategy(draft: AgentDraft, section: Mapping, mode: Mapping) -> Mapping:
    """Read strategy and prompt; where Dify guesses the strategy from the provider, so do we, and say so."""
    path = (*BASE, "agent_mode", "strategy")
    if not mode.get("enabled"):
        message = "the agent mode is off; as an agent app it runs as an agent all the same, as in Dify."
        draft.note("warning", message, (*BASE, "agent_mode", "enabled"))
    named = mode.get("strategy", "cot")
    strategy = _STRATEGIES.get(named) if isinstance(named, str) else None
    if strategy is None:
        provider = text_at(mapping_at(draft, section, "model"), "provider")
        strategy = "function_calling" if provider.rsplit("/", 1)[-1] == "openai" else "react"
        draft.note("warning", f"the strategy {short(named)} is not known; {strategy} is taken.", path)
    prompt = mode.get("prompt")
    template = text_at(cast("Mapping", prompt), "first_prompt") if isinstance(prompt, dict) else ""
    if isinstance(prompt, dict) and text_at(cast("Mapping", prompt), "next_iteration"):
        message = "the text for the rounds after the first is not taken over: a round always shows the ones before it."
        draft.note("warning", message, (*BASE, "agent_mode", "prompt", "next_iteration"))
    if mode.get("clear_history_tool_response"):
        message = "results of tools in earlier turns are sent along where they fit; they are not cleared."
        draft.note("warning", message, (*BASE, "agent_mode", "clear_history_tool_response"))
    return {"strategy": strategy, "prompt_template": template}


def _rounds(draft: AgentDraft, mode: Mapping) -> int:
    given = mode.get("max_iteration")
    path = (*BASE, "agent_mode", "max_iteration")
    if given is None:
        return _ROUNDS
    if isinstance(given, bool) or not isinstance(given, int):
        draft.note("refused", f"it is {kind_of(given)}: a whole number is needed.", path)
        return _ROUNDS
    taken = min(max(given, 1), MOST_ROUNDS)
    if taken != given:
        draft.note("warning", f"{given} rounds are not possible; {taken} are taken.", path)
    return taken


def _instruction(draft: AgentDraft, section: Mapping) -> str:
    """Read the instruction; of an advanced prompt, the texts for the system."""
    if section.get("prompt_type") != "advanced":
        return text_at(section, "pre_prompt")
    key: Literal["chat_prompt_config", "completion_prompt_config"] = "chat_prompt_config"
    prompt: Any = mapping_at(draft, section, key).get("prompt")
    if not prompt:
        key = "completion_prompt_config"
        prompt = mapping_at(draft, section, key).get("prompt")
    parts = [cast("Mapping", part) for part in _listed(prompt) if isinstance(part, dict)]
    texts: list[str] = []
    for index, part in enumerate(parts):
        role = part.get("role", "system")
        if role == "system":
            texts.append(text_at(part, "text"))
        else:
            message = f"the {role} message of the prompt is not taken over: an agent has an instruction and the query."
            draft.note("warning", message, (*BASE, key, "prompt", index), "Put its text into the system message.")
    return "\n\n".join(text for text in texts if text)


def _listed(value: Any) -> list[Any]:
    if isinstance(value, list):
        return cast("list[Any]", value)
    return [value] if value else []


def _suggestions(section: Mapping) -> tuple[str, ...]:
    return tuple(str(question) for question in _listed(section.get("suggested_questions")) if question)
