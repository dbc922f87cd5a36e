"""Limits of deployments: requests and tokens per minute in buckets that refill all the time, and calls at once."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, bindparam, func, select

from .database import short
from .ledger_records import Admission, NotAdmitted, Refused
from .ledger_tables import RATES, RESERVATIONS
from .statements import insert_new

MINUTE_S = 60.0
# How long to wait for a call to end: nobody knows.
ENDS_S = 1.0
LONGEST_SHUT_S = 120.0

_BUCKETS = select(RATES).where(RATES.c.deployment == bindparam("of")).order_by(RATES.c.metric).with_for_update()
_BUCKET = RATES.update().where(RATES.c.deployment == bindparam("of"), RATES.c.metric == bindparam("by"))
_ADD = _BUCKET.values(level=RATES.c.level + bindparam("more"))
_SAVE = _BUCKET.values({name: bindparam(name) for name in ("level", "most", "updated_at", "shut_until")})
_ON_THEIR_WAY = (
    select(func.count())
    .select_from(RESERVATIONS)
    .where(RESERVATIONS.c.deployment == bindparam("of"), RESERVATIONS.c.id != bindparam("itself"))
)


@dataclass(frozen=True, slots=True)
class Bucket:
    """What is left of a limit per minute. It may be below zero: a call took more than was left, or than it said."""

    level: float
    most: int
    updated_at: int

    def at(self, now: int, most: int) -> Bucket:
        """Refill it until now, up to what the limit is now. Clocks of workers differ: it never goes back in time."""
        passed_s = max(0, now - self.updated_at) / 1000
        return Bucket(min(float(most), self.level + passed_s * most / MINUTE_S), most, max(now, self.updated_at))

    def wait_s(self, need: int, *, batch: bool) -> float:
        """Say how long it takes until there is enough; what is more than a full bucket needs a full one."""
        enough = min(float(self.most), need + (self.most / 5 if batch else 0.0))
        if self.most <= 0:
            return MINUTE_S
        return max(0.0, enough - self.level) * MINUTE_S / self.most


def calls_at_once(limit: int, *, batch: bool) -> int:
    """Say how many calls may be on their way; a batch leaves a fifth to others, but is not kept out for ever."""
    return limit if not batch or limit <= 0 else max(1, limit - math.ceil(limit / 5))


def take(connection: Connection, asked: Admission, now: int) -> None:
    """Take a call's request and tokens out of the buckets of its deployment.

    Raises:
        NotAdmitted: there is not enough in one of them, or as many calls as may be are on their way.
    """
    if not asked.deployment:
        return
    limits = {"at_once": asked.rates.at_once, "requests": asked.rates.requests, "tokens": asked.rates.tokens}
    limited = {metric: limit for metric, limit in limits.items() if limit is not None}
    rows = _locked(connection, asked.deployment, limited, now)
    for metric, row in rows.items():
        if row["shut_until"] > now:
            _refuse(asked, metric, (row["shut_until"] - now) / 1000)
    if "at_once" in limited:
        on_their_way = connection.execute(_ON_THEIR_WAY, {"of": asked.deployment, "itself": short(asked.id)})
        if on_their_way.scalar_one() >= calls_at_once(limited["at_once"], batch=asked.batch):
            _refuse(asked, "at_once", ENDS_S)
    for metric, need in (("requests", 1), ("tokens", asked.tokens)):
        if metric in limited:
            bucket = _bucket(rows[metric]).at(now, limited[metric])
            if (wait_s := bucket.wait_s(need, batch=asked.batch)) > 0:
                _refuse(asked, metric, wait_s)
            _save(connection, asked.deployment, metric, replace(bucket, level=bucket.level - need))


def give_back(connection: Connection, deployment: str, *, requests: int, tokens: int) -> None:
    """Put back what a call took and did not use; negative where it used more."""
    for metric, count in (("requests", requests), ("tokens", tokens)):
        if count and deployment:
            connection.execute(_ADD, {"of": deployment, "by": metric, "more": float(count)})


def correct(
    connection: Connection, deployment: str, remaining: dict[str, int | None], reset_s: float | None, now: int
) -> None:
    """Lower buckets to what the provider says is left; where that is nothing, shut them until it says there is more."""
    known = {metric: count for metric, count in remaining.items() if count is not None}
    used_up = {metric: 0 for metric, count in known.items() if count <= 0 and reset_s is not None and reset_s > 0}
    for metric, row in _locked(connection, deployment, used_up, now).items():
        if metric not in known:
            continue
        bucket = _bucket(row).at(now, row["most"])
        shut_s = min(reset_s or 0.0, LONGEST_SHUT_S) if metric in used_up else 0.0
        lower = replace(bucket, level=min(bucket.level, float(known[metric])))
        _save(connection, deployment, metric, lower, shut_until=max(row["shut_until"], now + round(shut_s * 1000)))


def _locked(connection: Connection, deployment: str, limits: dict[str, int], now: int) -> dict[str, Any]:
    """Lock the buckets of a deployment, in the order of their names, and give them; full ones are made for `limits`."""
    of = {"of": deployment}
    rows = {row["metric"]: row for row in connection.execute(_BUCKETS, of).mappings()}
    if missing := sorted(limits.keys() - rows.keys()):
        for metric in missing:
            full = {"level": float(limits[metric]), "most": limits[metric], "updated_at": now, "shut_until": 0}
            insert_new(connection, RATES, {"deployment": deployment, "metric": metric, **full})
        rows = {row["metric"]: row for row in connection.execute(_BUCKETS, of).mappings()}
    return rows


def _bucket(row: Any) -> Bucket:
    return Bucket(row["level"], row["most"], row["updated_at"])


def _save(connection: Connection, deployment: str, metric: str, bucket: Bucket, *, shut_until: int = 0) -> None:
    values = {"level": bucket.level, "most": bucket.most, "updated_at": bucket.updated_at, "shut_until": shut_until}
    connection.execute(_SAVE, {"of": deployment, "by": metric, **values})


def _refuse(asked: Admission, metric: str, retry_after_s: float) -> None:
    named = {"at_once": "calls at once", "requests": "requests per minute", "tokens": "tokens per minute"}[metric]
    raise NotAdmitted(Refused("rate", f"{named} of {asked.deployment}", retry_after_s))
