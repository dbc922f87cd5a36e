"""Replies kept for equal requests: what counts as equal, and within what scope."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from perdure_graph.effects import Effect, EffectMeta
from perdure_graph.options import CacheScope

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

# Larger replies are not kept: the store is no place for files.
MAX_KEPT_BYTES = 1024 * 1024


def key_of(effect: Effect) -> str:
    """Name a request by all that it asks for."""
    text = json.dumps([effect.activity, effect.identity()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def scope_of(meta: EffectMeta, scope: CacheScope) -> str:
    """Name the runs that share a reply; those of different tenants never do."""
    parts = {"run": ["run", meta.run_id], "flow": ["flow", meta.tenant, meta.flow], "tenant": ["tenant", meta.tenant]}
    return json.dumps(parts[scope])


async def find(connection: AsyncConnection, scope: str, key: str, now: int) -> dict[str, Any] | None:
    """Find a reply that has not expired; times in milliseconds since the epoch."""
    from sqlalchemy import select

    from .tables import RESULTS

    c = RESULTS.c
    found = await connection.execute(select(c.reply).where(c.scope == scope, c.key == key, c.expires_at > now))
    return found.scalar_one_or_none()
