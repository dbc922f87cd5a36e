"""`perdure test`: run the case files of flows and show what differs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from .connect import configured, connected
from .output import FAILED, OK, Output

if TYPE_CHECKING:
    from perdure.testing import Outcome


async def test_flows(paths: list[Path], jobs: int, address: str | None, out: Output) -> int:
    """Run all cases below the paths; the exit code is 1 when one failed."""
    from perdure.testing import find, run_cases

    files = list(find(paths))
    began = time.monotonic()
    async with connected(configured(address), out.note, worker_process=True) as client:
        report = await run_cases(client, files, jobs=jobs, on_outcome=lambda outcome: _show(outcome, out))
    counts = [f"{report.count('passed')} passed", f"{report.count('failed')} failed"]
    if skipped := report.count("skipped"):
        counts.append(f"{skipped} skipped")
    out.say(f"{', '.join(counts)} in {time.monotonic() - began:.1f} s")
    if out.as_json:
        out.json(report.summary())
    return FAILED if report.count("failed") else OK


def _show(outcome: Outcome, out: Output) -> None:
    if outcome.verdict == "failed":
        out.say(f"FAILED {outcome.file} :: {outcome.case}")
        for line in outcome.why.splitlines():
            out.say(f"    {line}")
