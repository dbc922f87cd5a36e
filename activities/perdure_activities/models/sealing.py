"""How credentials are encrypted for the store: AES-256-GCM, by the key ring that also encrypts payloads.

A sealed credential is bound to the name and the provider of its row, so that rows cannot be exchanged.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Protocol, cast

from perdure_graph.errors import PlatformError
from perdure_store.ledger_records import CredentialRow

_FORMAT = b"\x01"
_NONCE_BYTES = 12


class Keys(Protocol):
    """Keys by id; `first` encrypts (`perdure_payloads.keys.KeyRing`)."""

    @property
    def keys(self) -> Mapping[str, bytes]:
        """All keys."""
        ...

    @property
    def first(self) -> str:
        """Id of the key that encrypts."""
        ...


def sealed(keys: Keys, name: str, provider: str, fields: Mapping[str, str]) -> bytes:
    """Encrypt the fields of a credential for its row."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    key_id = keys.first
    nonce = os.urandom(_NONCE_BYTES)
    text = AESGCM(keys.keys[key_id]).encrypt(nonce, json.dumps(fields).encode(), _bound(name, provider, key_id))
    return _FORMAT + len(key_id).to_bytes(1, "big") + key_id.encode() + nonce + text


def opened(keys: Keys, row: CredentialRow) -> dict[str, str]:
    """Unseal a row.

    Raises:
        PlatformError: this process does not have the key, or the row was changed.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    secret = bytes(row.secret)
    end = 2 + (secret[1] if len(secret) > 1 else 0)
    key_id, nonce, text = (
        secret[2:end].decode(errors="replace"),
        secret[end : end + _NONCE_BYTES],
        secret[end + _NONCE_BYTES :],
    )
    key = keys.keys.get(key_id) if secret[:1] == _FORMAT else None
    if key is None:
        raise PlatformError(
            f"the credential {row.name!r} is encrypted with the key {key_id!r}, which this process does not have. "
            "Add that key to PERDURE_KEYS or PERDURE_KEYS_FILE, or add the credential anew."
        )
    try:
        found: Any = json.loads(AESGCM(key).decrypt(nonce, text, _bound(row.name, row.provider, key_id)))
    except (InvalidTag, ValueError):
        raise PlatformError(
            f"the credential {row.name!r} cannot be decrypted: another key stands under the id {key_id!r}, or the row "
            "was changed. Put the key back, or add the credential anew."
        ) from None
    return cast("dict[str, str]", found)


def _bound(name: str, provider: str, key_id: str) -> bytes:
    return json.dumps(["perdure credential 1", name, provider, key_id]).encode()
