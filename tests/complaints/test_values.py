"""Complaint 25: values that fill the memory, and one over a limit that was sent again for ever, in silence.

The 50 MB that the promise names flow through tests/payloads/test_runs.py.
"""

from __future__ import annotations

import asyncio
import base64
from random import Random
from typing import Any

import pytest
from complaints.flows import Target, ask, call, chain, events_of, scheduled, until

from fakes.driver import Driver
from fakes.graphs import code, node
from perdure import Client, Graph, InvalidInputs, RunOptions
from perdure_graph.events import EVENTS
from perdure_graph.options import ValueLimits
from perdure_graph.outbox import lighten
from perdure_graph.request import RunRequest
from perdure_graph.state import RunState
from perdure_graph.view import EVENT_BYTES

# More than the server takes in one payload, and nothing that compression could hide.
LARGE = base64.b64encode(Random(25).randbytes(2_000_000)).decode()
LIMIT = 300_000
LIMITS = ValueLimits(text_chars=20_000_000, code_output_bytes=20_000_000, code_memory_mb=1024)
RETRIED = {"retry_config": {"retry_enabled": True, "max_retries": 3, "retry_interval": 60_000}}


async def test_complaint_25_a_large_value_travels_by_reference_through_nodes_waits_and_fresh_histories(
    perdure: Client,
) -> None:
    """More than 2 MB failed the run for good, or the worker ran out of memory."""
    same = "def main(v):\n    return {'v': v}"
    flow = chain(
        code("one", same, {"v": "string"}, v=["start", "s"]),
        node("two", "variable-aggregator", output_type="string", variables=[["one", "v"]]),
        ask("ask"),
        code("three", same, {"v": "string"}, v=["two", "output"]),
        v=["three", "v"],
    )
    handle = await perdure.start(flow, {"s": LARGE}, options=RunOptions(limits=LIMITS, continue_after_events=10))
    await until(handle, lambda view: bool(view.forms))
    await handle.submit("ask", "go")
    assert await handle.outputs() == {"v": LARGE}
    query = f"WorkflowId = '{handle.run_id}'"
    async with asyncio.timeout(30):
        while True:
            listed = [each async for each in perdure.temporal.list_workflows(query)]
            if len(listed) > 1:
                break
            await asyncio.sleep(0.1)
    for each in listed:
        history = await perdure.temporal.get_workflow_handle(each.id, run_id=each.run_id).fetch_history()
        assert len(history.to_json()) < 200_000, "what is stored is where the value lies, not the value"


def over_limit(url: str) -> dict[str, tuple[Graph, str, str]]:
    """Flows that meet the limit: what a node gives to an effect, and what an effect gives back; and who is to blame."""
    half = "def main(s):\n    return {'v': s[: len(s) // 2]}"
    left = code("left", half, {"v": "string"}, s=["start", "s"])
    both = {"a": ["left", "v"], "b": ["start", "s"]}
    joined = code("bad", "def main(a, b):\n    return {'n': len(a + b)}", {"n": "number"}, **both)
    doubled = code("bad", "def main(v):\n    return {'v': v * 3}", {"v": "string"}, v=["left", "v"])
    posted = call("bad", url, body={"type": "raw-text", "data": [{"type": "text", "value": "{{#left.v#}}" * 3}]})
    return {
        "gives": (chain(left, retried(joined), n=["bad", "n"]), "gives 'run_code'", "inputs"),
        "gets": (chain(left, retried(doubled), v=["bad", "v"]), "got from 'run_code'", "result.v"),
        "sends": (chain(left, retried(posted), v=["bad", "body"]), "gives 'send_http'", "body"),
    }


def retried(spec: Any) -> Any:
    return spec.model_copy(update={"data": {**spec.data, **RETRIED}})


@pytest.mark.parametrize("how", ["gives", "gets", "sends"])
async def test_complaint_25_a_value_over_the_limit_fails_its_node_at_once_and_by_name(
    perdure: Client, target: Target, how: str
) -> None:
    """The task was tried again for ever, without a word. Here not even the retries of the node apply."""
    flow, said, place = over_limit(target.url("/hit?of=bad"))[how]
    options = RunOptions(limits=LIMITS, max_value_bytes=LIMIT)
    handle = await perdure.start(flow, {"s": LARGE[: LIMIT - 20_000]}, options=options)
    async with asyncio.timeout(30):
        result = await handle.result()
    assert result.error is not None
    assert (result.status, result.error.node, result.error.type) == ("failed", "bad", "PayloadTooLarge")
    for part in (said, place, f"the limit is {LIMIT:,}"):
        assert part in result.error.message
    assert (await scheduled(perdure.temporal, handle.run_id))["bad"] == (1 if how == "gets" else 0)
    assert target.hits() == {}
    kinds = [(event.type, getattr(event, "node_id", None)) for event in await events_of(handle)]
    assert ("node_retry", "bad") not in kinds
    assert kinds[-1][0] == "run_finished"


async def test_complaint_25_inputs_over_the_limit_are_refused_before_the_run_starts(perdure: Client) -> None:
    flow = chain(code("one", "def main(s):\n    return {'n': len(s)}", {"n": "number"}, s=["start", "s"]))
    with pytest.raises(InvalidInputs, match=f"'inputs.s'.*the limit is {LIMIT:,}"):
        await perdure.start(flow, {"s": LARGE[: 2 * LIMIT]}, options=RunOptions(max_value_bytes=LIMIT))


def test_complaint_25_what_moves_to_a_fresh_history_holds_a_large_value_where_it_is_used_only() -> None:
    """Its copies in events add up to more than a workflow task can write; no query and no run store shows them."""
    same = "def main(v):\n    return {'v': v}"
    flow = chain(code("one", same, {"v": "string"}, v=["start", "s"]), ask("ask"), v=["one", "v"])
    driver = Driver(flow, RunRequest(graph=flow.document, inputs={"s": LARGE}, options=RunOptions(limits=LIMITS)))
    state = driver.run()
    assert len(EVENTS.dump_json(state.events)) > 3 * len(LARGE)
    lighten(state, EVENT_BYTES)
    kept = RunState.model_validate_json(state.model_dump_json())
    assert len(EVENTS.dump_json(kept.events)) < 10_000
    assert [event.seq for event in kept.events] == list(range(1, state.seq + 1))
    assert (kept.root.scope or {})["one"]["v"] == LARGE
