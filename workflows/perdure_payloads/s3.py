"""Blobs in S3, or a store that speaks its protocol, through the driver of the Temporal SDK.

Keys are the driver's, `v0/ns/<namespace>/wt/<type>/wi/<workflow id>/ri/<run>/d/sha256/<hash>`, under our prefix.
Credentials are found as every AWS tool finds them. A connection is opened per call: it costs milliseconds, belongs to
no event loop and needs no closing.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.contrib.aws.s3driver import S3StorageDriver, S3StorageDriverClient
from temporalio.converter import (
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverStoreContext,
)

from perdure_graph.errors import PlatformError

from .driver import BlobDriver
from .errors import BlobMissing, BlobsUnavailable
from .place import S3Place

_LOST = frozenset({"NoSuchKey", "404"})


class S3Client(S3StorageDriverClient):
    """Puts and gets objects under the prefix of one bucket, whatever bucket a reference names."""

    def __init__(self, place: S3Place) -> None:
        try:
            import aioboto3
            from botocore.config import Config
        except ImportError as error:
            raise PlatformError(f"blobs in S3 need {error.name}. Install it: pip install 'perdure[s3]'") from error
        self.place = place
        self._session: Any = aioboto3.Session()
        self._config: Any = Config(
            connect_timeout=2,
            read_timeout=30,
            retries={"mode": "standard", "max_attempts": 2},
            # Stores that speak the protocol by now know none of the newer checksums.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path" if place.endpoint_url else "auto"},
        )

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[Any]:
        """Open an aioboto3 client."""
        options = {"endpoint_url": self.place.endpoint_url, "region_name": self.place.region}
        given = {name: value for name, value in options.items() if value}
        async with self._session.client("s3", config=self._config, **given) as client:
            yield client

    async def put_object(self, *, bucket: str, key: str, data: bytes) -> None:  # noqa: ARG002 - ours is the bucket
        """Write an object."""
        async with self.opened() as client:
            await client.put_object(Bucket=self.place.bucket, Key=self.place.prefix + key, Body=data)

    async def object_exists(self, *, bucket: str, key: str) -> bool:  # noqa: ARG002
        """Say no: a second write of the same bytes makes the object young again, which garbage collection looks at."""
        return False

    async def get_object(self, *, bucket: str, key: str) -> bytes:  # noqa: ARG002
        """Read an object."""
        async with self.opened() as client:
            answer = await client.get_object(Bucket=self.place.bucket, Key=self.place.prefix + key)
            async with answer["Body"] as body:
                return await body.read()

    def describe(self) -> Mapping[str, str]:
        """Say where, for the driver's messages."""
        return {"endpoint": self.place.endpoint_url or "AWS", "prefix": self.place.prefix}


class S3Driver(BlobDriver):
    """The SDK's driver with our errors."""

    def __init__(self, place: S3Place, *, most: int) -> None:
        self.place = place
        self.client = S3Client(place)
        self._inner = S3StorageDriver(self.client, place.bucket, max_payload_size=most)

    def name(self) -> str:
        """Name in the references that histories hold."""
        return self._inner.name()

    def type(self) -> str:
        """Kind of driver."""
        return self._inner.type()

    async def store(self, context: StorageDriverStoreContext, payloads: Sequence[Payload]) -> list[StorageDriverClaim]:
        """Write each payload.

        Raises:
            BlobsUnavailable: the store does not answer or refuses.
        """
        try:
            return await self._inner.store(context, payloads)
        except RuntimeError as error:
            raise self._unavailable(error) from error

    async def retrieve(
        self, context: StorageDriverRetrieveContext, claims: Sequence[StorageDriverClaim]
    ) -> list[Payload]:
        """Read each payload.

        Raises:
            BlobsUnavailable: the store does not answer or refuses.
            BlobMissing: it has no such object, or another one under that name.
        """
        try:
            return await self._inner.retrieve(context, claims)
        except RuntimeError as error:
            if _code(error.__cause__) in _LOST:
                raise BlobMissing(
                    f"a large value is not in {self._shown} ({error}): it was deleted, or written under another "
                    "PERDURE_BLOBS. Put it back."
                ) from error
            raise self._unavailable(error) from error
        except (ValueError, KeyError) as error:
            raise BlobMissing(
                f"a large value in {self._shown} is damaged ({error}). Put it back from a copy."
            ) from error

    async def available(self, size: int) -> None:  # noqa: ARG002 - a bucket has no end
        """Return if objects can be stored now.

        Raises:
            BlobsUnavailable: they cannot.
        """
        try:
            await self.client.put_object(bucket=self.place.bucket, key=".perdure-blobs", data=b"")
        except Exception as error:
            raise self._unavailable(error) from error

    @property
    def _shown(self) -> str:
        return f"s3://{self.place.bucket}/{self.place.prefix}"

    def _unavailable(self, error: Exception) -> BlobsUnavailable:
        cause = error.__cause__ or error
        return BlobsUnavailable(
            f"the blob store {self._shown} cannot be used ({type(cause).__name__}: {cause}). Check it, its address and "
            "the AWS_* variables; the run goes on by itself."
        )


def _code(error: BaseException | None) -> str:
    response: dict[str, Any] = getattr(error, "response", {})
    return str(response.get("Error", {}).get("Code", ""))
