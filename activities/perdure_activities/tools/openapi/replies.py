"""Turn an answer into parts of a result, or into the fault that it tells of."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

import httpx2

from perdure_graph.agents.tools import FileOut, JsonOut, TextOut, ToolPart

from ...files import FileStore
from ...http_reply import filename_of, is_text, media_type_of, reading_of
from ...net import Fetched
from ..protocol import ToolFault
from .keywords import cut

MAX_TEXT_BYTES = 4 * 1024 * 1024
MAX_FILE_BYTES = 100 * 1024 * 1024

_MAX_SAID = 2000
_SHORTEST_SECRET = 6
_LATER = frozenset({408, 425, 429})
HIDDEN = "[hidden]"


def limit_of(headers: httpx2.Headers) -> int:
    """Give how large an answer may be."""
    return MAX_FILE_BYTES if reading_of(headers) == "file" else MAX_TEXT_BYTES


async def parts_of(answer: Fetched, method: str, files: FileStore, secrets: Iterable[str]) -> list[ToolPart]:
    """Sort a good answer: JSON, text, or a file that is stored."""
    if method == "HEAD":
        shown = {name: value for name, value in answer.headers.items() if name.lower() != "set-cookie"}
        return [JsonOut(value=hidden({"status": answer.status_code, "headers": shown}, secrets))]
    if not answer.content:
        return [TextOut(text=f"Done ({_status(answer.status_code)}, no content).")]
    if not is_text(answer.headers, answer.content):
        name, media_type = filename_of(answer.headers, answer.url)
        return [FileOut(file=await asyncio.to_thread(files.put, answer.content, name, media_type))]
    if "json" in (media := media_type_of(answer.headers)) or media == "":
        try:
            value: Any = json.loads(answer.text, parse_constant=_no_constant)
            return [JsonOut(value=hidden(value, secrets))]
        except (ValueError, RecursionError):
            pass
    return [TextOut(text=without(answer.text, secrets))]


def fault_of(answer: Fetched, where: str, secrets: Iterable[str]) -> ToolFault:
    """Tell of an answer that is none: its status and what the server said, cut."""
    status = answer.status_code
    said = ""
    if answer.content and is_text(answer.headers, answer.content):
        said = cut(" ".join(without(answer.text[: _MAX_SAID * 4], secrets).split()), _MAX_SAID)
    hint = ""
    if status in (401, 403):
        hint = " Whether the credential of the tools file is right, its operator knows."
    elif wait := answer.headers.get("retry-after", "")[:40]:
        hint = f" It asks to wait: {wait}."
    told = f": {said}" if said else "."
    retryable = status in _LATER or status >= 500
    return ToolFault("invoke", f"{where} answers {_status(status)}{told}{hint}", retryable=retryable)


def without(text: str, secrets: Iterable[str]) -> str:
    """Take secrets out of a text, as they are or quoted."""
    for secret in secrets:
        if len(secret) >= _SHORTEST_SECRET:
            for form in {secret, quote(secret, safe=""), json.dumps(secret)[1:-1]}:
                text = text.replace(form, HIDDEN)
    return text


def hidden(value: Any, secrets: Iterable[str]) -> Any:
    """Take secrets out of a JSON value, and what no JSON can be written of."""
    several = tuple(secrets)
    match value:
        case str():
            return without(value, several).encode("utf-8", "replace").decode()
        case list():
            return [hidden(one, several) for one in cast("list[Any]", value)]
        case dict():
            return {hidden(key, several): hidden(one, several) for key, one in cast("dict[str, Any]", value).items()}
        case _:
            return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _status(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
