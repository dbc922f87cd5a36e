"""Write the body of a request: JSON, forms, multipart with files, text, a file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, assert_never, cast

import httpx2
from pydantic import JsonValue

from perdure_graph.values import is_file

from ...file_bytes import FileNotStored, FileRefused, FileTooLarge, name_of, read_file
from ...files import FileStore
from ...net import NetError, NetSettings, Resolver
from ..protocol import ToolFault
from .parts import Style
from .shape import BodyLayout
from .styles import form, styled, text_of

MAX_FILE_BYTES = 50 * 1024 * 1024
_ID = re.compile(r"(?:file-store:)?([0-9a-f]{64})")

_Part = tuple[str, tuple[str | None, bytes] | tuple[str | None, bytes, str]]


class BodyWriter:
    """Writes bodies; files come from the store, or through the HTTP door."""

    def __init__(self, files: FileStore, settings: NetSettings, resolver: Resolver, total_s: float) -> None:
        self._files = files
        self._settings = settings
        self._resolver = resolver
        self._total_s = total_s

    async def write(self, layout: BodyLayout, value: JsonValue) -> tuple[bytes, str]:
        """Give the bytes of a body and its media type.

        Raises:
            ToolFault: `bad_arguments`, the value cannot be such a body; or a file cannot be had.
        """
        name = layout.media.name
        match layout.kind:
            case "json":
                text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
                return text.encode("utf-8", "replace"), "application/json" if "*" in name else name
            case "form":
                return self._form(layout, _object(value)).encode(), name
            case "multipart":
                return await self._multipart(layout, _object(value))
            case "text":
                plain = "text/plain" if "*" in name else name
                known = plain if "charset" in plain else f"{plain}; charset=utf-8"
                return text_of(value).encode("utf-8", "replace"), known
            case "file":
                content, _, media_type = await self._file(layout.argument, value)
                return content, media_type if "*" in name else name
            case _:
                assert_never(layout.kind)

    def _form(self, layout: BodyLayout, fields: Mapping[str, JsonValue]) -> str:
        pairs: list[tuple[str, str]] = []
        for name, value in fields.items():
            encoding = layout.media.encodings.get(name, {})
            if encoding.keys() & {"style", "explode", "allowReserved"}:
                style = cast("Style", encoding.get("style", "form"))
                pairs += styled(
                    name, value, style, bool(encoding.get("explode", style in ("form", "deepObject"))), form
                )
            elif value is not None:
                several: list[Any] = value if isinstance(value, list) and not _is_json(encoding) else [value]
                pairs += [(name, form(text_of(one))) for one in several]
        return "&".join(f"{form(name)}={text}" for name, text in pairs)

    async def _multipart(self, layout: BodyLayout, fields: Mapping[str, JsonValue]) -> tuple[bytes, str]:
        parts: list[_Part] = []
        for name, value in fields.items():
            if value is None:
                continue
            encoding = layout.media.encodings.get(name, {})
            several: list[Any] = value if isinstance(value, list) and not _is_json(encoding) else [value]
            for one in several:
                parts.append((name, await self._part(layout, name, one, str(encoding.get("contentType") or ""))))
        if not parts:
            return b"", ""
        request = httpx2.Request("POST", "http://form", files=cast("Any", parts))
        content_type = request.headers["content-type"]
        if not layout.media.name.endswith("form-data"):
            content_type = layout.media.name + content_type.removeprefix("multipart/form-data")
        return await request.aread(), content_type

    async def _part(
        self, layout: BodyLayout, name: str, value: Any, declared: str
    ) -> tuple[str | None, bytes] | tuple[str | None, bytes, str]:
        one_type = declared if declared and not any(char in declared for char in ",*") else ""
        if is_file(value) or name in layout.files:
            content, filename, media_type = await self._file(name, value)
            return filename, content, one_type or media_type
        text = text_of(value).encode("utf-8", "replace")
        if isinstance(value, dict | list):
            return None, text, one_type or "application/json"
        return (None, text, one_type) if one_type else (None, text)

    async def _file(self, name: str, value: JsonValue) -> tuple[bytes, str, str]:
        file = _file_object(name, value)
        try:
            read = await read_file(
                file,
                store=self._files,
                max_bytes=MAX_FILE_BYTES,
                total_s=self._total_s,
                settings=self._settings,
                resolver=self._resolver,
            )
        except (FileNotStored, FileRefused, FileTooLarge) as error:
            raise ToolFault("bad_arguments", f"the file of `{name}` cannot be read: {error}") from error
        except NetError as error:
            raise ToolFault(
                "invoke", f"the file of `{name}` cannot be fetched: {error}", retryable=error.retryable
            ) from error
        media_type = str(file.get("mime_type") or "") or read.media_type or "application/octet-stream"
        return read.content, name_of(file).replace("?", "file"), media_type


def _file_object(name: str, value: JsonValue) -> dict[str, JsonValue]:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict) and (is_file(value) or value.get("related_id") or value.get("remote_url")):
        return value
    if isinstance(value, str):
        if found := _ID.fullmatch(value.strip()):
            return {"related_id": found[1], "filename": "file"}
        if value.startswith(("http://", "https://")):
            filename = value.partition("?")[0].rpartition("/")[2]
            return {"transfer_method": "remote_url", "remote_url": value, "filename": filename or "file"}
    raise ToolFault(
        "bad_arguments", f"`{name}` must be a file: a file object, the id of a stored file, or the URL of a file."
    )


def _is_json(encoding: Mapping[str, Any]) -> bool:
    return "json" in str(encoding.get("contentType") or "")


def _object(value: JsonValue) -> dict[str, JsonValue]:
    if not isinstance(value, dict):
        raise ToolFault("bad_arguments", "the body of this tool is a form: give an object of its fields.")
    return value
