"""The local file store: bytes by the hash of their content, described to a graph as Dify file objects.

A graph carries the description (name, media type, size, `related_id`), never the bytes. The same content is
stored once and never changes, so a retried activity writes what is there already.
"""

from __future__ import annotations

import hashlib
import mimetypes
import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal

from pydantic import JsonValue
from pydantic_settings import BaseSettings, SettingsConfigDict

from perdure_graph.errors import PerdureError
from perdure_graph.values import FILE_IDENTITY

FileKind = Literal["image", "document", "audio", "video", "custom"]

_ID = re.compile(r"[0-9a-f]{64}")
_DOCUMENT_TYPES = frozenset(
    {
        "application/epub+zip",
        "application/json",
        "application/msword",
        "application/pdf",
        "application/rtf",
        "application/vnd.ms-excel",
        "application/vnd.ms-outlook",
        "application/vnd.ms-powerpoint",
        "application/xml",
        "message/rfc822",
    }
)
_DOCUMENT_FAMILIES = ("application/vnd.openxmlformats-officedocument.", "application/vnd.oasis.opendocument.")


class FileSettings(BaseSettings):
    """Where files live (`PERDURE_FILES_DIR`). Workers that serve one queue must share the folder."""

    model_config = SettingsConfigDict(env_prefix="PERDURE_", frozen=True, extra="ignore")

    files_dir: Path = Path(".perdure/files")


class FileNotStored(PerdureError):
    """The store has no file with this id, or the id is none."""

    code = "file_not_stored"


class FileStore:
    """Content-addressed files under one folder. Blocking: call it in a thread from async code."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, content: bytes | Iterable[bytes], filename: str = "", mime_type: str = "") -> dict[str, JsonValue]:
        """Store bytes, or a stream of them, and describe them as a file object.

        A file appears under its id complete or not at all, and survives a crash right after.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        digest, size = hashlib.sha256(), 0
        handle, name = tempfile.mkstemp(prefix=".new-", dir=self.root)
        draft = Path(name)
        try:
            with os.fdopen(handle, "wb") as out:
                for chunk in (content,) if isinstance(content, bytes) else content:
                    digest.update(chunk)
                    size += len(chunk)
                    out.write(chunk)
                out.flush()
                os.fsync(out.fileno())
            related_id = digest.hexdigest()
            place = self._place(related_id)
            place.parent.mkdir(exist_ok=True)
            draft.replace(place)
            _sync_folder(place.parent)
        finally:
            draft.unlink(missing_ok=True)
        return describe(related_id, filename=filename, mime_type=mime_type, size=size)

    def open(self, related_id: str) -> BinaryIO:
        """Open a stored file for reading.

        Raises:
            FileNotStored: no such file.
        """
        try:
            return self._place(related_id).open("rb")
        except FileNotFoundError:
            raise FileNotStored(
                f"no file {related_id!r} under {str(self.root)!r}: it was deleted, or the worker that stored it "
                "has another PERDURE_FILES_DIR"
            ) from None

    def read(self, related_id: str) -> bytes:
        """Read a stored file.

        Raises:
            FileNotStored: no such file.
        """
        with self.open(related_id) as file:
            return file.read()

    def _place(self, related_id: str) -> Path:
        # An id comes from a graph's data: nothing but a hash may become a path.
        if not _ID.fullmatch(related_id):
            raise FileNotStored(f"{related_id!r} is no id of a stored file (64 hex digits)")
        return self.root / related_id[:2] / related_id


def default_store() -> FileStore:
    """Give the store that the environment names."""
    return FileStore(FileSettings().files_dir)


def describe(related_id: str, *, filename: str, mime_type: str, size: int) -> dict[str, JsonValue]:
    """Describe a stored file as a Dify file object; guess a missing name or media type from the other."""
    name = PurePosixPath(filename.replace("\\", "/").replace("\0", "")).name
    media = mime_type.partition(";")[0].strip().lower()
    if not media:
        media = mimetypes.guess_type(name)[0] or "application/octet-stream"
    extension = PurePosixPath(name).suffix.lower() or mimetypes.guess_extension(media) or ".bin"
    return {
        "dify_model_identity": FILE_IDENTITY,
        "id": related_id,
        "type": kind_of(media),
        "transfer_method": "tool_file",
        "remote_url": None,
        "related_id": related_id,
        "filename": name or f"{related_id[:12]}{extension}",
        "extension": extension,
        "mime_type": media,
        "size": size,
        "url": f"file-store:{related_id}",
    }


def kind_of(mime_type: str) -> FileKind:
    """Sort a media type into the five kinds of files that graphs know."""
    match mime_type.partition("/")[0]:
        case "image":
            return "image"
        case "audio":
            return "audio"
        case "video":
            return "video"
        case "text":
            return "document"
        case _:
            known = mime_type in _DOCUMENT_TYPES or mime_type.startswith(_DOCUMENT_FAMILIES)
            return "document" if known else "custom"


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
