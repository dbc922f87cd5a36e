"""Short transactions in the store of a recorder: within a limit of time, again where others were in the way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, TypeVar

from perdure_graph.errors import PlatformError

from .ledger_records import LedgerAway
from .recorder import Recorder, now_ms
from .writer import NotReady, describe

if TYPE_CHECKING:
    from sqlalchemy import Connection

LEAST_LIMIT_S = 2.0
_TRIES = 5
T = TypeVar("T")


class Transactions:
    """Base of what is kept in a store. limit_s: longest that a method takes.

    _called: names it; _unknown: what there is not without a store.
    """

    _called: ClassVar[str]
    _unknown: ClassVar[str]

    def __init__(self, recorder: Recorder, *, limit_s: float | None = None, clock: Callable[[], int] = now_ms) -> None:
        self._recorder = recorder
        self._limit_s = max(recorder.limit_s, LEAST_LIMIT_S) if limit_s is None else limit_s
        self._now = clock

    @property
    def is_off(self) -> bool:
        """Whether there is no store at all."""
        return self._recorder.is_off

    async def _do(self, work: Callable[[Connection], T], *, writes: bool = True) -> T:
        if self.is_off:
            raise LedgerAway(f"There is no run store (PERDURE_STORE=off), so {self._unknown}.")
        try:
            async with asyncio.timeout(self._limit_s):
                for turn in range(_TRIES):
                    try:
                        return await self._recorder.transact(work, writes=writes)
                    except Exception as error:
                        if turn == _TRIES - 1 or not _took_turns(error):
                            raise
        except Exception as error:
            if not _is_away(error):
                raise
            raise LedgerAway(f"The run store does not serve {self._called}: {describe(error)}") from error
        raise AssertionError("the loop ends by returning or raising")


def _took_turns(error: Exception) -> bool:
    """Whether others were in the way, so that the same transaction may work now."""
    from sqlalchemy.exc import DBAPIError

    if not isinstance(error, DBAPIError):
        return False
    return getattr(error.orig, "sqlstate", None) in ("40001", "40P01") or "database is locked" in str(error.orig)


def _is_away(error: Exception) -> bool:
    from sqlalchemy.exc import SQLAlchemyError

    return isinstance(error, SQLAlchemyError | OSError | TimeoutError | NotReady | PlatformError)
