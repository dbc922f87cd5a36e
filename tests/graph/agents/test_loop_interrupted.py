"""Calls whose worker was lost: an operator is asked, or the model is told, as the tool has it."""

from __future__ import annotations

import pytest

from perdure_graph.agents.config import ToolUse
from perdure_graph.agents.effects import Opening
from perdure_graph.agents.loop_calls import again
from perdure_graph.agents.loop_results import came
from perdure_graph.agents.loop_state import AgentState, CallState, Making
from perdure_graph.agents.tools import Interrupted, ToolFacts, Toolset
from perdure_graph.models.messages import UserMessage
from perdure_graph.nodes.base import Failed
from perdure_graph.options import RetryClass

from .looping import config


def running(interrupted: Interrupted, retry: RetryClass = "never") -> Making:
    use = ToolUse(provider_type="mcp", provider_id="desk", tool_name="book")
    facts = ToolFacts(name="book", use=use, retry=retry, interrupted=interrupted)
    query = UserMessage(content=())
    opening = Opening(strategy="function_calling", toolset=Toolset(facts=(facts,)), query=query)
    call = CallState(id="c1", name="book", arguments={}, status="running", made=True)
    return Making(
        config(), AgentState(thread="t", query=query, opening=opening, phase="calling", round=1, calls=[call])
    )


def test_the_model_is_told() -> None:
    m = running("tell")
    came(m, "r1.c0", Failed("no heartbeat", "HeartbeatTimeout", interrupted=True))
    [call] = m.state.calls
    assert (call.status, call.error_kind, call.error) == ("failed", "session_lost", "no heartbeat")
    assert "session with the MCP server 'desk'" in call.observation and not m.wait
    m = running("tell")
    again(m)
    assert m.state.calls[0].error_kind == "session_lost" and not m.wait and not m.perform


def test_an_operator_is_asked() -> None:
    m = running("ask")
    came(m, "r1.c0", Failed("no heartbeat", "HeartbeatTimeout", interrupted=True))
    assert m.state.calls[0].status == "waiting" and len(m.wait) == 1


@pytest.mark.parametrize("retry", ["safe", "keyed"])
def test_what_may_be_repeated_is_no_question(retry: RetryClass) -> None:
    m = running("tell", retry)
    again(m)
    assert len(m.perform) == 1 and m.state.calls[0].status == "running"
