"""Compare what came of a case with what must hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from perdure_fake import Entry
from perdure_graph.events import Event, NodeFinished, NodeRetry, RunFinished, TextChunk, TextRewind
from perdure_store.ledger_records import Health, UsageRow

from .case import Check, Expect, Played

# Rows whose fault leaves the answer as it is, and so what the provider bills for it.
_AS_SAID = (28, 35, 36)


@dataclass
class Screen:
    """What a reader has seen: appends, and cuts where it is told to."""

    text: str = ""
    rewinds: int = 0
    live: int = 0
    retries: int = 0
    node: NodeFinished | None = None
    end: RunFinished | None = None

    def take(self, event: Event) -> None:
        """Take the next event."""
        match event:
            case TextChunk():
                self.text += event.text
                self.live += event.live
            case TextRewind():
                self.text = self.text[: event.to]
                self.rewinds += 1
            case NodeRetry():
                self.retries += 1
            case NodeFinished(node_id="say"):
                self.node = event
            case RunFinished():
                self.end = event
            case _:
                pass


@dataclass
class Seen:
    """What came of a case. outputs: of the node, or what its play looked at."""

    status: str
    error_type: str | None = None
    error: str = ""
    text: str = ""
    rewinds: int = 0
    outputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    events: Sequence[Check] = ()


def of_screen(screen: Screen, answer: str | None) -> Seen:
    """Read what the events of a run say; `answer` is what the run gave in the end."""
    end, node = screen.end, screen.node
    status = end.status if end is not None else "none"
    checks = [Check.same("node_retry events", 0, screen.retries)]
    if answer is not None:
        checks.append(Check.same("text of the reader and answer of the run", answer, screen.text))
    if end is not None and end.status != "stopped":
        known = node is not None
        checks.append(Check.same("node_finished of the node that asks", True, known))
        checks.append(Check.same("error_type of node and run", end.error_type, node.error_type if node else None))
    return Seen(
        status,
        end.error_type if end else None,
        (end.error or "") if end else "",
        screen.text,
        screen.rewinds,
        node.outputs if node else {},
        checks,
    )


def judged(
    played: Played, seen: Seen, requests: Sequence[Entry], rows: Sequence[UsageRow], health: Health
) -> list[Check]:
    """Check all that must hold of a case."""
    expect = played.expect
    wasted = sorted((row for row in rows if row.outcome == "wasted"), key=lambda row: (row.at, row.id))
    checks = [
        Check.same("status", expect.status, seen.status),
        Check.same("error_type", expect.error_type, seen.error_type),
        Check.same("text", expect.text, seen.text),
        Check.same("wasted calls", list(expect.faults), [row.fault for row in wasted]),
        Check.same("requests", expect.requests, len(requests)),
        Check.same("attempts", played.case.attempts(expect), max((row.attempt for row in rows), default=0)),
        *seen.events,
        *_of_usage(played, expect, wasted, rows, requests),
        *_of_health(expect, health, wasted),
    ]
    if expect.rewinds is not None:
        checks.append(Check.same("text_rewind events", expect.rewinds, seen.rewinds))
    if expect.apart is not None:
        gap = requests[1].started_at - requests[0].started_at if len(requests) > 1 else None
        checks.append(Check.within("seconds between the first two requests", expect.apart, gap))
    if expect.says:
        checks.append(Check("the error", expect.says, seen.error, expect.says in seen.error))
    for name, value in expect.outputs.items():
        got = seen.outputs.get(name)
        ranged = isinstance(value, tuple) and len(value) == 2 and isinstance(got, float)
        checks.append(Check.within(name, value, got) if ranged else Check.same(name, value, got))
    return checks


def _of_usage(
    played: Played, expect: Expect, wasted: Sequence[UsageRow], rows: Sequence[UsageRow], requests: Sequence[Entry]
) -> list[Check]:
    answers = [row for row in rows if row.outcome == "answer"]
    wanted = played.case.runs if expect.status == "succeeded" and played.case.play != "second_turn" else len(answers)
    checks = [
        Check.same("answers accounted", wanted, len(answers)),
        Check.same("tokens of answers estimated", [expect.estimated] * len(answers), [r.estimated for r in answers]),
    ]
    if played.case.row != 33:
        tokens = [row.prompt_tokens > 0 for row in wasted]
        checks.append(Check.same("wasted calls cost tokens", [expect.billed] * len(wasted), tokens))
        checks += [Check.same("wasted tokens are estimated", True, row.estimated) for row in wasted if expect.billed]
    billed = [entry.usage for entry in requests if entry.usage is not None and entry.finished]
    if played.case.row in _AS_SAID and not expect.estimated:
        said = [(usage.prompt, usage.completion) for usage in billed]
        got = [(row.prompt_tokens, row.completion_tokens) for row in sorted(answers, key=lambda row: row.at)]
        checks.append(Check.same("tokens are those that the provider bills", said, got))
    checks.append(Check.same("answers are marked as simulated", True, all(row.simulated for row in answers)))
    return checks


def _of_health(expect: Expect, health: Health, wasted: Sequence[UsageRow]) -> list[Check]:
    kind = health.kind or "well" if health.open_until else "well"
    checks = [Check.same("health of the deployment", expect.health, kind)]
    if expect.opens is not None:
        low, high = expect.opens
        last = max((row.at for row in wasted), default=0)
        got = (health.open_until - last) / 1000 if health.open_until else None
        # The row is written before or after the health, on a machine that has other things to do.
        checks.append(Check.within("seconds that it is left alone", (low - 2.5, high + 2.5), got))
    return checks
