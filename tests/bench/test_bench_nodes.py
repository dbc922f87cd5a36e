"""A node type of another distribution (benchmarks/plugin): found by its entry points, run like any other node."""

from __future__ import annotations

import importlib.util
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from perdure import Client, Graph, InvalidGraph, Pin
from perdure_graph.events import Event, NodeFinished, NodeRetry
from perdure_graph.nodes import registry
from perdure_worker.embedded import EmbeddedStack
from perdure_worker.plugins import activities, activity_name, passthrough_modules

PLUGIN = "perdure-bench-nodes"
BASELINE = Path(__file__).parents[2] / "benchmarks" / "baseline.py"


def installed() -> bool:
    try:
        distribution(PLUGIN)
    except PackageNotFoundError:
        return False
    return True


pytestmark = pytest.mark.skipif(not installed(), reason=f"{PLUGIN} is not installed; `make setup` installs it")

FLOW = """
kind: app
version: 0.6.0
app: {name: third party, mode: workflow}
workflow:
  graph:
    nodes:
      - id: start
        data: {type: start, title: start, variables: [{variable: name, label: n, type: text-input, required: true}]}
      - id: one
        data: {type: bench-noop, title: one, text: "hello {{#start.name#}}"}
      - id: two
        data:
          type: bench-noop
          title: two
          text: "{{#one.text#}}!"
          retry_config: {retry_enabled: true, max_retries: 2, retry_interval: 0}
          error_strategy: default-value
          default_value: [{key: text, type: string, value: gave up}]
      - id: end
        data: {type: end, title: end, outputs: [{variable: text, value_selector: [two, text]}]}
    edges:
      - {source: start, target: one}
      - {source: one, target: two}
      - {source: two, target: end}
"""


@pytest.fixture(scope="session")
def perdure(stack: EmbeddedStack) -> Client:
    return Client(stack.client, stack.task_queue)


def finished(events: list[Event]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(e.node_id, e.node_type, dict(e.outputs)) for e in events if isinstance(e, NodeFinished)]


def test_entry_points_register_the_node_and_its_activity() -> None:
    contracts = {effect.activity for effect in registry()["bench-noop"].effects}
    assert contracts
    assert contracts <= {activity_name(each) for each in activities()}
    assert "perdure_bench_nodes" in passthrough_modules()


async def test_a_third_party_node_runs_on_a_worker_process(perdure: Client) -> None:
    handle = await perdure.start(Graph.load(FLOW), {"name": "you"})
    assert await handle.outputs() == {"text": "hello you!"}
    assert finished([event async for event in handle.events()])[1:3] == [
        ("one", "bench-noop", {"text": "hello you"}),
        ("two", "bench-noop", {"text": "hello you!"}),
    ]


async def test_retries_and_error_strategies_apply_to_it_by_themselves(perdure: Client) -> None:
    pins = {"two": Pin(error="no luck")}
    handle = await perdure.start(Graph.load(FLOW), {"name": "you"}, pins=pins)
    result = await handle.result()
    assert (result.status, result.outputs) == ("partial-succeeded", {"text": "gave up"})
    retries = [event async for event in handle.events() if isinstance(event, NodeRetry)]
    assert [event.node_id for event in retries] == ["two", "two"]


def test_its_data_is_checked_when_the_graph_is_loaded() -> None:
    with pytest.raises(InvalidGraph) as caught:
        Graph.load(FLOW.replace('"hello {{#start.name#}}"', "[1]"))
    assert [(found.node, found.field) for found in caught.value.findings] == [("one", "data.text")]


def test_the_baseline_asks_for_what_a_run_asks_for() -> None:
    """Else the benchmark compares two different things."""
    from perdure_bench_nodes.effects import BenchNoop

    from perdure_workflows.policies import activity_options

    assert activity_options(BenchNoop()) == baseline().OPTIONS


def baseline() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_baseline", BASELINE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
