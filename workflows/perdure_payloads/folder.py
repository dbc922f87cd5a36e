"""Blobs in a local or mounted folder: `<root>/<namespace>/<workflow id>/<sha256>`, both names quoted.

A blob appears complete or not at all, and is checked against its name when it is read. The folder holds a mark, so
that one which is unmounted (gone, or an empty mount point) is told from one that is empty: nothing is ever written
beside the real one, and a blob is not taken for lost only because its folder is away.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverStoreContext,
    StorageDriverWorkflowInfo,
)

from .driver import BlobDriver, patiently
from .errors import BlobMissing, BlobsUnavailable
from .place import quoted

MARK: Final = ".perdure-blobs"
DRAFT: Final = ".new-"

_HASH = re.compile(r"[0-9a-f]{64}")
_SPARE_BYTES = 1024 * 1024


class FolderDriver(BlobDriver):
    """Keeps payloads in a folder. A claim names the namespace, the workflow and the hash, never a path."""

    def __init__(self, root: Path, *, create: bool = True) -> None:
        # Absolute, so that a change of the working folder does not move it.
        self.root = root.absolute()
        self._create = create

    def name(self) -> str:
        """Name in the references that histories hold."""
        return "perdure.folder"

    def type(self) -> str:
        """Kind of driver."""
        return "perdure.folder"

    def prepare(self) -> None:
        """Make the folder, where that is allowed, so that others can be told not to.

        Raises:
            BlobsUnavailable: it cannot be made, or is away.
        """
        self._open(writing=True)

    async def store(self, context: StorageDriverStoreContext, payloads: Sequence[Payload]) -> list[StorageDriverClaim]:
        """Write each payload, unless it is there already.

        Raises:
            BlobsUnavailable: the folder is away, full, or may not be written.
        """
        target = context.target
        assert isinstance(target, StorageDriverWorkflowInfo) and target.id, "chosen by the converter"
        namespace, workflow = target.namespace, target.id
        return [await patiently(lambda p=payload: self._put(namespace, workflow, p)) for payload in payloads]

    async def retrieve(
        self,
        context: StorageDriverRetrieveContext,  # noqa: ARG002 - of the interface
        claims: Sequence[StorageDriverClaim],
    ) -> list[Payload]:
        """Read each payload.

        Raises:
            BlobsUnavailable: the folder is away or may not be read.
            BlobMissing: it is there, the blob is not, or is not what was written.
        """
        return [await patiently(lambda c=claim: self._get(dict(c.claim_data))) for claim in claims]

    async def available(self, size: int) -> None:
        """Return if `size` more bytes can be stored now.

        Raises:
            BlobsUnavailable: they cannot.
        """
        await asyncio.to_thread(self._available, size)

    def _available(self, size: int) -> None:
        self._open(writing=True)
        try:
            with tempfile.TemporaryFile(prefix=DRAFT, dir=self.root):
                free = shutil.disk_usage(self.root).free
        except OSError as error:
            raise self._unavailable(error) from error
        if free < size + _SPARE_BYTES:
            raise BlobsUnavailable(f"the blob folder {str(self.root)!r} has {free:,} bytes left. Make room there.")

    def _open(self, *, writing: bool) -> None:
        """Make sure that the folder is there and is the real one."""
        mark = self.root / MARK
        try:
            if mark.exists():
                # Known from now on: should it go, it is away, and a new one in its place would be a wrong one.
                self._create = False
                return
            if writing and self._create:
                self.root.mkdir(parents=True, exist_ok=True)
                mark.touch()
                self._create = False
                return
        except OSError as error:
            raise self._unavailable(error) from error
        raise BlobsUnavailable(
            f"the blob folder {str(self.root)!r} is not there (no {MARK!r} in it). Mount it again, or give clients and "
            "workers the same PERDURE_BLOBS; the run goes on by itself."
        )

    def _put(self, namespace: str, workflow: str, payload: Payload) -> StorageDriverClaim:
        self._open(writing=True)
        content = payload.SerializeToString()
        digest = hashlib.sha256(content).hexdigest()
        folder = self.root / quoted(namespace) / quoted(workflow)
        try:
            _write(folder, digest, content)
        except OSError as error:
            raise self._unavailable(error) from error
        return StorageDriverClaim({"namespace": namespace, "workflow": workflow, "sha256": digest})

    def _get(self, claim: dict[str, str]) -> Payload:
        self._open(writing=False)
        namespace, workflow, digest = (claim.get(name, "") for name in ("namespace", "workflow", "sha256"))
        if not _HASH.fullmatch(digest):
            raise BlobMissing(f"a reference to a blob of run {workflow!r} names no hash: it was not written by Perdure")
        path = self.root / quoted(namespace) / quoted(workflow) / digest
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise BlobMissing(
                f"a value of run {workflow!r} is not in the blob folder {str(self.root)!r} ({digest[:12]}): it was "
                "deleted, or written under another PERDURE_BLOBS. Put the folder of that run back."
            ) from None
        except OSError as error:
            raise self._unavailable(error) from error
        if hashlib.sha256(content).hexdigest() != digest:
            raise BlobMissing(
                f"a value of run {workflow!r} in the blob folder {str(self.root)!r} is damaged ({digest[:12]}). "
                "Put the file back from a copy."
            )
        return Payload.FromString(content)

    def _unavailable(self, error: OSError) -> BlobsUnavailable:
        return BlobsUnavailable(
            f"the blob folder {str(self.root)!r} cannot be used ({error.strerror or error}). Mount it, make room or "
            "give access; the run goes on by itself."
        )


def _write(folder: Path, digest: str, content: bytes) -> None:
    place = folder / digest
    if place.exists():
        # Fresh again: garbage collection must not take it for an old one.
        os.utime(place)
        return
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=DRAFT, dir=folder)
    draft = Path(name)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        draft.replace(place)
        _sync(folder)
    finally:
        draft.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
