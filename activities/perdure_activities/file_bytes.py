"""Read the bytes of a file object: from the file store, or through the HTTP door where it is a remote one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from perdure_graph.errors import PerdureError

from .files import FileNotStored, FileStore
from .http_reply import media_type_of
from .net import NetError, NetSettings, Resolver, fetch, resolve

__all__ = ["FileBytes", "FileNotStored", "FileRefused", "FileTooLarge", "NetError", "is_remote", "name_of", "read_file"]


class FileRefused(PerdureError):
    """The host of a remote file does not give it."""

    code = "file_refused"

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(f"its host says {status}")


class FileTooLarge(PerdureError):
    """A stored file is larger than the caller allows."""

    code = "file_too_large"

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(f"it is larger than {limit} bytes")


@dataclass(frozen=True, slots=True)
class FileBytes:
    """The bytes of a file, and the media type its host says it has, where there is one."""

    content: bytes
    media_type: str = ""


def name_of(file: Mapping[str, JsonValue]) -> str:
    """Give the name by which people know a file object."""
    return str(file.get("filename") or file.get("related_id") or "?")


def is_remote(file: Mapping[str, JsonValue]) -> bool:
    """Whether a file object names a URL, not a stored file."""
    return file.get("transfer_method") == "remote_url"


async def read_file(
    file: Mapping[str, JsonValue],
    *,
    store: FileStore,
    max_bytes: int | None = None,
    total_s: float | None = None,
    settings: NetSettings | None = None,
    resolver: Resolver = resolve,
) -> FileBytes:
    """Read a file object, within limits of time and size.

    max_bytes: of any file; a remote one is limited by the settings of the door as well.

    Raises:
        FileNotStored: the store has no such file.
        FileTooLarge: a stored file is larger than `max_bytes`.
        FileRefused: the host of a remote file answers with an error.
        NetError: a remote file cannot be fetched, or is too large.
    """
    if not is_remote(file):
        id_ = str(file.get("related_id") or file.get("reference") or "")
        return FileBytes(await asyncio.to_thread(_read_stored, store, id_, max_bytes))
    settings = settings or NetSettings()
    most = settings.max_upload_bytes if max_bytes is None else min(max_bytes, settings.max_upload_bytes)
    url = str(file.get("remote_url") or file.get("url") or "")
    fetched = await fetch("GET", url, max_bytes=most, total_s=total_s, settings=settings, resolver=resolver)
    if not 200 <= fetched.status_code < 300:
        raise FileRefused(fetched.status_code)
    return FileBytes(fetched.content, media_type_of(fetched.headers))


def _read_stored(store: FileStore, related_id: str, max_bytes: int | None) -> bytes:
    with store.open(related_id) as file:
        if max_bytes is not None and os.fstat(file.fileno()).st_size > max_bytes:
            raise FileTooLarge(max_bytes)
        return file.read()
