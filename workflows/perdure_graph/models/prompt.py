"""From what a graph draws to messages: texts filled, files attached, context and memory."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from pydantic import JsonValue

from ..errors import NodeError
from ..nodes.base import Context, Missing, Selector, system
from ..templates import split
from ..values import is_file, to_text
from .drawn import MemoryConfig, ModelConfig, VisionConfig
from .effects import Remember
from .messages import FileKind, FilePart, Message, SystemMessage, UserMessage, assistant, user

CONTEXT = "{{#context#}}"
HISTORIES = "{{#histories#}}"
QUERY = "{{#query#}}"

Role = Literal["system", "user", "assistant"]
Detail = Literal["low", "high"]
File = dict[str, JsonValue]

_SPECIAL = re.compile(r"(\{\{#(?:context|histories|query)#\}\})")
_KINDS: tuple[FileKind, ...] = ("image", "document", "audio", "video")
_SEEN: tuple[FileKind, ...] = ("image", "document")


@dataclass(frozen=True, slots=True)
class Filled:
    """A text with its references filled: the files that it names, and what it read, by `#node.name#`."""

    text: str
    files: tuple[File, ...] = ()
    inputs: Mapping[str, Any] = field(default_factory=dict[str, Any])


def fill(template: str, ctx: Context, inserts: Mapping[str, str] | None = None) -> Filled:
    """Fill a text of a prompt. `inserts` go in at places such as `{{#context#}}`, and are not filled themselves.

    Raises:
        NodeError: a variable does not exist.
    """
    out: list[str] = []
    files: list[File] = []
    inputs: dict[str, Any] = {}
    for index, piece in enumerate(_SPECIAL.split(template)):
        if index % 2:
            out.append((inserts or {}).get(piece, piece))
            continue
        for part in split(piece):
            if isinstance(part, str):
                out.append(part)
                continue
            name = f"#{'.'.join(part)}#"
            value = required(part, name, ctx)
            files += files_in(value)
            out.append(to_text(value))
            inputs[name] = "" if value is None else value
    return Filled("".join(out), tuple(files), inputs)


def required(selector: Selector, name: str, ctx: Context) -> Any:
    """Read a variable that a prompt names.

    Raises:
        NodeError: there is none.
    """
    value = ctx.get(selector)
    if isinstance(value, Missing):
        raise NodeError(
            f"Variable {name} not found: the prompt names it, and nothing before this node has set it. "
            "Choose it again in the editor, or link its node before this one.",
            "VariableNotFoundError",
        )
    return value


def files_in(value: object) -> list[File]:
    """List the files that a value is or holds."""
    items = cast("list[Any]", value) if isinstance(value, list) else [value]
    return [cast("File", item) for item in items if is_file(item)]


def message(role: Role, filled: Filled, detail: Detail = "high") -> list[Message]:
    """Make a message of a filled text; nothing of an empty one. Files of other roles follow as the user's."""
    parts = attachments(filled.files, detail, _KINDS)
    if role == "user":
        return [user(filled.text, *parts)] if filled.text or parts else []
    made: list[Message] = []
    if filled.text:
        made.append(SystemMessage(text=filled.text) if role == "system" else assistant(filled.text))
    return [*made, user("", *parts)] if parts else made


def attachments(files: Sequence[File], detail: Detail, kinds: Sequence[FileKind]) -> list[FilePart]:
    """Make parts of those files that are of some kinds."""
    return [
        FilePart(kind=cast("FileKind", file["type"]), file=file, detail=detail)
        for file in files
        if file.get("type") in kinds
    ]


def with_vision(
    messages: Sequence[Message], vision: VisionConfig | None, ctx: Context
) -> tuple[list[Message], list[File]]:
    """Add the files that the model is to see to the last message if it is the user's, else in one of their own.

    Raises:
        NodeError: the variable holds something else.
    """
    files = _visible(vision, ctx)
    parts = attachments(files, vision.detail, _SEEN) if vision is not None else []
    last = messages[-1] if messages else None
    if not parts:
        return list(messages), files
    if isinstance(last, UserMessage):
        return [*messages[:-1], UserMessage(content=(*parts, *last.content))], files
    return [*messages, user("", *parts)], files


