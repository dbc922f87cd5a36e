"""The table of what was killed and what came back, and the line of JSON that ends it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict

from .agents import LABEL
from .commands import STOP_KIND
from .play import Outcome

HEAD = (
    "killed",
    "kills",
    "recovered",
    "lost",
    "doubled",
    "redelivered",
    "recovery p50",
    "p95",
    "max",
    "run ends later p95",
)


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that so large a share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def table(outcomes: Sequence[Outcome]) -> str:
    """One row per kind of blow, as markdown; times in seconds. Stops are told apart, see `stops`."""
    outcomes = _blows(outcomes)
    kinds = list(dict.fromkeys(outcome.kind for outcome in outcomes))
    rows = [_row(kind, [outcome for outcome in outcomes if outcome.kind == kind]) for kind in kinds]
    if len(rows) > 1:
        rows.append(_row("all", outcomes))
    lines = [HEAD, tuple("---" if column == 0 else "---:" for column in range(len(HEAD))), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def stops(outcomes: Sequence[Outcome]) -> str:
    """Say what came of the stops; nothing where there were none."""
    stopped = [outcome for outcome in outcomes if outcome.kind == STOP_KIND and outcome.struck]
    if not stopped:
        return ""
    late = sum(len(outcome.doubled) for outcome in stopped)
    took = percentile([outcome.recovery for outcome in stopped if outcome.recovery is not None], 0.95) or 0.0
    wrong = sum(bool(outcome.lost) for outcome in stopped)
    return (
        f"{len(stopped)} stops: {late} effects started after the stop had returned, {wrong} runs did not end stopped; "
        f"the stop returned after {took:.1f} s (p95)"
    )


def _blows(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.kind != STOP_KIND]


def _row(name: str, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    counts = count(outcomes)
    recoveries = [outcome.recovery for outcome in outcomes if outcome.recovery is not None]
    delays = [outcome.delay for outcome in outcomes if outcome.delay is not None]
    times = [percentile(recoveries, share) for share in (0.5, 0.95, 1)] + [percentile(delays, 0.95)]
    redelivered = sum(outcome.redelivered for outcome in outcomes)
    return (
        name,
        *map(str, (*counts.values(), redelivered)),
        *("" if time is None else f"{time:.1f} s" for time in times),
    )


def count(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """Count runs that took a blow and what came of them; one that ended before counts only when something is wrong."""
    return {
        "kills": sum(outcome.struck for outcome in outcomes),
        "recovered": sum(outcome.struck and outcome.fine for outcome in outcomes),
        "lost": sum(bool(outcome.lost) for outcome in outcomes),
        "doubled": sum(bool(outcome.doubled) for outcome in outcomes),
    }


def line(outcomes: Sequence[Outcome]) -> str:
    """Sum everything but the stops up in one line of JSON."""
    outcomes = _blows(outcomes)
    recovery = percentile([outcome.recovery for outcome in outcomes if outcome.recovery is not None], 0.95)
    summed = {**count(outcomes), "recovery_p95_s": None if recovery is None else round(recovery, 2)}
    return json.dumps(summed | _of_agents([one for one in outcomes if one.kind.startswith(LABEL)]))


def _of_agents(outcomes: Sequence[Outcome]) -> dict[str, dict[str, int]]:
    """Count the part of all blows that agents took; `asked_again` is for rounds whose answer got lost with a worker."""
    if not outcomes:
        return {}
    told = ("redelivered", "model_calls", "asked_again")
    return {"agents": count(outcomes) | {name: sum(getattr(one, name) for one in outcomes) for name in told}}


def detail(outcome: Outcome) -> str:
    """Write a case as a line of JSON."""
    return json.dumps(asdict(outcome))


def complaint(outcome: Outcome) -> str:
    """Say what is wrong with a case."""
    problems = [f"lost: {text}" for text in outcome.lost] + [f"doubled: {text}" for text in outcome.doubled]
    return f"{outcome.kind} at {outcome.moment} ({outcome.case}): " + "; ".join(text[:500] for text in problems)
