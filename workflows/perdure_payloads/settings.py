"""What can be told about payloads, from arguments or from `PERDURE_*` variables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from perdure_graph.errors import PlatformError

from .keys import KeyRing
from .place import OFF, Place, read_place

DEFAULT_BLOBS = ".perdure/blobs"


class PayloadSettings(BaseSettings):
    """How payloads are written. Clients and workers of one namespace must agree on `blobs` and `keys`.

    blobs: where large values live: a folder, `s3://bucket/prefix?endpoint_url=...&region=...`, or `off`.
    blob_threshold: bytes, after compression and encryption, from which a payload is a blob.
    blobs_create: make the folder when it is not there; without, a folder that is missing is one that is unmounted.
    compress_over: bytes from which a payload is compressed. Smaller ones stay plain JSON, for other clients to read.
    keys: key ring `id:base64,id:base64`, each key 32 bytes; the first encrypts, all decrypt. None: no encryption.
    keys_file: file with the same text, one key per line if you like.
    max_value_bytes: largest request, reply or result as JSON, where blobs are kept; without, 2 MiB is the limit.
    max_payload_bytes: most that a payload may have once decompressed; more is taken for an attack.
    """

    # Validation errors quote what was given, which may be a key.
    model_config = SettingsConfigDict(env_prefix="PERDURE_", frozen=True, extra="ignore", hide_input_in_errors=True)

    blobs: str = DEFAULT_BLOBS
    blob_threshold: int = Field(default=64 * 1024, ge=1024, le=1024 * 1024)
    blobs_create: bool = True
    compress_over: int = Field(default=16 * 1024, ge=0)
    keys: SecretStr | None = None
    keys_file: Path | None = None
    max_value_bytes: int = Field(default=64 * 1024 * 1024, ge=1024)
    max_payload_bytes: int = Field(default=256 * 1024 * 1024, ge=1024 * 1024)

    @field_validator("blobs")
    @classmethod
    def _place(cls, value: str) -> str:
        read_place(value)
        return value

    @field_validator("keys")
    @classmethod
    def _keys(cls, value: SecretStr | None) -> SecretStr | None:
        _ring(value, None)
        return value

    @field_validator("keys_file")
    @classmethod
    def _keys_file(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        _ring(info.data.get("keys"), value)
        return value

    def place(self) -> Place:
        """Where blobs live."""
        return read_place(self.blobs)

    def key_ring(self) -> KeyRing:
        """The keys, those of `keys` before those of `keys_file`.

        Raises:
            ValueError: the file cannot be read any more, or is not what it was.
        """
        return _ring(self.keys, self.keys_file)

    @property
    def keeps_blobs(self) -> bool:
        """Whether large values are kept outside of Temporal."""
        return self.blobs != OFF


def read_settings(**given: Any) -> PayloadSettings:
    """Read the settings from arguments and `PERDURE_*` variables.

    Raises:
        PlatformError: one of them is wrong.
    """
    try:
        return PayloadSettings(**given)
    except ValidationError as error:
        details = "; ".join(f"PERDURE_{str(d['loc'][0]).upper()}: {d['msg']}" for d in error.errors())
        raise PlatformError(f"the settings of payloads are wrong: {details}.") from None


def _ring(keys: SecretStr | None, file: Path | None) -> KeyRing:
    texts = [keys.get_secret_value()] if keys is not None else []
    if file is not None:
        try:
            texts.append(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"the key file {str(file)!r} cannot be read ({type(error).__name__})") from error
    return KeyRing.read("\n".join(texts))
