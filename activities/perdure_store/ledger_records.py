"""What the ledger of model calls is told and answers: plain data. Money is in nanos (10^-9 of the currency's unit),
times are milliseconds since the epoch, durations seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Any, Literal, Protocol

from perdure_graph.errors import PlatformError
from perdure_graph.models.faults import FaultKind
from perdure_graph.models.health import Health as Health  # noqa: PLC0414 - one of what the ledger answers

if TYPE_CHECKING:
    from sqlalchemy import Connection

NANOS = 1_000_000_000


class LedgerAway(PlatformError):
    """The ledger is off, away, or too slow: nothing is known of what was asked."""


def nanos(money: Decimal | str) -> int:
    """Give money in nanos, to the nearest."""
    return int((Decimal(money) * NANOS).to_integral_value(ROUND_HALF_UP))


@dataclass(frozen=True, slots=True)
class Claim:
    """One budget that a call counts against. `scope` names whose, and of which period: `tenant:acme/2026-11`.

    run_id: the run, where each has its own. ends_at: when its period is over. Neither: it counts for good.
    """

    scope: str
    money: int | None = None
    tokens: int | None = None
    run_id: str | None = None
    ends_at: int | None = None


@dataclass(frozen=True, slots=True)
class Rates:
    """What a deployment may be asked: requests and tokens per minute, calls at once. None is without limit."""

    requests: int | None = None
    tokens: int | None = None
    at_once: int | None = None


@dataclass(frozen=True, slots=True)
class Admission:
    """A call that wants to begin.

    id: the same when the same try is admitted again, which then counts once.
    deployment: which one, with its `rates`; empty where only budgets are asked.
    money, tokens: what it may use at most, as far as that can be told.
    lasts_s: after so long without a settlement it counts as gone: its worker has died.
    batch: one that gives way: it leaves a fifth of requests, tokens and calls at once to others.
    effect_key: names the effect, the same for all its attempts: one that is still on its way when a call of the same or
        a later attempt begins has lost its worker.
    if_lost: how it is accounted if its worker dies; its `price` and tokens are what the budgets lose then.
    unless_answered: do not let it begin where an answer is kept under `effect_key`.
    """

    id: str
    run_id: str
    deployment: str
    rates: Rates
    claims: tuple[Claim, ...]
    money: int
    tokens: int
    lasts_s: float
    batch: bool = False
    effect_key: str = ""
    if_lost: UsageRow | None = None
    unless_answered: bool = False


@dataclass(frozen=True, slots=True)
class Admitted:
    """It may begin."""


@dataclass(frozen=True, slots=True)
class Answered:
    """It need not begin: its effect has this answer."""

    answer: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Refused:
    """It may not begin.

    why: a `budget` is used up, or a `rate` is; then `retry_after_s` says when it may be let in.
    what: the scope of the budget (shortened as it is kept, if it is very long), or which rate of which deployment.
    """

    why: Literal["budget", "rate"]
    what: str
    retry_after_s: float | None = None


class NotAdmitted(Exception):
    """Takes a refusal out of the transaction, which is undone by it."""

    def __init__(self, told: Refused) -> None:
        super().__init__(told.what)
        self.told = told


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One call of a provider, as it is accounted.

    id: idempotency key of the effect, attempt, and number of the call within it; written again it changes nothing.
    outcome: an `answer` that was used, `wasted` on a failure, or `cached` (it cost nothing).
    price: decimal text. price_source, price_version: where it is from.
    """

    id: str
    run_id: str
    scope: str
    key: str
    node_id: str
    flow: str
    user: str
    tenant: str
    provider: str
    model: str
    deployment: str
    attempt: int
    outcome: Literal["answer", "wasted", "cached"]
    fault: FaultKind | None
    prompt_tokens: int
    completion_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    estimated: bool
    price: str
    currency: str
    price_source: str
    price_version: str
    latency: float
    first_delta: float | None
    request_id: str
    simulated: bool
    at: int


class Also(Protocol):
    """What is written in the same transaction as a settlement; see `perdure_store.threads.Writing`."""

    def write(self, connection: Connection) -> None:
        """Write it; twice is as once."""
        ...

    def committed(self) -> None:
        """Take note that the transaction is done."""
        ...


@dataclass(frozen=True, slots=True)
class Settlement:
    """A call that is over.

    admission: the `Admission.id` that it began with; its reservation is replaced by `money` and `tokens`.
    answer: kept under `answer_key`, so that a later attempt need not call again.
    scopes: budgets that it counts against where its reservation is not known, as it began without the ledger.
    run_id: whose the answer is, where there is no usage to tell it.
    also: what is written with it, or not at all.
    """

    admission: str
    money: int
    tokens: int
    usage: UsageRow | None
    answer_key: str | None = None
    answer: dict[str, Any] | None = None
    scopes: tuple[str, ...] = ()
    run_id: str = ""
    also: Also | None = None


@dataclass(frozen=True, slots=True)
class DeltaRow:
    """A batch of an answer's text on its way. `n` counts batches of an epoch from 0; `offset` is the place in its text.

    done: whether the text is complete; a batch with it may be empty.
    """

    run_id: str
    scope: str
    key: str
    node_id: str
    frame: str
    selector: str
    epoch: int
    n: int
    offset: int
    text: str
    done: bool = False


@dataclass(frozen=True, slots=True)
class Spent:
    """How a budget stands: what was spent, and what calls on their way hold."""

    money: int = 0
    tokens: int = 0
    reserved_money: int = 0
    reserved_tokens: int = 0


@dataclass(frozen=True, slots=True)
class UsageTotal:
    """The sum of calls with one outcome, in one currency. `money` is in nanos."""

    outcome: Literal["answer", "wasted", "cached"]
    currency: str
    calls: int
    money: int
    prompt_tokens: int
    completion_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int


@dataclass(frozen=True, slots=True)
class UsageReport:
    """Calls of models: sums of all, and the newest of them one by one."""

    totals: tuple[UsageTotal, ...]
    rows: tuple[UsageRow, ...]


@dataclass(frozen=True, slots=True)
class CredentialRow:
    """A secret as it is stored, encrypted. `shown` is what may be shown of it; times are set by the ledger."""

    name: str
    provider: str
    secret: bytes = field(repr=False)
    shown: str = ""
    created_at: int = 0
    updated_at: int = 0
