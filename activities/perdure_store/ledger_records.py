"""What the ledger of model calls is told and answers: plain data. Money is in nanos (10^-9 of the currency's unit),
times are milliseconds since the epoch, durations seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from perdure_graph.models.faults import FaultKind

NANOS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Claim:
    """One budget that a call counts against. `scope` names whose, and of which period: `tenant:acme/2026-11`."""

    scope: str
    money: int | None = None
    tokens: int | None = None


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
    batch: one that gives way: it leaves a fifth of the requests and calls at once to others.
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


@dataclass(frozen=True, slots=True)
class Admitted:
    """It may begin."""


@dataclass(frozen=True, slots=True)
class Refused:
    """It may not begin.

    why: a `budget` is used up, or a `rate` is; then `retry_after_s` says when it may be let in.
    what: the scope of the budget, or which rate of which deployment.
    """

    why: Literal["budget", "rate"]
    what: str
    retry_after_s: float | None = None


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


@dataclass(frozen=True, slots=True)
class Settlement:
    """A call that is over.

    admission: the `Admission.id` that it began with; its reservation is replaced by `money` and `tokens`.
    answer: kept under `answer_key`, so that a later attempt need not call again.
    """

    admission: str
    money: int
    tokens: int
    usage: UsageRow | None
    answer_key: str | None = None
    answer: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """What is known of a deployment.

    open_until: it is not asked before this; 0 when it is well.
    failures, calls: in the last minute. streak: failures without a success between them, for doubling.
    probing: whether some call is trying whether it is well again.
    at_once: calls on their way. load: requests in the last minute.
    """

    deployment: str
    open_until: int = 0
    kind: FaultKind | None = None
    failures: int = 0
    calls: int = 0
    streak: int = 0
    probing: bool = False
    at_once: int = 0
    load: int = 0


@dataclass(frozen=True, slots=True)
class DeltaRow:
    """A batch of an answer's text on its way. `n` counts batches of an epoch from 0; `at` is the place in the text.

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
