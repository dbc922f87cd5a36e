"""The contract between the node and its activity."""

from __future__ import annotations

from perdure_graph.effects import Effect, Reply


class BenchReply(Reply):
    """The text that was sent."""

    text: str


class BenchNoop(Effect):
    """Send a text to a worker and back, after `wait_s` seconds."""

    activity = "bench_noop"
    effect_class = "io"
    reply = BenchReply

    text: str = ""
    wait_s: float = 0.0
