"""The data converter that everything which reads or writes payloads shares."""

from __future__ import annotations

from typing import assert_never

from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.converter import (
    DataConverter,
    DefaultFailureConverter,
    DefaultFailureConverterWithEncodedAttributes,
    ExternalStorage,
    StorageDriver,
    StorageDriverSelectContext,
    StorageDriverWorkflowInfo,
)

from .codec import Codec
from .driver import BlobDriver
from .folder import FolderDriver
from .place import FolderPlace, S3Place
from .settings import PayloadSettings, read_settings

# One payload may hold 2 MiB on the server; the rest is room for the envelope.
INLINE_BYTES = 2 * 1024 * 1024 - 16 * 1024
# What metadata and an authentication tag may add to a payload on its way to a blob.
_ENVELOPE_BYTES = 64 * 1024


def data_converter(settings: PayloadSettings | None = None) -> DataConverter:
    """Build the converter; by default from `PERDURE_*` variables.

    With keys, messages and stack traces of failures are encrypted too.

    Raises:
        PlatformError: the settings are wrong, or blobs in S3 lack the extra `s3`.
    """
    chosen = settings or read_settings()
    keys = chosen.key_ring()
    most = chosen.max_payload_bytes
    return DataConverter(
        payload_converter_class=PydanticPayloadConverter,
        payload_codec=Codec(keys, compress_over=chosen.compress_over, most=most),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes if keys else DefaultFailureConverter,
        external_storage=_storage(chosen),
    )


def value_limit(converter: DataConverter, most: int) -> int:
    """Largest value in bytes that a converter can carry: `most`, or what fits into Temporal where it keeps no blobs."""
    return most if converter.external_storage is not None else min(most, INLINE_BYTES)


def driver_of(settings: PayloadSettings) -> BlobDriver | None:
    """Give the driver of the blobs; None when they are off.

    Raises:
        PlatformError: blobs in S3 lack the extra `s3`.
    """
    place = settings.place()
    match place:
        case FolderPlace(root):
            return FolderDriver(root, create=settings.blobs_create)
        case S3Place():
            from .s3 import S3Driver

            return S3Driver(place, most=settings.max_payload_bytes + _ENVELOPE_BYTES)
        case None:
            return None
        case _:
            assert_never(place)


def _storage(settings: PayloadSettings) -> ExternalStorage | None:
    driver = driver_of(settings)
    if driver is None:
        return None

    def choose(context: StorageDriverSelectContext, _payload: Payload) -> StorageDriver | None:
        # What belongs to no workflow (a heartbeat) could never be collected: it stays in Temporal.
        target = context.target
        return driver if isinstance(target, StorageDriverWorkflowInfo) and target.id else None

    return ExternalStorage(drivers=[driver], driver_selector=choose, payload_size_threshold=settings.blob_threshold)
