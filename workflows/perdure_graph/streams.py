"""What the log says of streams, for those who read it: which one is open after some events."""

from __future__ import annotations

from collections.abc import Sequence

from .events import Event, NodeFinished, NodeHeld, NodeRetry, RunFinished, TextChunk, TextStream


def closes(event: Event, stream: TextStream) -> bool:
    """Whether no more is written to a stream after an event: its text has come, or never will."""
    match event:
        case TextChunk():
            return not event.frame
        case NodeFinished() | NodeHeld() | NodeRetry():
            return not event.frame and event.node_id == stream.node_id
        case TextStream() | RunFinished():
            return True
        case _:
            return False


def open_stream(events: Sequence[Event]) -> TextStream | None:
    """Give the stream that is open after events, as far as they tell; its `start` as it is by then."""
    after: list[Event] = []
    for event in reversed(events):
        if isinstance(event, TextStream):
            moved = sum(len(later.text) for later in after if isinstance(later, TextChunk))
            ended = any(closes(later, event) for later in after)
            return None if ended else event.model_copy(update={"start": event.start + moved})
        if isinstance(event, RunFinished) or (isinstance(event, TextChunk) and not event.frame):
            return None
        after.append(event)
    return None
