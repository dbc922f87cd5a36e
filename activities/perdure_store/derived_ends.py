"""What ended without an event of its own: whatever was open inside a run, or inside a container, when that ended.

Asked when rows are read, not written: so it is right in whatever order events are recorded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

UNFINISHED = ("running", "retrying", "waiting", "held")

Place = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class End:
    """When something ended: the number of the event in its scope, and its time."""

    seq: int
    at: int


def containers(scope: str, frame: str) -> Iterator[Place]:
    """Give the containers around a frame, innermost first, as (scope, frame, node).

    A frame is `it[3].inner[0].`; a window is the scope `it[50-99]` of a container that stands at the top of the run.
    """
    while frame:
        opening = frame.rindex("[")
        parent = frame.rfind("].", 0, opening)
        around = frame[: parent + 2] if parent >= 0 else ""
        node = frame[len(around) : opening]
        yield ("" if not around else scope, around, node)
        frame = around


def ended_inside(ends: Mapping[Place, End], scope: str, frame: str, seq: int) -> End | None:
    """Find the end of a container around something whose last event is number `seq` of its scope."""
    for place in containers(scope, frame):
        end = ends.get(place)
        # Numbers of different scopes do not compare; a window does not outlive its iteration.
        if end is not None and (place[0] != scope or end.seq > seq):
            return end
    return None
