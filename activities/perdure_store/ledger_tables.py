"""The tables of the ledger of model calls. Money is in nanos, times are milliseconds since the epoch.

Their rows name runs without a foreign key: a call may be accounted before the first event of its run is recorded.
"""

# No `from __future__ import annotations`: SQLModel reads the annotations of its fields when the class is made.

from typing import Any, ClassVar

from sqlalchemy import Column, Float, Index, LargeBinary
from sqlmodel import Field

from .columns import METADATA, Json, Table, big_column, json_column, text_column


class ModelAnswerRow(Table, table=True):
    """A finished answer, kept so that a later attempt of its effect need not ask again."""

    __tablename__: ClassVar[Any] = "model_answers"
    __table_args__: ClassVar[Any] = (Index(None, "run_id"),)

    key: str = text_column(key=True)
    run_id: str = text_column()
    answer: Json = json_column(null=False)
    created_at: int = big_column()


class ModelUsage(Table, table=True):
    """One call of a provider, as `UsageRow`; it outlives its run.

    money, spent: what it took from the budgets: money and tokens.
    lost: whether it is only what was feared of a call whose worker died; `scopes` are then those it was taken from.
    """

    __tablename__: ClassVar[Any] = "model_usage"
    __table_args__: ClassVar[Any] = (Index(None, "run_id"), Index(None, "tenant", "at"), Index(None, "at"))

    id: str = text_column(key=True)
    run_id: str = text_column()
    scope: str = text_column()
    key: str = text_column()
    node_id: str = text_column()
    flow: str = text_column()
    user: str = text_column()
    tenant: str = text_column()
    provider: str = text_column()
    model: str = text_column()
    deployment: str = text_column()
    attempt: int = big_column()
    outcome: str = text_column()
    fault: str | None = text_column(null=True)
    prompt_tokens: int = big_column()
    completion_tokens: int = big_column()
    cache_read_tokens: int = big_column()
    cache_write_tokens: int = big_column()
    reasoning_tokens: int = big_column()
    estimated: bool = False
    price: str = text_column()
    currency: str = text_column()
    price_source: str = text_column()
    price_version: str = text_column()
    latency: float = Field(default=0.0, sa_column=Column(Float, nullable=False))
    first_delta: float | None = None
    request_id: str = text_column()
    simulated: bool = False
    at: int = big_column()
    money: int = big_column()
    spent: int = big_column()
    lost: bool = False
    scopes: list[str] | None = json_column()


class ModelReservation(Table, table=True):
    """A call on its way, and what it holds of the budgets `scopes`. `attempt` is that of the effect."""

    __tablename__: ClassVar[Any] = "model_reservations"
    __table_args__: ClassVar[Any] = (Index(None, "effect_key"), Index(None, "deployment"), Index(None, "expires_at"))

    id: str = text_column(key=True)
    effect_key: str = text_column()
    attempt: int = big_column()
    run_id: str = text_column()
    deployment: str = text_column()
    scopes: list[str] = json_column(null=False)
    money: int = big_column()
    tokens: int = big_column()
    expires_at: int = big_column()
    if_lost: Json | None = json_column()


class ModelSpending(Table, table=True):
    """What was spent of a budget, and what calls on their way hold of it. `run_id` and `ends_at` are of its `Claim`."""

    __tablename__: ClassVar[Any] = "model_spending"

    scope: str = text_column(key=True)
    money: int = big_column()
    tokens: int = big_column()
    reserved_money: int = big_column()
    reserved_tokens: int = big_column()
    run_id: str | None = text_column(null=True)
    ends_at: int | None = big_column(null=True)
    created_at: int = big_column()


class ModelRate(Table, table=True):
    """A bucket of a deployment: `level` is what is left in it of `most`; nothing before `shut_until`."""

    __tablename__: ClassVar[Any] = "model_rates"

    deployment: str = text_column(key=True)
    metric: str = text_column(key=True)
    level: float = Field(default=0.0, sa_column=Column(Float, nullable=False))
    most: int = big_column()
    updated_at: int = big_column()
    shut_until: int = big_column()


class ModelHealth(Table, table=True):
    """What is known of a deployment, as `Health`. `recent` holds the calls of the last minute."""

    __tablename__: ClassVar[Any] = "model_health"

    deployment: str = text_column(key=True)
    open_until: int = big_column()
    kind: str | None = text_column(null=True)
    streak: int = big_column()
    trips: int = big_column()
    probe_until: int = big_column()
    recent: Json = json_column(null=False)
    updated_at: int = big_column()


class ModelDelta(Table, table=True):
    """A batch of an answer's text on its way, as `DeltaRow`. `text` is JSON: that holds what text columns refuse."""

    __tablename__: ClassVar[Any] = "model_deltas"

    run_id: str = text_column(key=True)
    scope: str = text_column(key=True)
    key: str = text_column(key=True)
    epoch: int = big_column(key=True)
    n: int = big_column(key=True)
    node_id: str = text_column()
    frame: str = text_column()
    selector: str = text_column()
    offset: int = big_column()
    text: str = json_column(null=False)
    done: bool = False
    at: int = big_column()


class Credential(Table, table=True):
    """An encrypted secret of a provider. `shown` is what may be shown of it."""

    __tablename__: ClassVar[Any] = "credentials"

    name: str = text_column(key=True)
    provider: str = text_column()
    secret: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    shown: str = text_column()
    created_at: int = big_column()
    updated_at: int = big_column()


ANSWERS = METADATA.tables["model_answers"]
USAGE = METADATA.tables["model_usage"]
RESERVATIONS = METADATA.tables["model_reservations"]
SPENDING = METADATA.tables["model_spending"]
RATES = METADATA.tables["model_rates"]
HEALTH = METADATA.tables["model_health"]
DELTAS = METADATA.tables["model_deltas"]
CREDENTIALS = METADATA.tables["credentials"]
