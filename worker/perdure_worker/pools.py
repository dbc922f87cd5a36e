"""Stop the child processes in which activities run user code."""

from __future__ import annotations

import inspect
import sys

SANDBOX = "perdure_activities.sandbox"


async def close_pools() -> None:
    """Close the sandbox's pools, if an activity of this process ever loaded it."""
    close = getattr(sys.modules.get(SANDBOX), "close_pools", None)
    if close is None:
        return
    closing = close()
    if inspect.isawaitable(closing):
        await closing
