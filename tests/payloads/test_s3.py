"""Blobs in S3, against a server that speaks the protocol over a real socket."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverStoreContext,
    StorageDriverWorkflowInfo,
)

from perdure_payloads.converter import driver_of
from perdure_payloads.errors import BlobMissing, BlobsUnavailable
from perdure_payloads.inventory import S3Store
from perdure_payloads.s3 import S3Driver
from perdure_payloads.settings import PayloadSettings

READ = StorageDriverRetrieveContext()
VALUE = Payload(metadata={"encoding": b"json/plain"}, data=b'"' + b"x" * 300_000 + b'"')


def driver(blobs: str) -> S3Driver:
    found = driver_of(PayloadSettings(blobs=blobs))
    assert isinstance(found, S3Driver)
    return found


def run(workflow: str) -> StorageDriverStoreContext:
    return StorageDriverStoreContext(
        target=StorageDriverWorkflowInfo(namespace="default", id=workflow, type="GraphRun", run_id="r")
    )


@pytest.mark.parametrize("workflow", ["run-1", "run/it[0-49]", "../x", "ü ~"])
async def test_a_value_comes_back_and_is_listed_under_its_run(bucket: str, workflow: str) -> None:
    there = driver(bucket)
    claims = await there.store(run(workflow), [VALUE])
    assert await there.retrieve(READ, claims) == [VALUE]
    store = S3Store(there.client)
    found = await store.list("default")
    assert {name: len(blobs) for name, blobs in found.runs.items()} == {workflow: 1}
    [blob] = found.runs[workflow]
    assert blob.size >= 300_000 and blob.key.startswith("some/prefix/")
    await store.delete([blob])
    with pytest.raises(BlobMissing, match="some/prefix"):
        await there.retrieve(READ, claims)


async def test_ids_too_long_for_a_key_still_work_and_are_counted_apart(bucket: str) -> None:
    there = driver(bucket)
    claims = await there.store(run("ü" * 900), [VALUE])
    assert await there.retrieve(READ, claims) == [VALUE]
    found = await S3Store(there.client).list("default")
    assert not found.runs and len(found.nameless) == 1


async def test_a_reference_reads_no_other_bucket(bucket: str) -> None:
    there = driver(bucket)
    [claim] = await there.store(run("run-1"), [VALUE])
    elsewhere = StorageDriverClaim({**claim.claim_data, "bucket": "somebody-elses"})
    assert await there.retrieve(READ, [elsewhere]) == [VALUE], "the bucket is the configured one"


async def test_a_damaged_object_is_not_taken(bucket: str) -> None:
    there = driver(bucket)
    [claim] = await there.store(run("run-1"), [VALUE])
    await there.client.put_object(bucket="", key=claim.claim_data["key"], data=b"other")
    with pytest.raises(BlobMissing, match="damaged"):
        await there.retrieve(READ, [claim])


@pytest.mark.parametrize("blobs", ["s3://no-such-bucket?endpoint_url={url}", "s3://b?endpoint_url=http://127.0.0.1:1"])
async def test_what_does_not_answer_is_an_outage(s3: Any, blobs: str) -> None:
    there = driver(blobs.format(url=s3.url))
    for failing in (there.store(run("run-1"), [VALUE]), there.available(1)):
        with pytest.raises(BlobsUnavailable, match="s3://"):
            await failing
