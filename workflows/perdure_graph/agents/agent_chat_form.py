"""The form of an agent app -> the inputs of an agent."""

from __future__ import annotations

from typing import Any, cast

from ..dsl_draft import Mapping, Part, kind_of, short
from ..nodes.start import StartVariable
from .agent_file_draft import AgentDraft

_PATH: tuple[Part, ...] = ("model_config", "user_input_form")
_KINDS = frozenset({"text-input", "paragraph", "select", "number", "checkbox", "file", "file-list", "json_object"})


def read_form(draft: AgentDraft, given: Any) -> tuple[StartVariable, ...]:
    """Read the fields, each `{kind: {variable, label, required, ...}}`."""
    if given is None:
        return ()
    if not isinstance(given, list):
        draft.note("refused", f"the form is {kind_of(given)}: a list is needed.", _PATH)
        return ()
    fields = [_field(draft, raw, (*_PATH, index)) for index, raw in enumerate(cast("list[Any]", given))]
    return tuple(field for field in fields if field is not None)


def _field(draft: AgentDraft, raw: Any, path: tuple[Part, ...]) -> StartVariable | None:
    field = cast("Mapping", raw) if isinstance(raw, dict) else {}
    if len(field) != 1:
        draft.note("refused", f"a field is {short(cast('object', raw))}: one kind with its settings is needed.", path)
        return None
    kind, settings = next(iter(field.items()))
    if kind == "external_data_tool":
        message = "a field that asks an external service is not taken over; its variable stays as it is in the prompt."
        draft.note("warning", message, (*path, kind))
        return None
    if kind not in _KINDS:
        draft.note("refused", f"{short(kind)} is no kind of field.", path, f"There are: {', '.join(sorted(_KINDS))}.")
        return None
    if not isinstance(settings, dict):
        draft.note("refused", f"the field is {kind_of(settings)}: a mapping is needed.", (*path, kind))
        return None
    return draft.checked(StartVariable, {**cast("Mapping", settings), "type": kind}, (*path, kind))
