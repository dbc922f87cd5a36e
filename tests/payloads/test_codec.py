"""The codec: small, secret and safe to read."""

from __future__ import annotations

import base64
import json
import os
import time
from typing import Any

import pytest
import zstandard
from temporalio.api.common.v1 import Payload
from temporalio.exceptions import ApplicationError

from perdure_payloads.codec import ENCODING, ENCRYPTED, KEY_ID, ZSTD, Codec
from perdure_payloads.errors import KeyUnknown
from perdure_payloads.keys import KeyRing

MOST = 1024 * 1024


def ring(*names: str) -> KeyRing:
    text = ",".join(f"{name}:{base64.b64encode(name[0].encode() * 32).decode()}" for name in names)
    return KeyRing.read(text)


def codec(*names: str, most: int = MOST) -> Codec:
    return Codec(ring(*names), compress_over=1024, most=most)


def plain(value: Any) -> Payload:
    return Payload(metadata={ENCODING: b"json/plain"}, data=json.dumps(value).encode())


LARGE = plain({"text": "the quick brown fox " * 5000})


async def test_what_compresses_is_compressed_and_what_does_not_stays() -> None:
    chosen = codec()
    small, random = plain("x" * 500), Payload(metadata={ENCODING: b"binary/plain"}, data=os.urandom(50_000))
    encoded = await chosen.encode([LARGE, small, random])
    assert encoded[0].metadata[ENCODING] == ZSTD and encoded[0].ByteSize() < LARGE.ByteSize() / 20
    assert encoded[1:] == [small, random]
    assert await chosen.decode(encoded) == [LARGE, small, random]


async def test_encrypted_payloads_show_nothing_but_the_key_id() -> None:
    encoded = await codec("may").encode([plain({"secret": "canary"}), LARGE])
    for payload in encoded:
        assert dict(payload.metadata) == {ENCODING: ENCRYPTED, KEY_ID: b"may"}
        assert b"canary" not in payload.SerializeToString() and b"fox" not in payload.SerializeToString()
    assert encoded[1].ByteSize() < LARGE.ByteSize() / 20, "compressed before it is encrypted"
    again = await codec("may").encode([plain({"secret": "canary"})])
    assert again[0].data != encoded[0].data, "equal values must not look equal"


async def test_keys_rotate() -> None:
    old = await codec("april").encode([LARGE])
    both = codec("may", "april")
    assert await both.decode(old) == [LARGE]
    new = await both.encode([LARGE])
    assert new[0].metadata[KEY_ID] == b"may"
    assert await codec("may").decode(new) == [LARGE]


async def test_old_payloads_stay_readable_with_keys() -> None:
    compressed = await codec().encode([LARGE])
    assert await codec("may").decode([plain(1), *compressed]) == [plain(1), LARGE]


async def test_an_unknown_key_is_named_and_never_shown() -> None:
    encoded = await codec("april").encode([plain(1)])
    for reader in (codec("may"), codec()):
        with pytest.raises(KeyUnknown, match=r"'april'.*PERDURE_KEYS") as caught:
            await reader.decode(encoded)
        assert base64.b64encode(b"m" * 32).decode() not in str(caught.value)


@pytest.mark.parametrize("part", ["data", "key", "short"])
async def test_a_changed_payload_is_refused(part: str) -> None:
    [encoded] = await codec("may").encode([plain({"pay": 10})])
    if part == "data":
        encoded.data = encoded.data[:-1] + bytes((encoded.data[-1] ^ 1,))
    elif part == "short":
        encoded.data = encoded.data[:5]
    else:
        # Another id for the same key: the id is under the seal too.
        encoded.metadata[KEY_ID] = b"mine"
    with pytest.raises(KeyUnknown, match="cannot be decrypted"):
        await codec("may", "mine").decode([encoded])


def bomb(size: int, *, told: bool = True) -> Payload:
    zeros = zstandard.ZstdCompressor(level=19)
    if told:
        return Payload(metadata={ENCODING: ZSTD}, data=zeros.compress(bytes(size)))
    packer = zeros.compressobj()
    return Payload(metadata={ENCODING: ZSTD}, data=packer.compress(bytes(size)) + packer.flush())


@pytest.mark.parametrize("told", [True, False])
async def test_a_bomb_is_refused_for_good_before_it_takes_memory(told: bool) -> None:
    payload = bomb(300 * MOST, told=told)
    assert payload.ByteSize() < 64 * 1024
    before = time.monotonic()
    with pytest.raises(ApplicationError, match="PERDURE_MAX_PAYLOAD_BYTES") as caught:
        await codec().decode([payload])
    # Final, or the run would fail the same task for ever.
    assert caught.value.non_retryable and caught.value.type == "PayloadTooLarge"
    assert time.monotonic() - before < 0.5


async def test_a_bomb_in_a_bomb_goes_off_once() -> None:
    inner = bomb(10 * MOST)
    packed = zstandard.ZstdCompressor().compress(inner.SerializeToString())
    assert await codec().decode([Payload(metadata={ENCODING: ZSTD}, data=packed)]) == [inner]


@pytest.mark.parametrize("data", [b"", b"no zstd", zstandard.ZstdCompressor().compress(b"\xff\xff no payload")])
async def test_garbage_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(ApplicationError) as caught:
        await codec().decode([Payload(metadata={ENCODING: ZSTD}, data=data)])
    assert caught.value.type in ("PayloadDamaged", "PayloadTooLarge")
