"""Every side effect of a run: one activity per kind of effect, each takes one frozen request and returns one reply.

The contracts (name, request, reply) are declared in `perdure_graph.effects` and `perdure_graph.models.effects`.
"""

from __future__ import annotations

from .code import run_code
from .http import send_http
from .models.activity import invoke_model
from .record import record_events
from .template import render_template

ACTIVITIES = (record_events, render_template, run_code, send_http, invoke_model)

__all__ = ["ACTIVITIES", "invoke_model", "record_events", "render_template", "run_code", "send_http"]
