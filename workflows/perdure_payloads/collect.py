"""Garbage collection: which blobs no run can need any more.

A run's blobs are kept while it is open and for some days after it closed, and so are those of the child workflows
under it (`<run id>/it[0-49]`): parent and child read each other's values. Blobs of a run that Temporal does not know
are kept until they are that old themselves.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from perdure_graph.errors import PlatformError

from .inventory import Blob, Store

_ASKED_AT_ONCE = 10
# A client writes the blobs of a run before it starts the run.
_STARTING_S = 3600.0

Fate = Literal["keep", "old", "unknown"]


@dataclass(slots=True)
class Count:
    """Runs, blobs and bytes."""

    runs: int = 0
    blobs: int = 0
    size: int = 0

    def add(self, blobs: list[Blob]) -> None:
        """Count the blobs of one more run."""
        self.runs += bool(blobs)
        self.blobs += len(blobs)
        self.size += sum(blob.size for blob in blobs)


@dataclass(frozen=True, slots=True)
class Collected:
    """What was deleted (or would be) and what was kept; `nameless` blobs are kept too, nobody knows whose they are."""

    deleted: Count
    kept: Count
    nameless: Count


async def shown_days(client: Client) -> float:
    """Days for which Temporal shows a run that closed: its namespace's retention.

    Raises:
        PlatformError: Temporal does not tell.
    """
    try:
        told = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))
    except RPCError as error:
        raise PlatformError(
            f"Temporal does not tell how long namespace {client.namespace!r} keeps runs ({error.message}). Say it "
            "with --days."
        ) from error
    return told.config.workflow_execution_retention_ttl.ToTimedelta() / timedelta(days=1)


async def collect(client: Client, store: Store, *, days: float, dry_run: bool = False) -> Collected:
    """Delete the blobs of runs that closed more than `days` ago, or that Temporal does not know any more.

    Raises:
        PlatformError: Temporal or the blob store does not answer; what was not decided is kept.
    """
    now = time.time()
    found = await store.list(client.namespace)
    known = _Runs(client, datetime.fromtimestamp(now, UTC) - timedelta(days=days))
    deleted, kept, nameless = Count(), Count(), Count()
    nameless.add(found.nameless)
    for workflow, fate in await known.fates(list(found.runs)):
        blobs = found.runs[workflow]
        match fate:
            case "keep":
                doomed: list[Blob] = []
            case "old":
                doomed = blobs
            case "unknown":
                youngest = now - max(days * 86_400, _STARTING_S)
                doomed = [blob for blob in blobs if blob.written < youngest]
        if doomed and not dry_run:
            await store.delete(doomed)
        deleted.add(doomed)
        gone = set(doomed)
        kept.add([blob for blob in blobs if blob not in gone])
    return Collected(deleted, kept, nameless)


class _Runs:
    """What Temporal knows of runs, asked once each."""

    def __init__(self, client: Client, closed_before: datetime) -> None:
        self._client = client
        self._closed_before = closed_before
        self._asked: dict[str, asyncio.Task[Fate]] = {}
        self._slots = asyncio.Semaphore(_ASKED_AT_ONCE)

    async def fates(self, workflows: list[str]) -> list[tuple[str, Fate]]:
        """Decide over each workflow."""
        return list(zip(workflows, await asyncio.gather(*map(self._fate, workflows)), strict=True))

    async def _fate(self, workflow: str) -> Fate:
        """Decide over a workflow: its own age, and that of every run it may be a child of."""
        family = [workflow[:at] for at, char in enumerate(workflow) if char == "/"] + [workflow]
        fates = [await self._ask(member) for member in family if member]
        if "keep" in fates:
            return "keep"
        return "old" if "old" in fates else "unknown"

    async def _ask(self, workflow: str) -> Fate:
        if workflow not in self._asked:
            self._asked[workflow] = asyncio.create_task(self._describe(workflow))
        return await self._asked[workflow]

    async def _describe(self, workflow: str) -> Fate:
        try:
            async with self._slots:
                described = await self._client.get_workflow_handle(workflow).describe()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return "unknown"
            raise PlatformError(f"Temporal does not tell whether run {workflow!r} is open: {error.message}") from error
        closed = described.close_time
        return "keep" if closed is None or closed >= self._closed_before else "old"
