"""Threads of agents, and what they remember of users."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def _text(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Text(), nullable=False)


def _big(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger(), nullable=False)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "thread_messages",
        _text("thread"),
        _big("position"),
        _text("run_id"),
        sa.Column("message", sa.JSON(), nullable=False),
        _big("created_at"),
        sa.PrimaryKeyConstraint("thread", "position", name="pk_thread_messages"),
    )
    op.create_index("ix_thread_messages_run_id", "thread_messages", ["run_id"])
    op.create_table(
        "memories",
        *(_text(name) for name in ("id", "tenant", "user", "agent", "fact")),
        *(_big(name) for name in ("created_at", "updated_at")),
        sa.PrimaryKeyConstraint("id", name="pk_memories"),
    )
    columns = ["tenant", "user", "agent", "updated_at"]
    op.create_index("ix_memories_tenant_user_agent_updated_at", "memories", columns)


def downgrade() -> None:
    """Drop the tables, with everything in them."""
    op.drop_table("memories")
    op.drop_table("thread_messages")