def _visible(vision: VisionConfig | None, ctx: Context) -> list[File]:
    if vision is None or not vision.enabled:
        return []
    value = ctx.get(vision.configs.variable_selector)
    found = files_in(value)
    if not found and value:
        name = ".".join(vision.configs.variable_selector)
        message = f"Invalid variable type: vision reads {name}, which holds no files. Choose a variable with files."
        raise NodeError(message, "InvalidVariableTypeError")
    return found


def context_text(value: object) -> tuple[str, list[dict[str, Any]]]:
    """Read the context of a prompt: its text, and the passages to cite.

    Raises:
        NodeError: an item of a list is neither text nor a passage.
    """
    if isinstance(value, str):
        return value, []
    if not isinstance(value, list):
        return "", []
    lines: list[str] = []
    cited: list[dict[str, Any]] = []
    for item in cast("list[Any]", value):
        if isinstance(item, str):
            lines.append(item)
            continue
        if not isinstance(item, dict) or "content" not in item:
            shown = json.dumps(item, ensure_ascii=False)[:200]
            raise NodeError(
                f"Invalid context structure: {shown}. Items must be texts or objects with `content`.",
                "InvalidContextStructureError",
            )
        passage = cast("dict[str, Any]", item)
        if passage.get("summary"):
            lines.append(to_text(passage["summary"]))
        lines.append(to_text(passage["content"]))
        cited += _citation(passage)
    return "\n".join(lines).strip(), cited


_CITED = ("position", "dataset_id", "dataset_name", "document_id", "document_name", "data_source_type", "segment_id")
_CITED_TOO = ("retriever_from", "score", "page", "doc_metadata")
_CITED_AS = {
    "segment_hit_count": "hit_count",
    "segment_word_count": "word_count",
    "segment_position": "segment_position",
    "segment_index_node_hash": "index_node_hash",
}


def _citation(passage: Mapping[str, Any]) -> list[dict[str, Any]]:
    about = passage.get("metadata")
    if not isinstance(about, dict) or cast("dict[str, Any]", about).get("_source") != "knowledge":
        return []
    metadata = cast("dict[str, Any]", about)
    cited = {name: metadata.get(name) for name in (*_CITED, *_CITED_TOO)}
    cited |= {name: metadata.get(key) for key, name in _CITED_AS.items()}
    return [cited | {name: passage.get(name) for name in ("content", "files", "summary")}]


def conversation(memory: MemoryConfig | None, ctx: Context) -> str:
    """Name the conversation whose past turns go along; empty without memory, or where the run is the first of it."""
    told = system(ctx, "conversation_id")
    return told if memory is not None and isinstance(told, str) and told != system(ctx, "workflow_run_id") else ""


def remember(memory: MemoryConfig | None, model: ModelConfig, ctx: Context) -> Remember | None:
    """Say which past turns go along; None without memory, or where the run is the first of its conversation."""
    if memory is None or not (told := conversation(memory, ctx)):
        return None
    prefixes = memory.role_prefix
    as_text = model.kind == "completion"
    return Remember(
        conversation_id=told,
        before=to_text(system(ctx, "workflow_run_id")),
        most_messages=window(memory),
        user_prefix=(prefixes.user or "Human") if as_text else "",
        assistant_prefix=(prefixes.assistant or "Assistant") if as_text else "",
    )


def window(memory: MemoryConfig) -> int | None:
    """Give the number of past messages of a window: a turn is two, as the window counts turns."""
    size = memory.window.size
    return 2 * size if memory.window.enabled and size is not None and size > 0 else None


def query_of(memory: MemoryConfig | None, ctx: Context) -> Filled:
    """Fill the query that ends a prompt with memory: as drawn, else what the user asked."""
    if memory is None:
        return Filled("")
    if memory.query_prompt_template:
        return fill(memory.query_prompt_template, ctx, {CONTEXT: ""})
    asked = ctx.get(("sys", "query"))
    return Filled("" if isinstance(asked, Missing) else to_text(asked))
