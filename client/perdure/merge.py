"""Text that is read while it is written, put between the recorded events: the rules, without where either is from.

A reader who appends the text of every `text_chunk` and cuts at every `text_rewind` ends with the recorded answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from perdure_graph.events import Event, TextChunk, TextRewind, TextStream
from perdure_graph.sizes import was_cut
from perdure_graph.streams import closes

_SIZE_ONLY = re.compile(r"[\d,]+ bytes")


class Piece(Protocol):
    """A batch of an answer's text on its way, see `perdure_store.ledger_records.DeltaRow`."""

    @property
    def key(self) -> str:
        """Effect that writes it."""
        ...

    @property
    def epoch(self) -> int:
        """Attempt of the effect; a later one replaces all before it."""
        ...

    @property
    def n(self) -> int:
        """Number within the epoch, from 0."""
        ...

    @property
    def offset(self) -> int:
        """Place in the text of the epoch."""
        ...

    @property
    def text(self) -> str:
        """The text."""
        ...

    @property
    def done(self) -> bool:
        """Whether it is the last."""
        ...


@dataclass(frozen=True, slots=True)
class Cursor:
    """Which pieces are wanted: of an effect, after number `n` of an epoch. Nothing without a key."""

    key: str = ""
    epoch: int = 0
    n: int = -1


class Merge:
    """What a reader was shown.

    cursor: what of the open stream is to be read next.
    whole: whether all of its text is there.
    """

    def __init__(self, after: int = 0) -> None:
        self.cursor = Cursor()
        self.whole = False
        self._seq = after
        self._at = 0
        # Characters of the answer without those of the open stream; None while unknown.
        self._said: int | None = None if after else 0
        self._stream: TextStream | None = None
        self._shown = ""

    def resume(self, stream: TextStream) -> list[Event]:
        """Go on in the middle of a stream, of which nobody knows how much was shown."""
        self._at, self._said = stream.at, stream.start
        self._open(stream)
        return [self._rewind(stream, 0)]

    def event(self, event: Event) -> list[Event]:
        """Give what a recorded event means for the reader: always itself, with what it changes before and after it."""
        before: list[Event] = []
        stream = self._stream
        if stream is not None and isinstance(event, TextChunk) and event.frame:
            # The recorded answer has it before all of what is still on its way.
            shown = self._shown
            before, self._shown = self._dropped(stream), shown
            self._follow(event)
            return [*before, event, *([self._live(stream, 0, shown)] if shown else [])]
        if stream is not None and closes(event, stream):
            if isinstance(event, TextChunk) and event.selector == stream.selector:
                before, event = self._settled(stream, event)
            else:
                before = self._dropped(stream)
            self._close()
        self._follow(event)
        if isinstance(event, TextStream):
            self._said = event.start if self._said is None else self._said
            self._open(event)
        return [*before, event]

    def pieces(self, found: Sequence[Piece], at: int = 0) -> list[Event]:
        """Give what pieces, in order, add to what was shown. Those that come again add nothing; gaps are waited for.

        at: what time it is.
        """
        stream = self._stream
        if stream is None:
            return []
        self._at = max(self._at, at)
        wanted = [piece for piece in found if piece.key == stream.key and piece.epoch >= self.cursor.epoch]
        newest = max((piece.epoch for piece in wanted), default=0)
        out: list[Event] = []
        if newest > self.cursor.epoch:
            out += self._dropped(stream)
            self.cursor, self.whole = Cursor(stream.key, newest), False
        text, begun = self._add(piece for piece in wanted if piece.epoch == newest), len(self._shown)
        if text:
            self._shown += text
            out.append(self._live(stream, begun, text))
        return out

    def _add(self, pieces: Iterable[Piece]) -> str:
        text, place = "", len(self._shown)
        for piece in pieces:
            if piece.n <= self.cursor.n:
                continue
            if piece.n > self.cursor.n + 1 or piece.offset > place:
                break
            new = piece.text[place - piece.offset :]
            text, place = text + new, place + len(new)
            self.cursor = Cursor(piece.key, piece.epoch, piece.n)
            self.whole = piece.done
        return text

    def _settled(self, stream: TextStream, event: TextChunk) -> tuple[list[Event], TextChunk]:
        """Give the recorded text of a stream as far as it was not shown."""
        if not self._shown:
            return [], event
        # Of a text that is too large for an event only a preview is recorded; what was shown is more.
        text = self._shown if self.whole and _is_preview(event.text) else event.text
        kept = _in_common(self._shown, text)
        before: list[Event] = [] if kept == len(self._shown) else [self._rewind(stream, kept)]
        self._said = self._start + kept
        return before, event.model_copy(update={"text": text[kept:], "offset": self._said})

    def _follow(self, event: Event) -> None:
        self._seq, self._at = event.seq, event.at
        if isinstance(event, TextChunk) and self._said is not None:
            self._said += len(event.text)

    def _open(self, stream: TextStream) -> None:
        self._stream, self._shown, self.whole = stream, "", False
        self.cursor = Cursor(stream.key)

    def _close(self) -> None:
        self._stream, self._shown, self.whole = None, "", False
        self.cursor = Cursor()

    @property
    def _start(self) -> int:
        return self._said or 0

    def _dropped(self, stream: TextStream) -> list[Event]:
        if not self._shown:
            return []
        self._shown = ""
        return [self._rewind(stream, 0)]

    def _rewind(self, stream: TextStream, keep: int) -> TextRewind:
        to = self._start + keep
        return TextRewind(seq=self._seq, at=self._at, node_id=stream.node_id, selector=stream.selector, to=to)

    def _live(self, stream: TextStream, place: int, text: str) -> TextChunk:
        return TextChunk(
            seq=self._seq,
            at=self._at,
            node_id=stream.node_id,
            text=text,
            selector=stream.selector,
            live=True,
            offset=self._start + place,
        )


def _is_preview(text: str) -> bool:
    return was_cut(text) or _SIZE_ONLY.fullmatch(text) is not None


def _in_common(one: str, other: str) -> int:
    if other.startswith(one):
        return len(one)
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(other))
