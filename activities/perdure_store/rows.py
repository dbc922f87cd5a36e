"""Rows of the store as what readers get, with what only shows when rows are put side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import RowMapping, select
from sqlalchemy.ext.asyncio import AsyncConnection

from .derived_ends import UNFINISHED, End, Place, containers, ended_inside
from .records import NodeRecord, RunRecord, WaitRecord
from .tables import NODES


def run_record(row: RowMapping) -> RunRecord:
    """Give a run as readers get it."""
    known = dict(row)
    return RunRecord.model_validate(
        known
        | {
            "inputs": row["inputs"] or {},
            "outputs": row["outputs"] or {},
            "events": row["last_position"],
        }
    )


def ends_of(rows: Iterable[RowMapping]) -> Mapping[Place, End]:
    """Give the ends of the nodes of a run, by place."""
    return {
        (row["scope"], row["frame"], row["node_id"]): End(row["seq"], row["finished_at"])
        for row in rows
        if row["finished_at"] is not None
    }


def node_record(row: RowMapping, *, ended: bool, ends: Mapping[Place, End]) -> NodeRecord:
    """Give a node as readers get it; `cancelled` where it was open when the run, or a container around it, ended."""
    known = dict(row)
    if row["status"] in UNFINISHED and (ended or ended_inside(ends, row["scope"], row["frame"], row["seq"])):
        known["status"] = "cancelled"
    return NodeRecord.model_validate(known | {"inputs": row["inputs"] or {}, "outputs": row["outputs"] or {}})


async def ends_around(connection: AsyncConnection, rows: Iterable[RowMapping]) -> dict[str, dict[Place, End]]:
    """Find the ends of the containers around waits, by run."""
    wanted = {(row["run_id"], node) for row in rows for _, _, node in containers(row["scope"], row["frame"])}
    found: dict[str, dict[Place, End]] = {}
    if not wanted:
        return found
    c = NODES.c
    query = select(c.run_id, c.scope, c.frame, c.node_id, c.seq, c.finished_at).where(
        c.run_id.in_({run_id for run_id, _ in wanted}),
        c.node_id.in_({node for _, node in wanted}),
        c.finished_at.is_not(None),
    )
    for row in (await connection.execute(query)).mappings():
        of_run = found.setdefault(row["run_id"], {})
        of_run[row["scope"], row["frame"], row["node_id"]] = End(row["seq"], row["finished_at"])
    return found


def wait_record(row: RowMapping, ends: Mapping[Place, End]) -> WaitRecord:
    """Give a wait as readers get it; closed where the run, or a container around it, has ended."""
    known = dict(row)
    if row["opened_seq"] > row["closed_seq"]:
        known |= {"closed_at": None, "how": None}
        if (end := ended_inside(ends, row["scope"], row["frame"], row["opened_seq"])) is not None:
            known |= {"closed_at": end.at, "how": "dropped"}
        elif row["finished_at"] is not None:
            known |= {"closed_at": row["finished_at"], "how": "ended"}
    return WaitRecord.model_validate(known | {"asked": row["asked"] or {}})
