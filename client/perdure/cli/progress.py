"""Show the progress of a run: a table that changes on a terminal, appended lines elsewhere."""

from __future__ import annotations

import asyncio
import time
from typing import IO, TYPE_CHECKING, Protocol

from perdure_graph.events import (
    ContainerCompleted,
    ContainerStarted,
    Event,
    FormRequired,
    NodeFinished,
    NodeHeld,
    NodeRetry,
    RunResumed,
)
from perdure_graph.request import RunStatus
from perdure_graph.view import RunView

from .board import OPEN, Board, Row
from .spoken import Lines, Spoken
from .thought_lines import ThoughtLines

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

_REFRESH_S = 0.1
_STYLES = {
    "running": "cyan",
    "retrying": "yellow",
    "waiting": "magenta",
    "held": "red",
    "succeeded": "green",
    "exception": "yellow",
    "failed": "red",
    "cut short": "red",
}


class View(Protocol):
    """Something that shows a run."""

    @property
    def board(self) -> Board:
        """What is shown."""
        ...

    def show(self, event: Event) -> None:
        """Take in an event."""
        ...

    def count(self, view: RunView) -> None:
        """Take in how far containers are."""
        ...

    def hold(self) -> None:
        """Leave the terminal to somebody else, until the next event."""
        ...

    def close(self, status: RunStatus | None = None) -> None:
        """Show the last state and stop."""
        ...


def view_for(stream: IO[str]) -> View:
    """Choose how to show a run on a stream."""
    if not stream.isatty():
        return LineView(stream)
    from rich.console import Console

    console = Console(file=stream)
    return LiveView(console) if console.is_terminal and not console.is_dumb_terminal else LineView(stream)


def describe(row: Row) -> str:
    """Write what is known of a row besides its state and time."""
    parts: list[str] = []
    if row.total is not None:
        parts.append(f"{row.done or 0}/{row.total} {'rounds' if row.kind == 'loop' else 'items'}")
    if row.depth and row.runs > 1:
        parts.append(f"{row.runs} times")
    if row.attempts > 1:
        parts.append(f"{row.attempts} attempts")
    if row.note:
        # The last line of a traceback says what happened.
        note = row.note.strip().splitlines()[-1] if row.note.startswith("Traceback") else row.note
        parts.append(" ".join(note.split())[:300])
    return ", ".join(parts)


class LineView:
    """One line for each node that ends; nodes within containers only when something is wrong with them.

    Text that a model writes comes between them, as it is written, and what agents think and do.
    """

    def __init__(self, stream: IO[str]) -> None:
        self.board = Board()
        self._stream = stream
        self._lines = Lines(stream)
        self._thoughts = ThoughtLines()
        self._tenths: dict[str, int] = {}

    def show(self, event: Event) -> None:
        """Append a line when there is something to say."""
        self._lines.take(event)
        for line in self._thoughts.take(event):
            self._write(line)
        row = self.board.apply(event)
        if row is None:
            return
        match event:
            case NodeFinished() | ContainerCompleted():
                if not event.frame or event.status != "succeeded":
                    self._line(event.status, row, event.elapsed, event.frame)
            case NodeRetry():
                self._line("retrying", row, None, event.frame)
            case NodeHeld():
                self._line("held", row, None, event.frame)
            case FormRequired():
                self._line("waiting", row, None, event.frame)
            case ContainerStarted() if not event.frame:
                self._tenths[row.node_id] = 0
            case _:
                return

    def count(self, view: RunView) -> None:
        """Append a line for each tenth of a container."""
        for row in self.board.count(view):
            tenth = 10 * (row.done or 0) // max(row.total or 1, 1)
            if tenth > self._tenths.get(row.node_id, 0):
                self._tenths[row.node_id] = tenth
                self._line("running", row, None, "")

    def hold(self) -> None:
        """End the line of a text; lines stay."""
        self._lines.end()

    def close(self, status: RunStatus | None = None) -> None:
        """Settle the rows."""
        self._lines.end()
        if status is not None:
            self.board.close(status)

    def _line(self, state: str, row: Row, elapsed: float | None, frame: str) -> None:
        seconds = "" if elapsed is None else f"{elapsed:.2f} s"
        self._write(f"  {state:<10} {frame}{row.title} ({row.kind})  {seconds:>8}  {describe(row)}".rstrip())

    def _write(self, line: str) -> None:
        self._lines.end()
        self._stream.write(line + "\n")
        self._stream.flush()


