"""`perdure test`: run the case files of flows and show what differs; make a case of a run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from perdure_graph.errors import InvalidInputs

from .connect import Demo, configured, connect, connected, patience, required
from .output import FAILED, OK, Output

if TYPE_CHECKING:
    from perdure.testing import Outcome


async def test_flows(paths: list[Path], jobs: int, address: str | None, out: Output, demo: Demo | None = None) -> int:
    """Run all cases below the paths; the exit code is 1 when one failed."""
    from perdure.testing import find, run_cases

    if not paths:
        raise InvalidInputs(
            "name case files, flows or folders of them; --from-run makes a case of a run.", field="paths"
        )
    files = list(find(paths))
    began = time.monotonic()
    async with connected(configured(address), out.note, worker_process=True, demo=demo) as client:
        report = await run_cases(
            client, files, jobs=jobs, on_outcome=lambda outcome: _show(outcome, out), models=demo is not None
        )
    counts = [f"{report.count('passed')} passed", f"{report.count('failed')} failed"]
    if skipped := report.count("skipped"):
        counts.append(f"{skipped} skipped")
    out.say(f"{', '.join(counts)} in {time.monotonic() - began:.1f} s")
    if out.as_json:
        out.json(report.summary())
    return FAILED if report.count("failed") else OK


async def test_from_run(run_id: str, output: Path | None, flow: Path | None, address: str | None, out: Output) -> int:
    """Write a case that repeats a run; it needs no server but the one that has the run."""
    from perdure.testing import record_case, write_case

    server = required(address)
    handle = (await connect(server)).run(run_id)
    async with patience(out.note, server) as heard:
        recording = await record_case(handle)
        heard()
    path, drawn = write_case(recording, output, flow)
    for note in recording.notes:
        out.note(f"note: {note}")
    out.say(f"wrote case {run_id!r} to {path}, for the flow {drawn}")
    out.say(f"run it: perdure test {path}")
    if out.as_json:
        pinned = sorted({*recording.case.get("mocks", {}), *recording.case.get("human", {})})
        out.json({"run_id": run_id, "case": str(path), "flow": str(drawn), "pinned": pinned, "notes": recording.notes})
    return OK


def _show(outcome: Outcome, out: Output) -> None:
    if outcome.verdict == "failed":
        out.say(f"FAILED {outcome.file} :: {outcome.case}")
        for line in outcome.why.splitlines():
            out.say(f"    {line}")
