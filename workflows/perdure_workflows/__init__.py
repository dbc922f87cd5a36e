"""The shell around the pure core: Temporal workflows, and the only code that imports `temporalio.workflow`.

GraphRun.run -> step(graph, state, input) -> effects -> perform -> activities, timers, windows -> step -> ...
"""

from .log import RecordBacklog
from .run import GraphRun
from .window import IterationWindow

WORKFLOWS = (GraphRun, IterationWindow, RecordBacklog)

__all__ = ["WORKFLOWS", "GraphRun", "IterationWindow", "RecordBacklog"]
