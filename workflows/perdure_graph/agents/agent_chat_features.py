"""What else an agent app has: files, moderation, speech. Only the files matter to a run."""

from __future__ import annotations

from typing import Any, Literal, cast

from ..dsl_draft import Mapping, short
from .agent_file_draft import AgentDraft

Vision = Literal["off", "low", "high"]

_SWITCHES = {
    "sensitive_word_avoidance": "moderation is not applied.",
    "annotation_reply": "annotated replies are not given: every question goes to the model.",
    "text_to_speech": "answers are not read out.",
    "speech_to_text": "speech is not understood.",
    "suggested_questions_after_answer": "no questions are suggested behind an answer.",
    "more_like_this": "further answers are not made.",
}


def read_features(draft: AgentDraft, section: Mapping) -> Vision:
    """Give how images are shown to the model, and warn of everything else that is switched on."""
    for key, message in _SWITCHES.items():
        if _mapping(section.get(key)).get("enabled"):
            draft.note("warning", message, ("model_config", key))
    external: Any = section.get("external_data_tools")
    if isinstance(external, list) and any(_mapping(tool).get("enabled") for tool in cast("list[Any]", external)):
        message = "external services are not asked; their variables stay as they are in the prompt."
        draft.note("warning", message, ("model_config", "external_data_tools"))
    return _vision(draft, _mapping(section.get("file_upload")))


def _vision(draft: AgentDraft, upload: Mapping) -> Vision:
    path = ("model_config", "file_upload")
    image = _mapping(upload.get("image"))
    types: Any = upload.get("allowed_file_types")
    allowed = [str(kind) for kind in cast("list[Any]", types)] if isinstance(types, list) else []
    if upload.get("enabled") and (others := [kind for kind in allowed if kind != "image"]):
        message = f"files of type {', '.join(others)} reach the model only where it can read them."
        draft.note("warning", message, (*path, "allowed_file_types"))
    if not (image.get("enabled") or (upload.get("enabled") and "image" in allowed)):
        return "off"
    detail = image.get("detail") or "low"
    if detail not in ("low", "high"):
        draft.note("warning", f"the detail {short(detail)} is not known; low is taken.", (*path, "image", "detail"))
        return "low"
    return cast("Vision", detail)


def _mapping(value: Any) -> Mapping:
    return cast("Mapping", value) if isinstance(value, dict) else {}
