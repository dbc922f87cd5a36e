"""The key ring: which keys decrypt, and which one encrypts. Nothing here ever shows a key."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

KEY_BYTES = 32

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HOW = "Make one with `openssl rand -base64 32` and give it as `id:base64`."


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Keys by id, in the order given: the first encrypts, all decrypt."""

    keys: Mapping[str, bytes] = field(default_factory=dict[str, bytes], repr=False)

    @classmethod
    def read(cls, text: str) -> KeyRing:
        """Read `id:base64` entries, separated by commas or line ends; lines that start with `#` are left out.

        Raises:
            ValueError: an entry is malformed or an id comes twice; names the entry's id or number, never the key.
        """
        lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
        entries = [entry.strip() for line in lines for entry in line.split(",") if entry.strip()]
        keys: dict[str, bytes] = {}
        for number, entry in enumerate(entries, 1):
            name, colon, secret = entry.partition(":")
            # An entry without its id may be a bare key: it must not be quoted.
            if not colon or not _ID.fullmatch(name):
                raise ValueError(f"entry {number} of the key ring is not `id:base64` with an id of A-Z a-z 0-9 . _ -")
            if name in keys:
                raise ValueError(f"the key ring has two keys with the id {name!r}; give the new one another id")
            keys[name] = _decode(name, secret)
        return cls(keys)

    def __bool__(self) -> bool:
        """Whether there is a key."""
        return bool(self.keys)

    @property
    def first(self) -> str:
        """Id of the key that encrypts."""
        return next(iter(self.keys))

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of all keys."""
        return tuple(self.keys)


def _decode(name: str, secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"key {name!r} is not base64. {_HOW}") from None
    if len(key) != KEY_BYTES:
        raise ValueError(f"key {name!r} has {len(key)} bytes, not {KEY_BYTES}. {_HOW}")
    return key
