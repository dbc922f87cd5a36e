"""Names on the wire: what any Temporal client, the CLI and the UI may rely on. Plain strings, no imports."""

from __future__ import annotations

from typing import Final, Literal

TASK_QUEUE: Final = "perdure"
NAMESPACE: Final = "default"
WORKFLOW_TYPE: Final = "GraphRun"
WINDOW_TYPE: Final = "IterationWindow"
AGENT_TYPE: Final = "AgentRun"
LOG_TYPE: Final = "RecordEvents"

PAUSE: Final = "pause"
RESUME: Final = "resume"
STOP: Final = "stop"
SUBMIT: Final = "submit"
SET_VARIABLES: Final = "set_variables"
RETRY: Final = "retry"
APPROVE: Final = "approve"
DENY: Final = "deny"

WINDOW_REST: Final = "window_rest"
CHILD_NEWS: Final = "child_news"

COMMANDS: Final = (PAUSE, RESUME, STOP, SUBMIT, SET_VARIABLES, RETRY, APPROVE, DENY)

STATUS: Final = "status"
EVENTS: Final = "events"
VARIABLES: Final = "variables"
OUTCOMES: Final = "outcomes"
GIVEN: Final = "given"

QUERIES: Final = (STATUS, EVENTS, VARIABLES, OUTCOMES, GIVEN)

GRAPH_ATTRIBUTE: Final = "PerdureGraph"
STATUS_ATTRIBUTE: Final = "PerdureStatus"
GRAPH_HASH_ATTRIBUTE: Final = "PerdureGraphHash"
WAITING_ON_ATTRIBUTE: Final = "PerdureWaitingOn"

AttributeType = Literal["Keyword", "KeywordList"]

SEARCH_ATTRIBUTES: Final[dict[str, AttributeType]] = {
    GRAPH_ATTRIBUTE: "Keyword",
    STATUS_ATTRIBUTE: "Keyword",
    GRAPH_HASH_ATTRIBUTE: "Keyword",
    WAITING_ON_ATTRIBUTE: "KeywordList",
}

NODE_PLUGINS: Final = "perdure.nodes"
ACTIVITY_PLUGINS: Final = "perdure.activities"
TOOL_PLUGINS: Final = "perdure.tools"
