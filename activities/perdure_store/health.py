"""What all workers know of deployments together; the rules are in `perdure_graph.models.health`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, replace
from typing import Any

from sqlalchemy import Connection, delete, func, select

from perdure_graph.models.faults import FaultKind
from perdure_graph.models.health import Health, Span, after, as_of, is_half_open, is_open

from .ledger_tables import HEALTH, RESERVATIONS
from .statements import insert_new


def health(connection: Connection, deployments: Sequence[str], now: int) -> dict[str, Health]:
    """Give what is known of deployments."""
    query = select(HEALTH).where(HEALTH.c.deployment.in_(deployments))
    rows = {row["deployment"]: row for row in connection.execute(query).mappings()}
    calls = _on_their_way(connection, deployments, now)
    found = {name: _health(rows[name], now) if name in rows else Health(name) for name in deployments}
    return {name: as_of(replace(known, at_once=calls.get(name, 0)), now) for name, known in found.items()}


def note(
    connection: Connection,
    deployment: str,
    fault: FaultKind | None,
    retry_after_s: float | None,
    now: int,
    calls: int = 1,
) -> Health:
    """Note how a call ended, or several alike."""
    row = _locked(connection, deployment)
    at_once = _on_their_way(connection, (deployment,), now).get(deployment, 0)
    known = after(replace(_health(row, now), at_once=at_once), fault, retry_after_s, now, calls)
    values = {
        "open_until": known.open_until,
        "kind": known.kind,
        "streak": known.streak,
        "trips": known.trips,
        "probe_until": row["probe_until"] if known.probing else 0,
        "recent": {"burst": list(known.burst), "minute": [list(astuple(span)) for span in known.minute]},
        "updated_at": max(now, row["updated_at"]),
    }
    connection.execute(HEALTH.update().where(HEALTH.c.deployment == deployment).values(**values))
    return known


def probe(connection: Connection, deployment: str, lasts_s: float, now: int) -> bool:
    """Let one call try whether a deployment is well again; one that does not come back is followed by another."""
    row = (
        connection.execute(select(HEALTH).where(HEALTH.c.deployment == deployment).with_for_update()).mappings().first()
    )
    if row is None:
        return True
    known = _health(row, now)
    if not is_half_open(known, now):
        return not is_open(known, now)
    if known.probing:
        return False
    lasts = {"probe_until": now + round(lasts_s * 1000)}
    connection.execute(HEALTH.update().where(HEALTH.c.deployment == deployment).values(**lasts))
    return True


def forgive(connection: Connection, deployments: Sequence[str]) -> None:
    """Forget what is known of deployments."""
    connection.execute(delete(HEALTH).where(HEALTH.c.deployment.in_(deployments)))


def _locked(connection: Connection, deployment: str) -> Any:
    query = select(HEALTH).where(HEALTH.c.deployment == deployment).with_for_update()
    row = connection.execute(query).mappings().first()
    if row is None:
        zeros = dict.fromkeys(("open_until", "streak", "trips", "probe_until", "updated_at"), 0)
        insert_new(connection, HEALTH, {"deployment": deployment, "kind": None, "recent": {}, **zeros})
        row = connection.execute(query).mappings().one()
    return row


def _on_their_way(connection: Connection, deployments: Sequence[str], now: int) -> dict[str, int]:
    c = RESERVATIONS.c
    query = select(c.deployment, func.count().label("calls")).where(c.deployment.in_(deployments), c.expires_at > now)
    return {row.deployment: row.calls for row in connection.execute(query.group_by(c.deployment))}


def _health(row: Any, now: int) -> Health:
    recent = row["recent"]
    return Health(
        deployment=row["deployment"],
        open_until=row["open_until"],
        kind=row["kind"],
        streak=row["streak"],
        trips=row["trips"],
        probing=row["probe_until"] > now,
        burst=tuple(recent.get("burst", ())),
        minute=tuple(Span(*span) for span in recent.get("minute", ())),
    )
