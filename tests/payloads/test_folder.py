"""The blob folder: complete or not at all, checked when read, and away is not lost."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverStoreContext,
    StorageDriverWorkflowInfo,
)

from perdure_payloads import driver as patience
from perdure_payloads.errors import BlobMissing, BlobsUnavailable
from perdure_payloads.folder import MARK, FolderDriver

READ = StorageDriverRetrieveContext()
VALUE = Payload(metadata={"encoding": b"json/plain"}, data=b'"' + b"x" * 100_000 + b'"')


def run(workflow: str = "run-1", namespace: str = "default") -> StorageDriverStoreContext:
    return StorageDriverStoreContext(target=StorageDriverWorkflowInfo(namespace=namespace, id=workflow))


def blobs(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file() and path.name != MARK]


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PATIENCE_S", 0.1)


async def test_a_value_comes_back_and_is_kept_once(tmp_path: Path) -> None:
    driver = FolderDriver(tmp_path / "deep" / "blobs")
    first = await driver.store(run(), [VALUE, VALUE])
    second = await FolderDriver(driver.root).store(run(), [VALUE])
    assert first == second * 2
    assert await driver.retrieve(READ, first) == [VALUE, VALUE]
    [blob] = blobs(driver.root)
    assert blob.relative_to(driver.root).parts == ("default", "run-1", first[0].claim_data["sha256"])


async def test_a_second_write_makes_a_blob_young(tmp_path: Path) -> None:
    driver = FolderDriver(tmp_path)
    await driver.store(run(), [VALUE])
    [blob] = blobs(tmp_path)
    os.utime(blob, (1, 1))
    await driver.store(run(), [VALUE])
    assert blob.stat().st_mtime > time.time() - 60


@pytest.mark.parametrize("workflow", ["../../../tmp/evil", "/etc/passwd", "a" * 1000, "ü/ß[3]", "..", "x\0y"])
async def test_no_id_leads_out_of_the_folder(tmp_path: Path, workflow: str) -> None:
    driver = FolderDriver(tmp_path / "blobs")
    claims = await driver.store(run(workflow, namespace=".."), [VALUE])
    assert await driver.retrieve(READ, claims) == [VALUE]
    assert len(blobs(tmp_path)) == len(blobs(driver.root)) == 1


@pytest.mark.parametrize("digest", ["../../secret", "", "a" * 63, "A" * 64, "a" * 64 + "/.."])
async def test_a_reference_to_no_hash_reads_nothing(tmp_path: Path, digest: str) -> None:
    driver = FolderDriver(tmp_path)
    await driver.store(run(), [VALUE])
    claim = StorageDriverClaim({"namespace": "default", "workflow": "run-1", "sha256": digest})
    with pytest.raises(BlobMissing, match="run-1"):
        await driver.retrieve(READ, [claim])


async def test_missing_and_damaged_blobs_name_the_folder_and_the_run(tmp_path: Path) -> None:
    driver = FolderDriver(tmp_path)
    claims = await driver.store(run("run-7"), [VALUE])
    [blob] = blobs(tmp_path)
    content = bytearray(blob.read_bytes())
    content[50] ^= 1
    blob.write_bytes(content)
    with pytest.raises(BlobMissing, match=rf"'run-7'.*{tmp_path}.*damaged"):
        await driver.retrieve(READ, claims)
    blob.unlink()
    with pytest.raises(BlobMissing, match=rf"'run-7'.*{tmp_path}"):
        await driver.retrieve(READ, claims)


async def test_a_folder_that_went_away_is_not_made_again(tmp_path: Path) -> None:
    root, away = tmp_path / "blobs", tmp_path / "away"
    driver = FolderDriver(root)
    claims = await driver.store(run(), [VALUE])
    root.rename(away)
    for _ in range(2):
        with pytest.raises(BlobsUnavailable, match=str(root)):
            await driver.store(run(), [VALUE])
        with pytest.raises(BlobsUnavailable, match=str(root)):
            await driver.retrieve(READ, claims)
        # An empty mount point is as good as none.
        root.mkdir(exist_ok=True)
    assert list(root.iterdir()) == []
    root.rmdir()
    away.rename(root)
    assert await driver.retrieve(READ, claims) == [VALUE]


async def test_who_is_told_not_to_make_the_folder_waits_for_it(tmp_path: Path) -> None:
    driver = FolderDriver(tmp_path / "blobs", create=False)
    with pytest.raises(BlobsUnavailable):
        await driver.store(run(), [VALUE])
    FolderDriver(driver.root).prepare()
    await driver.store(run(), [VALUE])


async def test_a_short_outage_is_waited_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PATIENCE_S", 5.0)
    root, away = tmp_path / "blobs", tmp_path / "away"
    driver = FolderDriver(root)
    claims = await driver.store(run(), [VALUE])
    root.rename(away)
    reading = asyncio.create_task(driver.retrieve(READ, claims))
    await asyncio.sleep(0.2)
    assert not reading.done()
    away.rename(root)
    assert await reading == [VALUE]


async def test_a_full_disk_is_an_outage_and_leaves_no_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = FolderDriver(tmp_path)
    driver.prepare()

    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BlobsUnavailable, match="No space left"):
        await driver.store(run(), [VALUE])
    assert blobs(tmp_path) == []


async def test_availability_is_asked_with_the_size(tmp_path: Path) -> None:
    driver = FolderDriver(tmp_path / "blobs")
    await driver.available(1000)
    with pytest.raises(BlobsUnavailable, match="bytes left"):
        await driver.available(1 << 60)
    assert blobs(driver.root) == []
