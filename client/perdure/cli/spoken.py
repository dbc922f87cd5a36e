"""The answer while a model writes it, for people: as a text that changes, or as lines that are only appended."""

from __future__ import annotations

from typing import IO

from perdure_graph.events import Event, TextChunk, TextRewind

_MARGIN = "  | "


class Spoken:
    """The answer so far. `live` says whether some of it came while it was written: the rest is shown at the end."""

    def __init__(self) -> None:
        self.text = ""
        self.live = False

    def take(self, event: Event) -> None:
        """Take in an event."""
        match event:
            case TextChunk():
                self.text += event.text
                self.live = self.live or event.live
            case TextRewind():
                self.text = self.text[: event.to]
            case _:
                pass


class Lines:
    """Writes live text as it comes, in lines with a margin, and marks where some of it is taken back."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._inside = False
        self._live = False

    def take(self, event: Event) -> None:
        """Take in an event; text that was not written live is left to the end of the run."""
        match event:
            case TextChunk() if event.live or (self._live and not event.frame):
                self._write(event.text)
                self._live = event.live
            case TextRewind() if self._live:
                self.end()
                self._stream.write(f"{_MARGIN}[taken back: the answer goes on from its character {event.to}]\n")
                self._stream.flush()
                self._live = False
            case _:
                pass

    def end(self) -> None:
        """End the line, before something else is written."""
        if self._inside:
            self._stream.write("\n")
            self._inside = False

    def _write(self, text: str) -> None:
        for line in text.splitlines(keepends=True):
            margin = "" if self._inside else _MARGIN
            self._stream.write(margin + line)
            self._inside = not line.endswith("\n")
        self._stream.flush()
