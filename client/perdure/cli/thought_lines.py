"""What an agent thinks and does, as lines for people: each thought, call and observation once, cut to one line."""

from __future__ import annotations

import json
from typing import Any

from perdure_graph.events import AgentLimit, AgentLog, AgentThought, Event

WIDTH = 240
_OVER = ("done", "failed")


class ThoughtLines:
    """Makes lines of the events of agents; a round is told several times, so it knows what it has said."""

    def __init__(self) -> None:
        self._said: set[tuple[str, ...]] = set()

    def take(self, event: Event) -> list[str]:
        """Give the lines that an event adds."""
        match event:
            case AgentThought():
                return self._thought(event)
            case AgentLog():
                return _unlike(event)
            case AgentLimit():
                return [f"  {event.title}: {event.reason}: {cut(event.note)}"]
            case _:
                return []

    def _thought(self, event: AgentThought) -> list[str]:
        lines: list[str] = []
        name = f"{event.title}, round {event.position}"
        # The last round is the answer, which is shown as such.
        if event.thought and not event.answer and self._first(event, "thought"):
            lines.append(f"  {name}: {cut(event.thought)}")
        for call in event.calls:
            key, tool = str(call.get("id")), str(call.get("name"))
            if self._first(event, key, "asked"):
                lines.append(f"  {name}: {tool}({cut(shown(call.get('arguments')))})")
            if call.get("status") in _OVER and self._first(event, key, "over"):
                lines.append(f"  {name}: {tool} {observed(call)}")
        return lines

    def _first(self, event: AgentThought, *what: str) -> bool:
        key = (event.thread, event.id, *what)
        if key in self._said:
            return False
        self._said.add(key)
        return True


def _unlike(event: AgentLog) -> list[str]:
    """Say what is not as the agent's configuration wants it; the rest of the log says what thoughts say too."""
    lines = [f"  {event.title}: {cut(str(event.data['fallback']))}"] if event.data.get("fallback") else []
    for tool, why in event.data.get("skipped_tools", {}).items():
        lines.append(f"  {event.title}: without tool {tool!r}: {cut(str(why))}")
    return lines


def observed(call: dict[str, Any]) -> str:
    """Say what a call gave."""
    seconds = f" after {call['elapsed']:.1f} s" if call.get("elapsed") else ""
    if call.get("status") == "failed":
        return f"failed{seconds}: {cut(str(call.get('error') or call.get('observation') or ''))}"
    return f"gave{seconds}: {cut(str(call.get('observation') or ''))}"


def shown(arguments: Any) -> str:
    """Write arguments as the model gave them."""
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


def cut(text: str, width: int = WIDTH) -> str:
    """Write a text on one line, its beginning where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[: width - 3]}..."
