"""The shell around the pure core: Temporal workflows, and the only code that imports `temporalio.workflow`.

run -> step(graph, state, input) -> effects -> perform -> activities, timers, children -> step -> ...
"""

from .agent import AgentRun
from .log import RecordBacklog
from .run import GraphRun
from .window import IterationWindow

WORKFLOWS = (GraphRun, AgentRun, IterationWindow, RecordBacklog)

__all__ = ["WORKFLOWS", "AgentRun", "GraphRun", "IterationWindow", "RecordBacklog"]
