"""Dify's fixtures with models in them, unpinned: the fake provider gives over a socket what the cases pin."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from perdure import Client, Graph
from perdure.testing import run_cases
from perdure.testing.cases import Case, CaseFile, asks_models, find
from perdure_fake import FakeProvider, Script
from perdure_fake.script import Match, Reply, Step
from perdure_graph.graph import Node
from perdure_graph.nodes.llm import LlmData
from perdure_graph.nodes.question_classifier import QuestionClassifierData
from perdure_graph.request import Pin
from perdure_worker.embedded import embedded
from perdure_worker.settings import WorkerSettings

CONFORMANCE = Path(__file__).parents[2].parent / "shared" / "conformance"


def _flows() -> list[tuple[Path, CaseFile]]:
    """The files whose flow asks a model and can be loaded."""
    if not CONFORMANCE.exists():
        return []
    found: list[tuple[Path, CaseFile]] = []
    for flow, file in find([CONFORMANCE / "dify", CONFORMANCE / "rules"]):
        cases = [case for case in file.cases if case.oracle != "skip" and case.expect.status != "load-error"]
        if cases and any(asks_models(node.type) for node in Graph.load(flow).nodes.values()):
            found.append((flow, CaseFile(file=file.file, cases=cases)))
    return found


FLOWS = _flows()


def _says(node: Node) -> str | None:
    """A text of its prompt by which its requests are known; None where it has none that is always there."""
    data = node.data
    if isinstance(data, LlmData) and not isinstance(data.prompt_template, tuple):
        return None
    texts = [m.text for m in data.prompt_template] if isinstance(data, LlmData) else []  # pyright: ignore
    return next((text for text in texts if text and "{{" not in text), None)


def _reply(node: Node, pin: Pin) -> Reply:
    outputs = pin.outputs or {}
    if isinstance(node.data, QuestionClassifierData):
        return Reply(structured={"category_id": outputs["class_id"], "category_name": outputs["class_name"]})
    return Reply(text=str(outputs["text"]), chunks=pin.chunks)


def _script(graph: Graph, case: Case) -> Script:
    """What the fake provider must say for a case: what its pins say. Nodes known by their prompt go first."""
    steps: list[tuple[bool, Step]] = []
    for node in graph.nodes.values():
        if asks_models(node.type):
            pin = case.pins().get(node.id) or case.pins()[f"type:{node.type.name}"]
            pin = pin if pin.outputs else pin.model_copy(update={"outputs": {"text": "Mocked LLM response"}})
            text = _says(node)
            steps.append((text is None, Step(match=Match(contains=text), reply=_reply(node, pin))))
    return Script(steps=tuple(step for _, step in sorted(steps, key=lambda pair: pair[0])))


@pytest.fixture(scope="module")
async def asking() -> AsyncIterator[tuple[Client, FakeProvider]]:
    async with FakeProvider.start_process() as fake:
        settings = WorkerSettings(address=None, db=None, demo_model=fake.openai_url)
        async with embedded(settings, worker_process=False) as stack:
            yield (
                Client(stack.client, stack.task_queue, task_timeout=stack.task_timeout, store=stack.store_url),
                fake,
            )


@pytest.mark.skipif(not FLOWS, reason="the conformance data is not beside this clone")
@pytest.mark.parametrize(("flow", "file"), FLOWS, ids=[flow.stem for flow, _ in FLOWS])
async def test_case(flow: Path, file: CaseFile, asking: tuple[Client, FakeProvider]) -> None:
    client, fake = asking
    graph = Graph.load(flow)
    of_models = {node.id for node in graph.nodes.values() if asks_models(node.type)}
    names = {f"type:{graph.nodes[node].type.name}" for node in of_models}
    for case in file.cases:
        await fake.script(_script(graph, case))
        before = len(await fake.journal())
        pins = {name: pin for name, pin in case.mocks.items() if name not in of_models | names}
        unpinned = case.model_copy(update={"mocks": pins})
        report = await run_cases(client, [(flow, CaseFile(file=file.file, cases=[unpinned]))], models=True)
        assert [(o.verdict, o.why) for o in report.outcomes] == [("passed", "")]
        if (case.expect.executed is None) or of_models & set(case.expect.executed):
            assert len(await fake.journal()) > before, "nobody asked a model"
