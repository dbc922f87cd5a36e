"""The ledger of model calls; conversations of runs."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_NEW = ("conversation_id", "query")


def _text(name: str, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Text(), nullable=null)


def _big(name: str, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger(), nullable=null)


def _json(name: str, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.JSON(), nullable=null)


def _float(name: str, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Float(), nullable=null)


def _bool(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Boolean(), nullable=False)


def upgrade() -> None:
    """Make the tables, and add the columns to runs."""
    _upgrade_runs()
    op.create_table(
        "model_answers",
        *(_text(name) for name in ("key", "run_id")),
        _json("answer"),
        _big("created_at"),
        sa.PrimaryKeyConstraint("key", name="pk_model_answers"),
    )
    op.create_index("ix_model_answers_run_id", "model_answers", ["run_id"])
    _usage()
    op.create_table(
        "model_reservations",
        *(_text(name) for name in ("id", "effect_key")),
        _big("attempt"),
        *(_text(name) for name in ("run_id", "deployment")),
        _json("scopes"),
        *(_big(name) for name in ("money", "tokens", "expires_at")),
        _json("if_lost", null=True),
        sa.PrimaryKeyConstraint("id", name="pk_model_reservations"),
    )
    for column in ("effect_key", "deployment", "expires_at"):
        op.create_index(f"ix_model_reservations_{column}", "model_reservations", [column])
    op.create_table(
        "model_spending",
        _text("scope"),
        *(_big(name) for name in ("money", "tokens", "reserved_money", "reserved_tokens")),
        _text("run_id", null=True),
        _big("ends_at", null=True),
        _big("created_at"),
        sa.PrimaryKeyConstraint("scope", name="pk_model_spending"),
    )
    op.create_table(
        "model_rates",
        *(_text(name) for name in ("deployment", "metric")),
        _float("level"),
        *(_big(name) for name in ("most", "updated_at", "shut_until")),
        sa.PrimaryKeyConstraint("deployment", "metric", name="pk_model_rates"),
    )
    op.create_table(
        "model_health",
        _text("deployment"),
        _big("open_until"),
        _text("kind", null=True),
        *(_big(name) for name in ("streak", "trips", "probe_until")),
        _json("recent"),
        _big("updated_at"),
        sa.PrimaryKeyConstraint("deployment", name="pk_model_health"),
    )
    op.create_table(
        "model_deltas",
        *(_text(name) for name in ("run_id", "scope", "key")),
        *(_big(name) for name in ("epoch", "n")),
        *(_text(name) for name in ("node_id", "frame", "selector")),
        _big("offset"),
        _json("text"),
        _bool("done"),
        _big("at"),
        sa.PrimaryKeyConstraint("run_id", "scope", "key", "epoch", "n", name="pk_model_deltas"),
    )
    op.create_table(
        "credentials",
        *(_text(name) for name in ("name", "provider")),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        _text("shown"),
        *(_big(name) for name in ("created_at", "updated_at")),
        sa.PrimaryKeyConstraint("name", name="pk_credentials"),
    )


def _usage() -> None:
    op.create_table(
        "model_usage",
        *(_text(name) for name in ("id", "run_id", "scope", "key", "node_id", "flow", "user", "tenant")),
        *(_text(name) for name in ("provider", "model", "deployment")),
        _big("attempt"),
        _text("outcome"),
        _text("fault", null=True),
        *(_big(f"{name}_tokens") for name in ("prompt", "completion", "cache_read", "cache_write", "reasoning")),
        _bool("estimated"),
        *(_text(name) for name in ("price", "currency", "price_source", "price_version")),
        _float("latency"),
        _float("first_delta", null=True),
        _text("request_id"),
        _bool("simulated"),
        *(_big(name) for name in ("at", "money", "spent")),
        _bool("lost"),
        _json("scopes", null=True),
        sa.PrimaryKeyConstraint("id", name="pk_model_usage"),
    )
    op.create_index("ix_model_usage_run_id", "model_usage", ["run_id"])
    op.create_index("ix_model_usage_tenant_at", "model_usage", ["tenant", "at"])
    op.create_index("ix_model_usage_at", "model_usage", ["at"])


def _upgrade_runs() -> None:
    if op.get_bind().dialect.name == "sqlite":
        _remake_runs(_NEW)
    else:
        for name in _NEW:
            op.add_column("runs", sa.Column(name, sa.Text(), nullable=False, server_default=""))
            op.alter_column("runs", name, server_default=None)
    op.create_index("ix_runs_conversation_id_started_at", "runs", ["conversation_id", "started_at"])


def _remake_runs(new: tuple[str, ...]) -> None:
    """Make the table anew: SQLite would append a column behind the constraints, or drop none that has an index.

    Foreign keys are off while migrations run, so that the rows of runs stay where they are.
    """
    op.execute("CREATE TABLE runs_before AS SELECT * FROM runs")
    op.drop_table("runs")
    op.create_table(
        "runs",
        *(_text(name) for name in ("id", "graph", "graph_hash", "user", "tenant", "status")),
        _json("inputs", null=True),
        _json("outputs", null=True),
        *(_text(name, null=True) for name in ("error", "error_type", "error_node", "forked_from")),
        _big("started_at", null=True),
        _big("finished_at", null=True),
        _float("elapsed", null=True),
        *(_big(name) for name in ("steps", "exceptions", "seq", "started_seq", "last_seq", "last_position")),
        *(_text(name) for name in new),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
    )
    old = (
        "id, graph, graph_hash, user, tenant, status, inputs, outputs, error, error_type, error_node, forked_from, "
        "started_at, finished_at, elapsed, steps, exceptions, seq, started_seq, last_seq, last_position"
    )
    names, values = "".join(f", {name}" for name in new), ", ''" * len(new)
    op.execute(f"INSERT INTO runs ({old}{names}) SELECT {old}{values} FROM runs_before")  # noqa: S608 - constants
    op.drop_table("runs_before")
    op.create_index("ix_runs_started_at_id", "runs", ["started_at", "id"])
    op.create_index("ix_runs_graph_started_at", "runs", ["graph", "started_at"])
    op.create_index("ix_runs_finished_at", "runs", ["finished_at"])


def downgrade() -> None:
    """Drop the tables and the columns, with everything in them."""
    for table in ("credentials", "model_deltas", "model_health", "model_rates", "model_spending"):
        op.drop_table(table)
    for table in ("model_reservations", "model_usage", "model_answers"):
        op.drop_table(table)
    if op.get_bind().dialect.name == "sqlite":
        _remake_runs(())
        return
    op.drop_index("ix_runs_conversation_id_started_at", "runs")
    for name in reversed(_NEW):
        op.drop_column("runs", name)
