"""What a tool gave, in words for a model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import assert_never

from pydantic import JsonValue

from perdure_graph.agents.tools import FileOut, JsonOut, LinkOut, TextOut, ToolErrorKind, ToolPart, VariableOut
from perdure_graph.values import FILE_IDENTITY

EMPTY = "(no output)"

_HEAD_SHARE = 0.75
_FAULTS: dict[ToolErrorKind, str] = {
    "credentials": "Please check the credentials of the tool: {}",
    "bad_arguments": "{}",
    "unknown_tool": "{}",
    "refused": "{}",
    "denied": "{}",
    "not_run": "{}",
    "invoke": "tool invoke error: {}",
    "timeout": "tool invoke error: {}",
    "session_lost": "tool invoke error: {}",
    "internal": "unknown error: {}",
}


def text_for_model(parts: Sequence[ToolPart], max_bytes: int) -> str:
    """Put the parts of a result into one text of so many bytes at most."""
    said = [text for part in parts if (text := _said(part))]
    return cut("\n".join(said), max_bytes) or EMPTY


def fault_for_model(kind: ToolErrorKind, message: str) -> str:
    """Put what went wrong into words that help the model to go on."""
    return _FAULTS[kind].format(message)


def _said(part: ToolPart) -> str:
    match part:
        case TextOut():
            return part.text
        case JsonOut():
            return f"tool response: {json.dumps(part.value, ensure_ascii=False)}." if part.shown else ""
        case LinkOut(image=True):
            return (
                "An image was made and is shown to the user already. Tell the user to look at it; do not make it again."
            )
        case LinkOut():
            return f"result link: {part.url}. Tell the user to open it."
        case FileOut(file=file) if file.get("type") == "image":
            return f"The image {_name(file)} was made and is shown to the user already; do not make it again."
        case FileOut(file=file):
            return f"Generated file {_name(file)}; the user has it."
        case VariableOut():
            return ""
        case _:
            assert_never(part)


def files_of(parts: Sequence[ToolPart]) -> tuple[dict[str, JsonValue], ...]:
    """Give the files of a result; links to images count as such."""
    found: list[dict[str, JsonValue]] = []
    for part in parts:
        if isinstance(part, FileOut):
            found.append(part.file)
        elif isinstance(part, LinkOut) and part.image:
            found.append(_linked(part.url))
    return tuple(found)


def _linked(url: str) -> dict[str, JsonValue]:
    name = url.partition("?")[0].rstrip("/").rpartition("/")[2]
    return {
        "dify_model_identity": FILE_IDENTITY,
        "id": None,
        "type": "image",
        "transfer_method": "remote_url",
        "remote_url": url,
        "related_id": None,
        "filename": name or "image",
        "extension": f".{name.rpartition('.')[2]}" if "." in name else "",
        "mime_type": None,
        "size": -1,
        "url": url,
    }


def _name(file: dict[str, JsonValue]) -> str:
    return repr(str(file.get("filename") or "file"))


def cut(text: str, max_bytes: int) -> str:
    """Shorten a text to so many bytes of UTF-8: its head, a mark that says how much is missing, its tail."""
    data = text.encode("utf-8", "replace")
    if len(data) <= max_bytes:
        return data.decode()
    mark = f"\n... [{len(data) - max_bytes} bytes or more left out] ...\n".encode()
    room = max_bytes - len(mark)
    if room <= 0:
        return data[:max_bytes].decode("utf-8", "ignore")
    head = int(room * _HEAD_SHARE)
    tail = data[len(data) - (room - head) :]
    return f"{data[:head].decode('utf-8', 'ignore')}{mark.decode()}{tail.decode('utf-8', 'ignore')}"
