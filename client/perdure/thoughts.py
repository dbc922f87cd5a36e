"""What the agents of a run thought: the rounds of each, as told last."""

from __future__ import annotations

from collections.abc import Iterable

from perdure_graph.events import AgentThought, Event


def folded(events: Iterable[Event]) -> list[AgentThought]:
    """Give one thought for each round, its last state, in the order in which the rounds began."""
    rounds: dict[tuple[str, str], AgentThought] = {}
    for event in events:
        if isinstance(event, AgentThought):
            rounds[event.thread, event.id] = event
    return list(rounds.values())
