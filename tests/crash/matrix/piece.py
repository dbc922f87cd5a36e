"""What is played and killed: the flow of `flow`, or the agent of `agent_flow`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from perdure import Client, RunHandle

if TYPE_CHECKING:
    from .play import Run

OF_PAUSES = frozenset({"run_paused", "run_resumed"})


@dataclass(frozen=True)
class Account:
    """What models were asked in a run. again: requests whose answer got lost with a worker."""

    lost: list[str] = field(default_factory=list[str])
    doubled: list[str] = field(default_factory=list[str])
    calls: int = 0
    again: int = 0


async def _nothing(_run: Run) -> None:
    return None


async def _no_models(_run: Run) -> Account:
    return Account()


def _as_they_are(outputs: dict[str, Any]) -> dict[str, Any]:
    return outputs


@dataclass(frozen=True)
class Piece:
    """One.

    start: starts a run, given a client, where its effects go, its case and its id.
    effects: every outside effect of a run; each must happen once.
    status: how a run ends. scopes: of its histories.
    label: what its rows in the table begin with.
    form, answer: node whose form is answered, and with what. beside: goes on beside a run until it ends.
    passing: types of events of which a run may have more or fewer.
    outputs: those of all outputs that are the same in every run. story: what else is.
    account: checks what models were asked.
    """

    start: Callable[[Client, str, str, str], Awaitable[RunHandle]]
    effects: Callable[[], Counter[str]]
    status: str
    scopes: tuple[str, ...]
    label: str = ""
    form: str = ""
    answer: dict[str, Any] = field(default_factory=dict[str, Any])
    beside: Callable[[Run], Awaitable[None]] = _nothing
    passing: frozenset[str] = OF_PAUSES
    outputs: Callable[[dict[str, Any]], dict[str, Any]] = _as_they_are
    story: Callable[[Run], Awaitable[Any]] = _nothing
    account: Callable[[Run], Awaitable[Account]] = _no_models
