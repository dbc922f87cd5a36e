"""Alembic migrations of the run store; `perdure_store.migrate` runs them."""
