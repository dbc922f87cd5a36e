"""The tools and the knowledge bases of an agent app -> tools of an agent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from ..dsl_draft import Mapping, Part, kind_of, short, text_at
from .agent_file_draft import AgentDraft

_MODE: tuple[Part, ...] = ("model_config", "agent_mode", "tools")
_DATASETS: tuple[Part, ...] = ("model_config", "dataset_configs")
_TYPES = frozenset({"builtin", "api", "mcp", "workflow", "plugin", "dataset-retrieval"})
_TOP_K = 4  # what Dify takes where an app does not say
_ELSEWHERE = {
    "api": "an API of that name",
    "mcp": "an MCP server of that name",
    "workflow": "a workflow of that name",
}
_KNOWN = frozenset(
    {
        "provider_type",
        "provider_id",
        "provider_name",
        "tool_name",
        "tool_label",
        "tool_description",
        "tool_parameters",
        "enabled",
        "credential_id",
        "isDeleted",
        "notAuthor",
        "plugin_unique_identifier",
        "type",
    }
)


def read_tools(draft: AgentDraft, mode: Mapping) -> list[Mapping]:
    """Read the tools; those of a kind that does not exist here are left out with a warning."""
    given = mode.get("tools")
    if given is None:
        return []
    if not isinstance(given, list):
        draft.note("refused", f"tools are {kind_of(given)}: a list is needed.", _MODE)
        return []
    tools: list[Mapping] = []
    for index, raw in enumerate(cast("list[Any]", given)):
        path = (*_MODE, index)
        if not isinstance(raw, dict):
            draft.note("refused", f"a tool is {kind_of(raw)}: a mapping is needed.", path)
        elif "dataset" not in raw and (tool := _tool(draft, cast("Mapping", raw), path)) is not None:
            tools.append(tool)
    return tools


def _tool(draft: AgentDraft, raw: Mapping, path: tuple[Part, ...]) -> Mapping | None:
    if len(raw) == 1 and "tool_name" not in raw:
        draft.note("warning", f"{next(iter(raw))!r} is a tool of an old Dify and is left out, as in Dify.", path)
        return None
    kind, name = raw.get("provider_type"), text_at(raw, "tool_name")
    if not name:
        draft.note("refused", "the tool has no tool_name.", (*path, "tool_name"), "Export the app from Dify again.")
        return None
    if kind not in _TYPES:
        message = f"tool {name!r} is of type {short(kind)}, which does not exist here; it is left out."
        draft.note("warning", message, (*path, "provider_type"))
        return None
    enabled = bool(raw.get("enabled", False))
    provider = text_at(raw, "provider_id") or text_at(raw, "provider_name")
    if enabled:
        _remark(draft, raw, name, provider, path)
    return {
        "provider_type": kind,
        "provider_id": provider,
        "tool_name": name,
        "description": text_at(raw, "tool_description"),
        "parameters": dict(_parameters(draft, raw, path)),
        "enabled": enabled,
    }


def _remark(draft: AgentDraft, raw: Mapping, name: str, provider: str, path: tuple[Part, ...]) -> None:
    """Say what of a tool an export does not carry."""
    kind = str(raw["provider_type"])
    if raw.get("credential_id"):
        message = f"the credential of tool {name!r} is not part of the export."
        draft.note("warning", message, (*path, "credential_id"), "Name one in the worker's tools file.")
    if kind in _ELSEWHERE:
        message = f"tool {name!r} of {provider!r} is not part of the export."
        draft.note("warning", message, (*path, "provider_id"), f"Give the worker's tools file {_ELSEWHERE[kind]}.")
    if raw.get("isDeleted"):
        draft.note("warning", f"tool {name!r} was deleted in Dify.", (*path, "isDeleted"))
    for key in sorted(raw.keys() - _KNOWN):
        draft.note("warning", f"{key!r} of tool {name!r} is not known here and is left out.", (*path, key))


def _parameters(draft: AgentDraft, raw: Mapping, path: tuple[Part, ...]) -> Iterator[tuple[str, Any]]:
    """Give the values that are set; empty ones are what the model gives."""
    given = raw.get("tool_parameters")
    if given is not None and not isinstance(given, dict):
        message = f"its values are {kind_of(given)}: a mapping is needed."
        draft.note("refused", message, (*path, "tool_parameters"))
        return
    for name, value in cast("Mapping", given or {}).items():
        taken = value
        if isinstance(value, dict) and {"auto", "value"} >= value.keys() and value:
            # Newer editors say whether the model gives it.
            taken = None if cast("Mapping", value).get("auto") else cast("Mapping", value).get("value")
        elif isinstance(value, dict) and value.keys() == {"type", "value"}:
            taken = cast("Mapping", value)["value"]
        if taken not in (None, ""):
            yield name, taken


def read_datasets(draft: AgentDraft, section: Mapping, mode: Mapping) -> list[Mapping]:
    """Read the knowledge bases, in the new place and in the old one, each once."""
    configs: Any = section.get("dataset_configs") or {}
    if not isinstance(configs, dict):
        draft.note("refused", f"it is {kind_of(configs)}: a mapping is needed.", _DATASETS)
        return []
    chosen = cast("Mapping", configs)
    found: dict[str, bool] = {}
    for raw in [*_in_configs(chosen), *_in_tools(mode)]:
        dataset = text_at(raw, "id")
        if dataset:
            found[dataset] = found.get(dataset, False) or bool(raw.get("enabled"))
    if not found:
        return []
    parameters = _retrieval(draft, chosen, section)
    return [
        {
            "provider_type": "dataset-retrieval",
            "provider_id": dataset,
            "tool_name": f"dataset_{dataset.replace('-', '_')}",
            "parameters": parameters,
            "enabled": enabled,
        }
        for dataset, enabled in found.items()
    ]


def _in_configs(configs: Mapping) -> Iterator[Mapping]:
    holder: Any = configs.get("datasets")
    listed: Any = cast("Mapping", holder).get("datasets") if isinstance(holder, dict) else holder
    yield from _wrapped(listed)


def _in_tools(mode: Mapping) -> Iterator[Mapping]:
    yield from _wrapped(mode.get("tools"))


def _wrapped(listed: Any) -> Iterator[Mapping]:
    for raw in cast("list[Any]", listed) if isinstance(listed, list) else []:
        inner: Any = cast("Mapping", raw).get("dataset") if isinstance(raw, dict) else None
        if isinstance(inner, dict):
            yield cast("Mapping", inner)


def _retrieval(draft: AgentDraft, configs: Mapping, section: Mapping) -> Mapping:
    """Read how many texts are found, and how good they must be."""
    top_k = configs.get("top_k")
    parameters: Mapping = {"top_k": _TOP_K if top_k is None else top_k}
    threshold = configs.get("score_threshold")
    # Exports older than the switch only have the number.
    if threshold is not None and configs.get("score_threshold_enabled", True):
        parameters["score_threshold"] = threshold
    if model := configs.get("retrieval_model"):
        parameters["retrieval_model"] = model
    reranks = configs.get("reranking_enable", configs.get("reranking_enabled"))
    reranker: Any = configs.get("reranking_model")
    if reranks and (configs.get("weights") or (isinstance(reranker, dict) and any(cast("Mapping", reranker).values()))):
        draft.note("warning", "reranking is not taken over.", (*_DATASETS, "reranking_model"))
    if configs.get("metadata_filtering_mode") not in (None, "", "disabled"):
        message = "filtering by metadata is not taken over."
        draft.note("warning", message, (*_DATASETS, "metadata_filtering_mode"))
    if section.get("dataset_query_variable"):
        message = "an agent asks its knowledge in words of its own; the variable is not used, as in Dify's agents."
        draft.note("warning", message, ("model_config", "dataset_query_variable"))
    return parameters