class LiveView:
    """A table with a row per node, redrawn while the run goes on; below it the end of what a model is writing, above it
    what agents think and do.
    """

    def __init__(self, console: Console) -> None:
        from rich.live import Live

        self.board = Board()
        self._console = console
        self._spoken = Spoken()
        self._thoughts = ThoughtLines()
        self._live = Live(console=console, auto_refresh=False, get_renderable=self.picture, transient=True)
        self._heard: dict[str, float] = {}
        self._ticking: asyncio.Task[None] | None = None

    def show(self, event: Event) -> None:
        """Take in an event; the next redraw shows it."""
        self._spoken.take(event)
        for line in self._thoughts.take(event):
            self._console.print(line, markup=False, highlight=False)
        row = self.board.apply(event)
        if row is not None and row.state in OPEN:
            self._heard.setdefault(row.node_id, time.monotonic())
        if isinstance(event, RunResumed) or row is not None:
            self._open()

    def count(self, view: RunView) -> None:
        """Take in how far containers are."""
        self.board.count(view)

    def hold(self) -> None:
        """Take the table away."""
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None
        self._live.stop()

    def close(self, status: RunStatus | None = None) -> None:
        """Leave the whole table on the terminal."""
        if status is not None:
            self.board.close(status)
        self.hold()
        if self.board.rows:
            self._console.print(self._table(whole=True))

    def _open(self) -> None:
        if self._ticking is None:
            self._live.start()
            self._ticking = asyncio.create_task(self._tick())

    async def _tick(self) -> None:
        while True:
            self._live.refresh()
            await asyncio.sleep(_REFRESH_S)

    def picture(self) -> RenderableType:
        """Give the table, and below it the last lines of the answer while there are live ones."""
        from rich.console import Group
        from rich.text import Text

        if not self._spoken.live:
            return self._table()
        width, height = self._console.size
        lines = Text(self._spoken.text[-width * height :]).wrap(self._console, width)
        tail = lines[-max(1, height // 3) :]
        return Group(self._table(taken=len(tail)), *tail)

    def _table(self, *, whole: bool = False, taken: int = 0) -> RenderableType:
        from rich.table import Table

        rows = list(self.board.rows.values())
        room = max(3, self._console.size.height - 2 - taken)
        hidden = 0
        if not whole and len(rows) > room:
            # What still runs matters most; then what ended last.
            still = [row for row in rows if row.state in OPEN]
            ended = [row for row in rows if row.state not in OPEN]
            kept = {row.node_id for row in [*ended[max(0, len(ended) - max(0, room - len(still))) :], *still][-room:]}
            if len(still) >= room:
                kept = {row.node_id for row in still[:room]}
            hidden = len(rows) - len(kept)
            rows = [row for row in rows if row.node_id in kept]
        table = Table.grid(padding=(0, 2))
        for row in rows:
            self._add(table, row)
        if hidden:
            table.add_row("", f"... {hidden} more", "", "")
        return table

    def _add(self, table: Table, row: Row) -> None:
        from rich.text import Text

        running = row.state in OPEN
        seconds = time.monotonic() - self._heard.get(row.node_id, time.monotonic()) if running else row.elapsed
        table.add_row(
            Text(row.state, _STYLES[row.state]),
            Text("  " * row.depth + row.title),
            Text(f"{seconds:.1f} s", justify="right"),
            Text(describe(row), "dim", no_wrap=True, overflow="ellipsis"),
        )
