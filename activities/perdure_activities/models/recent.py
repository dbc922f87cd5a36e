"""A mapping that is bounded: what is keyed by names that graphs choose must not grow with them."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

# So many names are in use at once on no worker.
MOST = 1024

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """Keeps what was used last; safe to use by many threads.

    most: entries that are kept. lasts_s: how long one is kept since it was put; None for as long as there is room.
    """

    def __init__(
        self, most: int = MOST, *, lasts_s: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = most
        self._lasts_s = lasts_s
        self._clock = clock
        self._kept: OrderedDict[Key, tuple[float, Value]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Key) -> Value | None:
        """Give the value of a key; None where there is none, or none any more."""
        with self._lock:
            return self._get(key)

    def setdefault(self, key: Key, value: Value) -> Value:
        """Give the value of a key; where there is none, put this one."""
        with self._lock:
            if (found := self._get(key)) is not None:
                return found
            self._kept[key] = (self._clock(), value)
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
            return value

    def _get(self, key: Key) -> Value | None:
        if (found := self._kept.get(key)) is None:
            return None
        put, value = found
        if self._lasts_s is not None and self._clock() - put >= self._lasts_s:
            del self._kept[key]
            return None
        self._kept.move_to_end(key)
        return value
