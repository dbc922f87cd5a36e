"""Messages of threads in the memory of a worker: what was written once never changes, so it need not be read again."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from threading import Lock
from typing import Any

Message = dict[str, Any]

# Of JSON; in memory it is a few times as much.
MOST_BYTES = 32 * 1024 * 1024


class ThreadMemory:
    """Keeps the threads that were used last, as far as there is room; safe to use by many threads of the process."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._threads: OrderedDict[str, dict[int, Message]] = OrderedDict()
        self._sizes: dict[str, int] = {}
        self._bytes = 0
        self._lock = Lock()

    def put(self, thread: str, messages: Mapping[int, Message]) -> None:
        """Keep what stands at some places."""
        with self._lock:
            known = self._threads.setdefault(thread, {})
            new = {place: message for place, message in messages.items() if place not in known}
            known |= new
            size = sum(len(json.dumps(one)) for one in new.values())
            self._sizes[thread] = self._sizes.get(thread, 0) + size
            self._bytes += size
            self._threads.move_to_end(thread)
            while self._threads and self._bytes > self._most_bytes:
                oldest, _ = self._threads.popitem(last=False)
                self._bytes -= self._sizes.pop(oldest)

    def pick(self, thread: str, places: Iterable[int]) -> dict[int, Message]:
        """Give those of the messages that are known."""
        with self._lock:
            if (known := self._threads.get(thread)) is None:
                return {}
            self._threads.move_to_end(thread)
            return {place: known[place] for place in places if place in known}
