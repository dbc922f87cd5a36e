"""Run by alembic: migrations go through the connection, and the transaction, of whoever asked for them."""

from __future__ import annotations

from alembic import context

from perdure_store.migrate import VERSION_TABLE
from perdure_store.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=VERSION_TABLE,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
