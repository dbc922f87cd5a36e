"""The codec: what happens to a payload between its JSON form and the server or the blob store.

    binary/zstd       the payload, metadata and all, compressed
    binary/encrypted  the payload, metadata and all, under AES-256-GCM: nonce, ciphertext, tag; the key's id beside it

What a payload says of itself is checked, not believed: sizes before memory is taken, the key id by the cipher.
A payload that is neither passes as it is: older ones, and plain JSON that other clients send.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence

import zstandard
from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec
from temporalio.exceptions import ApplicationError

from .errors import KeyUnknown
from .keys import KeyRing

ENCODING = "encoding"
KEY_ID = "encryption-key-id"
ZSTD = b"binary/zstd"
ENCRYPTED = b"binary/encrypted"

_NONCE_BYTES = 12
_WORTH = 0.9
# Below this, handing work to a thread costs more than the work.
_IN_THREAD_BYTES = 128 * 1024


class Codec(PayloadCodec):
    """Compresses and encrypts payloads, and undoes both."""

    def __init__(self, keys: KeyRing, *, compress_over: int, most: int) -> None:
        self._keys = keys
        self._compress_over = compress_over
        self.most = most

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Compress where it helps, then encrypt where there is a key."""
        return [await _run(self.encode_one, payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Decrypt and decompress.

        Raises:
            KeyUnknown: no such key, or the payload was changed.
            ApplicationError: `PayloadTooLarge`: it is larger than any payload may be; not retryable.
        """
        return [await _run(self.decode_one, payload) for payload in payloads]

    def encode_one(self, payload: Payload) -> Payload:
        """Encode one payload."""
        payload = _compressed(payload) if payload.ByteSize() >= self._compress_over else payload
        return _encrypted(payload, self._keys) if self._keys else payload

    def decode_one(self, payload: Payload) -> Payload:
        """Decode one payload; each layer at most once, so nothing can nest."""
        if payload.metadata.get(ENCODING) == ENCRYPTED:
            payload = _decrypted(payload, self._keys)
        if payload.metadata.get(ENCODING) == ZSTD:
            payload = _decompressed(payload, self.most)
        return payload


async def _run(work: Callable[[Payload], Payload], payload: Payload) -> Payload:
    if payload.ByteSize() < _IN_THREAD_BYTES:
        return work(payload)
    return await asyncio.to_thread(work, payload)


def _compressed(payload: Payload) -> Payload:
    plain = payload.SerializeToString()
    packed = zstandard.ZstdCompressor(level=3).compress(plain)
    if len(packed) > _WORTH * len(plain):
        return payload
    return Payload(metadata={ENCODING: ZSTD}, data=packed)


def _decompressed(payload: Payload, most: int) -> Payload:
    try:
        size = zstandard.get_frame_parameters(payload.data).content_size
        if size > most:
            unknown = size in (zstandard.CONTENTSIZE_UNKNOWN, zstandard.CONTENTSIZE_ERROR)
            raise _too_large("an unknown number of" if unknown else f"{size:,}", most)
        # The frame's word is the memory taken; a frame that lies about it is an error.
        plain = zstandard.ZstdDecompressor(max_window_size=most).decompress(payload.data, max_output_size=most)
    except zstandard.ZstdError as error:
        raise _damaged(f"zstd: {error}") from error
    return _parsed(plain)


def _encrypted(payload: Payload, keys: KeyRing) -> Payload:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    name = keys.first
    nonce = os.urandom(_NONCE_BYTES)
    sealed = AESGCM(keys.keys[name]).encrypt(nonce, payload.SerializeToString(), _bound(name))
    return Payload(metadata={ENCODING: ENCRYPTED, KEY_ID: name.encode()}, data=nonce + sealed)


def _decrypted(payload: Payload, keys: KeyRing) -> Payload:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    name = payload.metadata.get(KEY_ID, b"").decode(errors="replace")
    key = keys.keys.get(name)
    if key is None:
        have = f"it has {', '.join(map(repr, keys.ids))}" if keys else "no keys are set"
        raise KeyUnknown(
            f"a payload is encrypted with the key {name!r}, which this process does not have ({have}). "
            "Add that key to PERDURE_KEYS or PERDURE_KEYS_FILE, behind the first one; the run goes on by itself."
        )
    nonce, sealed = payload.data[:_NONCE_BYTES], payload.data[_NONCE_BYTES:]
    try:
        return _parsed(AESGCM(key).decrypt(nonce, sealed, _bound(name)))
    except (InvalidTag, ValueError):
        raise KeyUnknown(
            f"a payload that names the key {name!r} cannot be decrypted with it: the key ring holds another key under "
            "that id, or the payload was changed. Put the key that was used back under its id."
        ) from None


def _bound(key_id: str) -> bytes:
    # Not the run: payloads move between runs (a child's result), and the codec endpoint is told no run at all.
    return b"perdure payload 1\0" + key_id.encode()


def _parsed(plain: bytes) -> Payload:
    try:
        return Payload.FromString(plain)
    except DecodeError as error:
        raise _damaged(str(error)) from error


def _too_large(size: str, most: int) -> ApplicationError:
    # Final: waiting does not make it smaller, and a run that cannot read it would fail the same task for ever.
    return ApplicationError(
        f"a payload decompresses to {size} bytes; the limit is {most:,} (PERDURE_MAX_PAYLOAD_BYTES). "
        "Pass less data, or a file.",
        type="PayloadTooLarge",
        non_retryable=True,
    )


def _damaged(reason: str) -> ApplicationError:
    return ApplicationError(f"a payload is damaged ({reason})", type="PayloadDamaged", non_retryable=True)
