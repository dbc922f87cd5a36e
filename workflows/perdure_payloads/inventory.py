"""What is in a blob store, by run; and the removal of it."""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, unquote

from .errors import BlobsUnavailable
from .folder import MARK
from .place import quoted, unquoted
from .s3 import S3Client

_DELETED_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Blob:
    """One blob: where it is, its bytes, and when it was last written (seconds since the epoch)."""

    key: str
    size: int
    written: float


@dataclass(slots=True)
class Inventory:
    """The blobs of one namespace by workflow id; `nameless` are those whose key names no workflow."""

    runs: dict[str, list[Blob]] = field(default_factory=lambda: defaultdict(list[Blob]))
    nameless: list[Blob] = field(default_factory=list[Blob])


class Store(Protocol):
    """A blob store that can be listed and cleared."""

    async def list(self, namespace: str) -> Inventory:
        """List the blobs of a namespace."""
        ...

    async def delete(self, blobs: list[Blob]) -> None:
        """Delete blobs; those that are gone already do not matter."""
        ...


class FolderStore:
    """The blobs in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    async def list(self, namespace: str) -> Inventory:
        """List the blobs of a namespace.

        Raises:
            BlobsUnavailable: the folder is away or may not be read.
        """
        return await asyncio.to_thread(self._list, namespace)

    def _list(self, namespace: str) -> Inventory:
        if not (self.root / MARK).exists():
            raise BlobsUnavailable(f"there is no blob folder {str(self.root)!r}. Mount it, or correct PERDURE_BLOBS.")
        found = Inventory()
        top = self.root / quoted(namespace)
        for folder, _folders, files in os.walk(top, onerror=_refuse):
            for name in files:
                path = Path(folder, name)
                with suppress(FileNotFoundError):
                    facts = path.stat()
                    blob = Blob(str(path), facts.st_size, facts.st_mtime)
                    found.runs[unquoted(path.parent.relative_to(top))].append(blob)
        return found

    async def delete(self, blobs: list[Blob]) -> None:
        """Delete blobs and the folders that are empty then.

        Raises:
            BlobsUnavailable: the folder may not be written.
        """
        await asyncio.to_thread(self._delete, blobs)

    def _delete(self, blobs: list[Blob]) -> None:
        for blob in blobs:
            try:
                Path(blob.key).unlink(missing_ok=True)
            except OSError as error:
                raise BlobsUnavailable(f"{blob.key!r} cannot be deleted ({error.strerror}). Give access.") from error
        for folder in {Path(blob.key).parent for blob in blobs}:
            # The last part of a long id lies in folders of its own.
            while folder != self.root:
                try:
                    folder.rmdir()
                except OSError:
                    break
                folder = folder.parent  # noqa: PLW2901


def _refuse(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise BlobsUnavailable(f"{error.filename!r} cannot be listed ({error.strerror}). Give access.") from error


class S3Store:
    """The blobs in a bucket."""

    def __init__(self, client: S3Client) -> None:
        self._client = client

    async def list(self, namespace: str) -> Inventory:
        """List the blobs of a namespace.

        Raises:
            BlobsUnavailable: the store does not answer or refuses.
        """
        found = Inventory()
        place = self._client.place
        top = f"{place.prefix}v0/ns/{_as_driver(namespace)}/"
        try:
            async with self._client.opened() as client:
                pages = client.get_paginator("list_objects_v2").paginate(Bucket=place.bucket, Prefix=top)
                async for page in pages:
                    for entry in page.get("Contents", ()):
                        blob = Blob(entry["Key"], entry["Size"], entry["LastModified"].timestamp())
                        workflow = _workflow(entry["Key"].removeprefix(top))
                        (found.nameless if workflow is None else found.runs[workflow]).append(blob)
        except Exception as error:
            raise BlobsUnavailable(f"s3://{place.bucket}/{top} cannot be listed ({error}).") from error
        return found

    async def delete(self, blobs: list[Blob]) -> None:
        """Delete blobs.

        Raises:
            BlobsUnavailable: the store does not answer or refuses.
        """
        place = self._client.place
        try:
            async with self._client.opened() as client:
                for at in range(0, len(blobs), _DELETED_AT_ONCE):
                    keys = [{"Key": blob.key} for blob in blobs[at : at + _DELETED_AT_ONCE]]
                    answer = await client.delete_objects(Bucket=place.bucket, Delete={"Objects": keys, "Quiet": True})
                    if failed := answer.get("Errors"):
                        raise BlobsUnavailable(f"{failed[0]['Key']!r} cannot be deleted ({failed[0]['Code']}).")
        except BlobsUnavailable:
            raise
        except Exception as error:
            raise BlobsUnavailable(f"blobs in s3://{place.bucket} cannot be deleted ({error}).") from error


def _workflow(key: str) -> str | None:
    """Workflow id in `wt/<type>/wi/<id>/ri/<run>/d/sha256/<hash>`; the driver leaves it out of too long keys."""
    parts = key.split("/")
    if len(parts) < 9 or parts[0] != "wt" or parts[2] != "wi":
        return None
    return unquote(parts[3])


def _as_driver(name: str) -> str:
    """Quote a name as the SDK's driver does."""
    return quote(name, safe="!-_.*'()").replace("~", "%7E")
