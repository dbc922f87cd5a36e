"""File objects: from what a caller gives (`{type, transfer_method, url | upload_file_id}`) to what nodes see."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from .values import FILE_IDENTITY, is_file

TYPES = ("image", "document", "audio", "video", "custom")
METHODS = ("remote_url", "local_file", "tool_file", "datasource_file")
_IDS = ("upload_file_id", "related_id", "reference", "tool_file_id", "datasource_file_id")


class FileProblem(Exception):
    """What is given is no file, or not one that is allowed."""


def read_file(
    given: dict[str, Any],
    *,
    types: Sequence[str] = (),
    extensions: Sequence[str] = (),
    methods: Sequence[str] = (),
) -> dict[str, Any]:
    """Make a file object, or take one as it is. Empty `types`, `extensions`, `methods` allow all.

    `extensions` counts for files of type `custom` only, as in Dify.

    Raises:
        FileProblem: a key is missing or unknown, or the file is not allowed.
    """
    file = given if is_file(given) else _build(given)
    kind, method = file.get("type"), file.get("transfer_method")
    if types and kind not in types:
        raise FileProblem(f"takes files of type {', '.join(types)}, got {kind!r}")
    if methods and method not in methods:
        raise FileProblem(f"takes files by {', '.join(methods)}, got {method!r}")
    extension = str(file.get("extension") or "").lower()
    if kind == "custom" and extensions and extension not in {_dotted(e) for e in extensions}:
        raise FileProblem(f"takes files that end in {', '.join(extensions)}, got {extension or 'no extension'!r}")
    return file


def _build(given: dict[str, Any]) -> dict[str, Any]:
    kind, method = given.get("type"), given.get("transfer_method")
    if kind not in TYPES:
        raise FileProblem(f"must be a file with type one of {', '.join(TYPES)}, got {kind!r}")
    if method not in METHODS:
        raise FileProblem(f"must be a file with transfer_method one of {', '.join(METHODS)}, got {method!r}")
    url = given.get("url") or given.get("remote_url")
    reference = next((given[key] for key in _IDS if given.get(key)), None)
    if method == "remote_url":
        if not isinstance(url, str) or urlsplit(url).scheme not in ("http", "https"):
            raise FileProblem(f"must be a file with an http(s) url, got {url!r}")
    elif reference is None:
        raise FileProblem(f"must be a file with upload_file_id, as its transfer_method is {method!r}")
    name = given.get("filename") or given.get("name") or _name_of(url)
    return {
        "dify_model_identity": FILE_IDENTITY,
        "id": given.get("id"),
        "type": kind,
        "transfer_method": method,
        "remote_url": url if method == "remote_url" else given.get("remote_url"),
        "reference": reference,
        "related_id": reference,
        "filename": name,
        "extension": _dotted(given.get("extension") or PurePosixPath(name or "").suffix),
        "mime_type": given.get("mime_type"),
        "size": given.get("size", -1),
        "url": url,
    }


def _name_of(url: object) -> str | None:
    return PurePosixPath(unquote(urlsplit(url).path)).name or None if isinstance(url, str) else None


def _dotted(extension: str) -> str:
    text = extension.lower()
    return text if not text or text.startswith(".") else f".{text}"
