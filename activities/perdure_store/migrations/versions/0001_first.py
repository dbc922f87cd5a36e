"""Runs, node executions, events, waits, blobs and kept results."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _text(name: str, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Text(), nullable=null)


def _big(name: str, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger(), nullable=null)


def _json(name: str, *, null: bool = True) -> sa.Column[Any]:
    return sa.Column(name, sa.JSON(), nullable=null)


def _of_run(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=f"fk_{table}_run_id", ondelete="CASCADE")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "runs",
        *(_text(name) for name in ("id", "graph", "graph_hash", "user", "tenant", "status")),
        _json("inputs"),
        _json("outputs"),
        *(_text(name, null=True) for name in ("error", "error_type", "error_node", "forked_from")),
        _big("started_at", null=True),
        _big("finished_at", null=True),
        sa.Column("elapsed", sa.Float(), nullable=True),
        *(_big(name) for name in ("steps", "exceptions", "seq", "started_seq", "last_seq", "last_position")),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
    )
    op.create_index("ix_runs_started_at_id", "runs", ["started_at", "id"])
    op.create_index("ix_runs_graph_started_at", "runs", ["graph", "started_at"])
    op.create_index("ix_runs_finished_at", "runs", ["finished_at"])
    op.create_table(
        "node_executions",
        *(_text(name) for name in ("run_id", "scope", "frame", "node_id", "title", "type", "status")),
        _json("inputs"),
        _json("outputs"),
        *(_text(name, null=True) for name in ("handle", "error", "error_type")),
        _big("started_at", null=True),
        _big("finished_at", null=True),
        sa.Column("elapsed", sa.Float(), nullable=True),
        _big("attempts"),
        sa.Column("cached", sa.Boolean(), nullable=False),
        sa.Column("reused", sa.Boolean(), nullable=False),
        _big("seq"),
        sa.PrimaryKeyConstraint("run_id", "scope", "frame", "node_id", name="pk_node_executions"),
        _of_run("node_executions"),
    )
    op.create_table(
        "events",
        _text("run_id"),
        _text("scope"),
        *(_big(name) for name in ("seq", "position", "at")),
        *(_text(name) for name in ("type", "node_id", "frame")),
        _json("data", null=False),
        sa.PrimaryKeyConstraint("run_id", "scope", "seq", name="pk_events"),
        sa.UniqueConstraint("run_id", "position", name="uq_events_run_id_position"),
        _of_run("events"),
    )
    op.create_table(
        "waits",
        *(_text(name) for name in ("run_id", "scope", "key", "kind", "node_id", "title", "frame")),
        _json("asked"),
        _big("opened_at", null=True),
        _big("expires_at", null=True),
        _big("opened_seq"),
        _big("closed_at", null=True),
        _text("how", null=True),
        _big("closed_seq"),
        sa.PrimaryKeyConstraint("run_id", "scope", "key", "kind", name="pk_waits"),
        _of_run("waits"),
    )
    op.create_table(
        "blobs",
        _text("run_id"),
        _text("key"),
        _big("bytes"),
        _big("created_at"),
        sa.PrimaryKeyConstraint("run_id", "key", name="pk_blobs"),
    )
    op.create_index("ix_blobs_key", "blobs", ["key"])
    op.create_table(
        "results",
        *(_text(name) for name in ("scope", "key", "run_id")),
        _json("reply", null=False),
        _big("created_at"),
        _big("expires_at"),
        sa.PrimaryKeyConstraint("scope", "key", name="pk_results"),
    )
    op.create_index("ix_results_expires_at", "results", ["expires_at"])
    op.create_index("ix_results_run_id", "results", ["run_id"])


def downgrade() -> None:
    """Drop them, with everything in them."""
    for table in ("results", "blobs", "waits", "events", "node_executions", "runs"):
        op.drop_table(table)
