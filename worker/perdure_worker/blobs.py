"""What a worker tells the run store of the large values that it puts into the blob store."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    DataConverter,
    StorageDriver,
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverSelectContext,
    StorageDriverStoreContext,
    StorageDriverWorkflowInfo,
)

from perdure_payloads.driver import BlobDriver

# (run, hash of the blob, bytes as stored)
Note = Callable[[str, str, int], None]

# Child workflows of a run: windows of its iterations, and what records the rest of a log.
_CHILD = re.compile(r"/(?:[^/]+\[\d+-\d+\]|events)$")


class NotedDriver(BlobDriver):
    """A driver that tells `note` of each blob once it is stored."""

    def __init__(self, inner: BlobDriver) -> None:
        self._inner = inner
        self.note: Note | None = None

    def name(self) -> str:
        """Name in the references that histories hold."""
        return self._inner.name()

    def type(self) -> str:
        """Kind of driver."""
        return self._inner.type()

    async def store(self, context: StorageDriverStoreContext, payloads: Sequence[Payload]) -> list[StorageDriverClaim]:
        """Store each payload, as the driver does."""
        claims = await self._inner.store(context, payloads)
        target = context.target
        if self.note is not None and isinstance(target, StorageDriverWorkflowInfo) and target.id:
            for payload, claim in zip(payloads, claims, strict=True):
                self.note(run_of(target.id), _hash(claim), payload.ByteSize())
        return claims

    async def retrieve(
        self, context: StorageDriverRetrieveContext, claims: Sequence[StorageDriverClaim]
    ) -> list[Payload]:
        """Read each payload, as the driver does."""
        return await self._inner.retrieve(context, claims)

    async def available(self, size: int) -> None:
        """Return if `size` more bytes can be stored now, as the driver does."""
        await self._inner.available(size)


def _hash(claim: StorageDriverClaim) -> str:
    data = claim.claim_data
    return str(data.get("sha256") or data.get("hash_value") or "")


def run_of(workflow: str) -> str:
    """Give the run that a workflow belongs to, by their ids."""
    while (shorter := _CHILD.sub("", workflow)) != workflow:
        workflow = shorter
    return workflow


def noted(converter: DataConverter) -> DataConverter:
    """Give a converter whose driver can be told whom to tell."""
    storage = converter.external_storage
    if storage is None or not isinstance(inner := storage.drivers[0], BlobDriver):
        return converter
    driver, choose = NotedDriver(inner), storage.driver_selector

    def chosen(context: StorageDriverSelectContext, payload: Payload) -> StorageDriver | None:
        return driver if choose is None or choose(context, payload) is not None else None

    return replace(converter, external_storage=replace(storage, drivers=[driver], driver_selector=chosen))


def tell(converter: DataConverter, note: Note) -> None:
    """Have the driver of a converter tell of what it stores from now on."""
    storage = converter.external_storage
    if storage is not None and isinstance(driver := storage.drivers[0], NotedDriver):
        driver.note = note
