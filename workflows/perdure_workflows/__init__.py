"""The shell around the pure core: Temporal workflows, and the only code that imports `temporalio.workflow`.

GraphRun.run -> step(graph, state, input) -> effects -> perform -> activities, timers -> step -> ...
"""

from .run import GraphRun

WORKFLOWS = (GraphRun,)

__all__ = ["WORKFLOWS", "GraphRun"]
