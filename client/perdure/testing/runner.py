"""Run cases on a client, several at a time, each in a deterministic order of its own.

A case runs with one effect in flight, so that what unjoined branches see of each other does not depend on timing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from perdure.client import Client
from perdure.handle import RunHandle
from perdure_graph.errors import InvalidGraph, PerdureError
from perdure_graph.events import Event
from perdure_graph.graph import Graph
from perdure_graph.request import ENDED, RunOptions, RunResult

from .cases import Case, CaseFile, load_flow
from .compare import differences

LOAD_ERROR = "load-error"
_CASE_LIMIT_S = 60.0


class Outcome(BaseModel):
    """How one case went; `why` holds the diffs."""

    model_config = ConfigDict(frozen=True)

    file: str
    case: str
    verdict: Literal["passed", "failed", "skipped"]
    why: str = ""


class TestReport(BaseModel):
    """How all cases went."""

    __test__ = False  # not a test class, whatever pytest makes of its name
    model_config = ConfigDict(frozen=True)

    outcomes: list[Outcome]

    def count(self, verdict: Literal["passed", "failed", "skipped"]) -> int:
        """How many cases ended so."""
        return sum(1 for outcome in self.outcomes if outcome.verdict == verdict)

    def summary(self) -> dict[str, object]:
        """The one JSON object that `perdure test --json` ends with."""
        failed = [o for o in self.outcomes if o.verdict == "failed"]
        return {
            "passed": self.count("passed"),
            "failed": len(failed),
            "skipped": self.count("skipped"),
            "failures": [{"file": o.file, "case": o.case, "why": o.why} for o in failed],
        }


async def run_cases(
    client: Client,
    files: Iterable[tuple[Path, CaseFile]],
    *,
    jobs: int = 8,
    on_outcome: Callable[[Outcome], None] = lambda _: None,
    models: bool = False,
) -> TestReport:
    """Run all cases, at most `jobs` at a time; outcomes come in the order of the files.

    models: nodes that ask models do so, where a case does not say what they give; else they give a fixed text.
    """
    gate = asyncio.Semaphore(jobs)

    async def one(flow: Path, case: Case) -> Outcome:
        async with gate:
            outcome = await _run_case(client, flow, case, models)
        on_outcome(outcome)
        return outcome

    pairs = [(flow, case) for flow, cases in files for case in cases.cases]
    return TestReport(outcomes=list(await asyncio.gather(*(one(flow, case) for flow, case in pairs))))


async def _run_case(client: Client, flow: Path, case: Case, models: bool) -> Outcome:
    def outcome(verdict: Literal["passed", "failed", "skipped"], why: str = "") -> Outcome:
        return Outcome(file=str(flow), case=case.name, verdict=verdict, why=why)

    refusal: str | None = None
    graph: Graph | None = None
    try:
        graph = load_flow(flow)
    except InvalidGraph as error:
        refusal = str(error)
    if case.oracle == "skip" or case.expect.status == LOAD_ERROR:
        if graph is not None:
            return outcome("failed", "the flow must be refused, but it loads")
        return outcome("skipped" if case.oracle == "skip" else "passed", refusal or "")
    if graph is None:
        return outcome("failed", refusal or "")
    try:
        async with asyncio.timeout(_CASE_LIMIT_S):
            found = await _play(client, graph, case, models)
    except TimeoutError:
        return outcome("failed", f"not done after {_CASE_LIMIT_S:.0f} s")
    except PerdureError as error:
        return outcome("failed", str(error))
    return outcome("failed", "\n".join(found)) if found else outcome("passed")


async def _play(client: Client, graph: Graph, case: Case, models: bool) -> list[str]:
    handle = await client.start(
        graph,
        case.inputs,
        query=case.query,
        conversation=case.conversation,
        sysvars=case.sysvars,
        pins=case.pins(models=models),
        options=RunOptions(max_parallel=1),
    )
    asks = any(node.type.name == "human-input" and node.id not in case.mocks for node in graph.nodes.values())
    result = await (_answered(handle, case) if asks else handle.result())
    events: list[Event] = []
    if _wants_events(case):
        events = [event async for event in handle.events(live=False)] if result.status in ENDED else []
    if result.status == "paused":
        await handle.stop("end of the case")
    return differences(case, result, events)


def _wants_events(case: Case) -> bool:
    expect = case.expect
    return any(part is not None for part in (expect.executed, expect.node_status, expect.nodes, expect.answer_stream))


async def _answered(handle: RunHandle, case: Case) -> RunResult:
    """Answer forms as the case says until the run ends, or pauses at one that it has no answer for."""
    wait = 0.01
    while True:
        view = await handle.status()
        if view.status in ENDED:
            return await handle.result()
        answered = False
        for form in view.forms:
            answer = case.human.get(form.node_id)
            if answer is not None:
                await handle.submit(form.key, answer.handle, answer.values)
                answered = True
        if view.status == "paused" and not answered:
            return RunResult(run_id=handle.run_id, status="paused", outputs=view.outputs, steps=view.steps)
        wait = 0.01 if answered else min(wait * 2, 0.2)
        await asyncio.sleep(wait)
