"""The rules by which live text is put between recorded events: whatever comes when, the reader ends with the record."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from perdure.merge import Merge
from perdure_graph.events import Event, NodeFinished, NodeRetry, RunFinished, TextChunk, TextRewind, TextStream
from perdure_graph.streams import open_stream
from perdure_store.ledger_records import DeltaRow

WORDS = st.text(alphabet="abé🙂\n", min_size=1, max_size=4)


def row(key: str, epoch: int, n: int, offset: int, text: str, *, done: bool = False) -> DeltaRow:
    return DeltaRow("run", "", key, "a", "", "a.text", epoch, n, offset, text, done)


@dataclass
class Screen:
    """A reader who does as it is told, and nothing else."""

    text: str = ""
    seen: list[int] = field(default_factory=list[int])
    rewinds: int = 0

    def take(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, TextChunk):
                if event.live:
                    assert event.offset == len(self.text), "a piece goes where the text ends"
                self.text += event.text
            elif isinstance(event, TextRewind):
                assert event.to <= len(self.text)
                self.text = self.text[: event.to]
                self.rewinds += 1
            if isinstance(event, TextRewind) or getattr(event, "live", False):
                assert event.seq == (self.seen[-1] if self.seen else event.seq), "what is live has no number of its own"
            else:
                self.seen.append(event.seq)


def recorded(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextChunk))


@st.composite
def logs(draw: st.DrawFn) -> tuple[list[Event], dict[str, list[DeltaRow]]]:
    """A log with streams that end well, are tried again, or come to nothing; and what was written of each."""
    events: list[Event] = []
    rows: dict[str, list[DeltaRow]] = {}
    said = 0

    def add(kind: type[Event], **more: object) -> None:
        events.append(kind(seq=len(events) + 1, at=len(events), **more))  # type: ignore[call-arg]

    def chunk(text: str, selector: tuple[str, ...] = (), frame: str = "") -> None:
        nonlocal said
        said += len(text)
        add(TextChunk, node_id=selector[0] if selector else "answer", text=text, selector=selector, frame=frame)

    for index in range(draw(st.integers(1, 4))):
        about = {"node_id": "a", "title": "a", "node_type": "llm"}
        if draw(st.booleans()):
            chunk(draw(WORDS))
        key = f"a#{index}"
        add(TextStream, node_id="a", selector=("a", "text"), key=key, start=said)
        text = ""
        for epoch in range(1, draw(st.integers(1, 3)) + 1):
            pieces = draw(st.lists(WORDS, max_size=4))
            text = "".join(pieces)
            rows.setdefault(key, []).extend(
                row(key, epoch, n, len("".join(pieces[:n])), piece) for n, piece in enumerate(pieces)
            )
        for _ in range(draw(st.integers(0, 2))):
            chunk(draw(WORDS), frame="it[0].")
        match draw(st.sampled_from(["whole", "more", "other", "retry", "nothing", "replaced"])):
            case "whole" if text:
                chunk(text, ("a", "text"))
            case "more":
                chunk(text + draw(WORDS), ("a", "text"))
            case "other":
                chunk(draw(WORDS), ("a", "text"))
            case "retry":
                add(NodeRetry, **about, retry_index=1, error="e", error_type="E")
            case "replaced":
                pass
            case _:
                add(NodeFinished, **about, status="exception")
    add(RunFinished, status="succeeded", outputs={})
    return events, rows


@given(logs(), st.data())
def test_whatever_comes_when_the_text_ends_as_recorded(
    log: tuple[list[Event], dict[str, list[DeltaRow]]], data: st.DataObject
) -> None:
    events, rows = log
    merge, screen = Merge(), Screen()
    written: dict[str, int] = {}
    for event in events:
        screen.take(merge.event(event))
        assert screen.seen[-1] == event.seq
        for _ in range(data.draw(st.integers(0, 3))):
            key = merge.cursor.key
            if not key:
                break
            known = rows.get(key, [])
            written[key] = min(len(known), written.get(key, 0) + data.draw(st.integers(0, 3)))
            cursor = merge.cursor
            since = data.draw(st.sampled_from([(cursor.epoch, cursor.n), (0, -1)]))
            found = [one for one in known[: written[key]] if (one.epoch, one.n) > since]
            screen.take(merge.pieces(found))
            newest = max((one.epoch for one in known[: written[key]]), default=0)
            now = "".join(one.text for one in known[: written[key]] if one.epoch == newest)
            # All that is known of the newest attempt is on the screen, at its end.
            assert screen.text.endswith(now)
    assert screen.text == recorded(events)
    assert screen.seen == [event.seq for event in events]


@given(logs(), st.data())
def test_a_reader_who_comes_back_anywhere_loses_and_doubles_nothing(
    log: tuple[list[Event], dict[str, list[DeltaRow]]], data: st.DataObject
) -> None:
    events, rows = log
    left = data.draw(st.integers(1, len(events)))
    merge, screen = Merge(), Screen()
    for event in events[:left]:
        screen.take(merge.event(event))
        screen.take(merge.pieces(rows.get(merge.cursor.key, [])[: data.draw(st.integers(0, 9))]))
    again = Merge(left)
    if (stream := open_stream(events[:left])) is not None:
        screen.take(again.resume(stream))
        screen.take(again.pieces(rows.get(stream.key, [])))
    for event in events[left:]:
        screen.take(again.event(event))
        screen.take(again.pieces(rows.get(again.cursor.key, [])))
    assert screen.text == recorded(events)


STREAM = TextStream(seq=4, at=4, node_id="a", selector=("a", "text"), key="a", start=2)
BEFORE = TextChunk(seq=3, at=3, node_id="answer", text="12")


def begun() -> tuple[Merge, Screen]:
    merge, screen = Merge(), Screen()
    screen.take([*merge.event(BEFORE), *merge.event(STREAM)])
    return merge, screen


def test_a_gap_is_waited_for() -> None:
    merge, screen = begun()
    screen.take(merge.pieces([row("a", 1, 0, 0, "ab"), row("a", 1, 2, 4, "ef")]))
    assert screen.text == "12ab"
    screen.take(merge.pieces([row("a", 1, 1, 2, "cd"), row("a", 1, 2, 4, "ef")]))
    assert screen.text == "12abcdef"


def test_a_new_attempt_takes_back_once_and_late_pieces_of_the_old_one_are_nothing() -> None:
    merge, screen = begun()
    screen.take(merge.pieces([row("a", 1, 0, 0, "old")]))
    screen.take(merge.pieces([row("a", 2, 0, 0, "n")]))
    screen.take(merge.pieces([row("a", 1, 1, 3, "er"), row("a", 2, 1, 1, "ew")]))
    assert (screen.text, screen.rewinds) == ("12new", 1)


def test_of_the_recorded_text_only_the_rest_is_told() -> None:
    merge, screen = begun()
    screen.take(merge.pieces([row("a", 1, 0, 0, "abc")]))
    chunk = TextChunk(seq=5, at=5, node_id="a", selector=("a", "text"), text="abcdef")
    [rest] = merge.event(chunk)
    assert isinstance(rest, TextChunk)
    assert (rest.seq, rest.text, rest.live) == (5, "def", False)
    screen.take([rest])
    assert (screen.text, screen.rewinds) == ("12abcdef", 0)


def test_a_preview_does_not_replace_the_whole_text() -> None:
    long = "x" * 40_000
    for preview in (long[:500] + "... [40,000 bytes]", "40,003 bytes"):
        chunk = TextChunk(seq=5, at=5, node_id="a", selector=("a", "text"), text=preview)
        merge, screen = begun()
        screen.take(merge.pieces([row("a", 1, 0, 0, long, done=True)]))
        screen.take(merge.event(chunk))
        assert (screen.text, screen.rewinds) == ("12" + long, 0)
        # What is not known to be the whole is replaced, as it would be recorded.
        merge, screen = begun()
        screen.take(merge.pieces([row("a", 1, 0, 0, long[:600])]))
        screen.take(merge.event(chunk))
        assert screen.text == "12" + preview
