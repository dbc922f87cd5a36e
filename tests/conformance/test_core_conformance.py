"""The conformance cases on the pure core, without a server: quick to run, exact to read."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes.driver import Driver
from perdure.testing.cases import Case, find
from perdure.testing.compare import differences
from perdure_graph.commands import Submit
from perdure_graph.errors import InvalidGraph
from perdure_graph.graph import Graph
from perdure_graph.request import RunOptions, RunRequest
from perdure_graph.view import result

CONFORMANCE = Path(__file__).parents[2].parent / "shared" / "conformance"


def _cases() -> list[tuple[Path, Case]]:
    if not CONFORMANCE.exists():
        return []
    folders = [CONFORMANCE / name for name in ("dify", "rules", "random")]
    return [(flow, case) for flow, file in find(folders) for case in file.cases]


CASES = _cases()


@pytest.mark.skipif(not CASES, reason="the conformance data is not beside this clone")
@pytest.mark.parametrize(("flow", "case"), CASES, ids=[f"{f.stem}-{c.name}" for f, c in CASES])
def test_case(flow: Path, case: Case) -> None:
    if case.oracle == "skip" or case.expect.status == "load-error":
        with pytest.raises(InvalidGraph):
            Graph.load(flow)
        return
    graph = Graph.load(flow)
    request = RunRequest(
        graph=graph.document,
        inputs=case.inputs,
        query=case.query,
        conversation=case.conversation,
        sysvars=case.sysvars,
        pins=case.pins(),
        options=RunOptions(max_parallel=1),
    )
    driver = Driver(graph, request, round_trip=True)
    driver.run()
    for key, place in list(driver.state.waiting.items()):
        answer = case.human.get(place.node)
        if answer is not None:
            driver.send(Submit(form=key, action=answer.handle, values=answer.values))
    while driver.tick():
        pass
    assert differences(case, result(driver.state), driver.state.events) == []
