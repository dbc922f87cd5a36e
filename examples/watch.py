"""Show a run on a terminal: one line per event, what happens inside an iteration or a loop summed up."""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel

from perdure import RunHandle, RunResult
from perdure_graph.events import (
    AgentThought,
    ContainerCompleted,
    ContainerNext,
    ContainerStarted,
    Event,
    FormFilled,
    FormRequired,
    NodeFinished,
    NodeRetry,
    RunFinished,
    RunPaused,
    RunStarted,
    TextChunk,
    TextRewind,
)

MARKS = {"succeeded": "[green]ok[/]  ", "exception": "[yellow]err[/] ", "failed": "[red]FAIL[/]"}


class Watcher:
    """Prints the events of a run and remembers how far it has read."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.seq = 0
        self.inner: Counter[str] = Counter()
        self.length: dict[str, int] = {}
        self.writing = False
        self.told: set[tuple[str, str, str]] = set()

    def line(self, text: str) -> None:
        """Print one line, never wrapped."""
        self.console.print("  " + text, soft_wrap=True, highlight=False)

    def show(self, event: Event) -> None:
        """Print an event, or count it where many of its kind come."""
        self.seq = event.seq
        if isinstance(event, TextChunk | TextRewind):
            self._written(event)
            return
        if self.writing:
            self.console.print()
            self.writing = False
        if isinstance(event, NodeFinished) and event.frame:
            self.inner[event.frame.partition("[")[0]] += 1
        if isinstance(event, ContainerStarted):
            self.length[event.node_id] = event.length
        if isinstance(event, FormRequired):
            self._form(event)
        elif text := self._text(event):
            self.line(text)

    def _written(self, event: TextChunk | TextRewind) -> None:
        """Print the pieces of the answer as they are written; the rest of it can be read in the outputs."""
        if isinstance(event, TextRewind):
            # What an agent says before it uses a tool is a thought: it does not count, but nothing went wrong.
            self.console.print("" if self.told else "\n  [dim]taken back, again:[/]")
            self.writing = False
        elif event.live:
            self.console.print(("" if self.writing else "  > ") + escape(event.text), end="", soft_wrap=True)
            self.writing = True

    def _text(self, event: Event) -> str:
        match event:
            case RunStarted():
                return f"[dim]run {event.run_id}, graph {event.graph_hash[:12]}[/]"
            case NodeRetry():
                return f"retry {_place(event)}: {escape(event.error)}; attempt {event.retry_index + 1} follows"
            case NodeFinished():
                return self._node(event)
            case AgentThought():
                return self._round(event)
            case ContainerStarted(length=length):
                return f"...  {_place(event)}: {length} " + ("items" if "iteration" in event.type else "rounds at most")
            case ContainerNext(index=index) if index and index % 5 == 0:
                return f"[dim]...  {_place(event)}: {index} of {self.length.get(event.node_id, '?')} begun[/]"
            case ContainerCompleted():
                inside = f"{event.steps} times, {self.inner[event.node_id]} nodes inside"
                return f"{MARKS[event.status]} {_place(event)} [dim]{event.elapsed:.2f} s, {inside}[/]"
            case FormFilled():
                note = f", note {event.values['note']!r}" if event.values.get("note") else ""
                return f"form answered: {event.action}{escape(note)}"
            case RunPaused():
                return "[dim]paused: nothing runs, it could wait for weeks and through restarts of everything[/]"
            case RunFinished():
                return f"[bold]{event.status}[/] after {event.steps} nodes, {event.elapsed:.2f} s"
            case _:
                return ""

    def _node(self, event: NodeFinished) -> str:
        if event.frame:
            failed = event.status != "succeeded"
            return f"{MARKS[event.status]} {_place(event)}: {escape(event.error or '')}" if failed else ""
        tries = f", {event.attempts} attempts" if event.attempts > 1 else ""
        branch = f" -> {event.handle}" if event.handle else ""
        return f"{MARKS[event.status]} {_place(event)}{branch} [dim]{event.elapsed:.2f} s{tries}[/]"

    def _round(self, event: AgentThought) -> str:
        """Tell of the calls of a round that are over, once: a round is told of several times."""
        lines: list[str] = []
        for call in event.calls:
            about = (event.thread, event.id, call["id"])
            if call["status"] in ("done", "failed") and about not in self.told:
                self.told.add(about)
                mark = MARKS["succeeded" if call["status"] == "done" else "failed"]
                said = f"[cyan]{escape(call['label'])}[/] {escape(str(call['arguments']))}"
                lines.append(f"{mark} {said} [dim]->[/] {escape(call['observation'])}")
        return "\n  ".join(lines)

    def _form(self, event: FormRequired) -> None:
        actions = "   ".join(f"[reverse] {escape(action.title)} [/]" for action in event.form.actions)
        text = escape(event.form.content.replace("{{#$output.note#}}", "____________").strip())
        self.console.print(Panel(f"{text}\n\n{actions}", title=f"form: {event.title}", width=90, highlight=False))

    async def follow(self, handle: RunHandle, action: str, note: str) -> RunResult:
        """Show the run from where it was left, answer its form, return the result."""
        async for event in handle.events(self.seq):
            self.show(event)
            if isinstance(event, RunPaused):
                self.line(f"[bold]here a person would answer; the demo does it itself: {action}[/]")
                for form in (await handle.status()).forms:
                    await handle.submit(form.key, action, {"note": note})
        return await handle.result()


def _place(event: NodeRetry | NodeFinished | ContainerStarted | ContainerNext | ContainerCompleted) -> str:
    """Title of a node and the item or round it belongs to, counted from 1."""
    index = event.frame.rpartition("[")[2].rstrip("].")
    return f"[cyan]{escape(event.title)}[/]" + (f" #{int(index) + 1}" if index else "")
