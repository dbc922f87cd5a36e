"""Every side effect of a run: one activity per kind of effect, each takes one frozen request and returns one reply.

The contracts (name, request, reply) are declared in `perdure_graph.effects`, `perdure_graph.models.effects` and
`perdure_graph.agents.effects`.
"""

from __future__ import annotations

from .agents.activity import ask_round, open_agent
from .code import run_code
from .http import send_http
from .models.activity import invoke_model
from .record import record_events
from .template import render_template
from .tools.activity import run_tool

ACTIVITIES = (record_events, render_template, run_code, send_http, invoke_model, open_agent, ask_round, run_tool)

__all__ = [
    "ACTIVITIES",
    "ask_round",
    "invoke_model",
    "open_agent",
    "record_events",
    "render_template",
    "run_code",
    "run_tool",
    "send_http",
]
