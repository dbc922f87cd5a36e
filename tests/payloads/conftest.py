"""One S3 server for the session, a bucket per test."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from fakes.s3_server import Server, s3_server
from perdure_payloads.place import S3Place
from perdure_payloads.s3 import S3Client


@pytest.fixture(scope="session")
def s3() -> Iterator[Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
async def bucket(s3: Server) -> AsyncIterator[str]:
    """Setting `blobs` for a fresh bucket, with a prefix."""
    name = f"b-{uuid.uuid4()}"
    async with S3Client(S3Place(name, "", s3.url)).opened() as client:
        await client.create_bucket(Bucket=name)
    yield f"s3://{name}/some/prefix?endpoint_url={s3.url}"
