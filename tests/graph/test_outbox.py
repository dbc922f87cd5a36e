"""The outbox: whatever becomes of its carriers, the store ends with every event, and nothing unrecorded is let go."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from perdure_graph import outbox
from perdure_graph.events import NodeFinished, TextChunk
from perdure_graph.outbox import Outbox, as_recorded, batches
from perdure_graph.request import RunOptions
from perdure_graph.state import Frame, RunState


def state() -> RunState:
    return RunState(
        run_id="r", graph_hash="h", started_at=0, options=RunOptions(), pins={}, frames={"": Frame(scope={})}, types={}
    )


def emit(run: RunState, count: int, text: str = "x") -> None:
    for _ in range(count):
        run.seq += 1
        run.events.append(TextChunk(seq=run.seq, at=0, node_id="n", text=text))


STEPS = st.lists(
    st.tuples(st.sampled_from(["emit", "take", "probe", "yes", "no", "lost", "handover"]), st.integers(0, 400)),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_every_event_arrives_whatever_becomes_of_its_carriers(steps: list[tuple[str, int]]) -> None:
    run, box = state(), Outbox()
    store: set[int] = set()
    carried: dict[str, list[int]] = {}
    for index, (what, number) in enumerate(steps):
        flying = sorted(carried)
        match what:
            case "emit":
                emit(run, number)
            case "take" | "probe":
                batch = box.take(run, f"c{index}", probe=what == "probe")
                if batch:
                    carried[f"c{index}"] = [int(str(event["seq"])) for event in batch]
            case "yes" | "no" | "lost" if flying:
                key = flying[number % len(flying)]
                numbers = carried.pop(key)
                # A carrier that says nothing may have recorded all the same.
                if what == "yes" or (what == "lost" and number % 2):
                    store.update(numbers)
                if what == "lost":
                    box.lost(run, key)
                else:
                    box.settle(run, key, "yes" if what == "yes" else "no")
            case "handover":
                box = Outbox.model_validate_json(box.model_dump_json()).landed()
                run = RunState.model_validate_json(run.model_dump_json())
                carried.clear()
            case _:
                pass
        box.trim(run)
        oldest = run.seq - len(run.events)
        assert [event.seq for event in run.events] == list(range(oldest + 1, run.seq + 1))
        assert oldest <= box.acked, "an event was let go before it was recorded"
        assert set(range(1, box.acked + 1)) <= store, "an event counts as recorded that is not"
    for batch in batches(run, box):
        store.update(int(str(event["seq"])) for event in batch)
    assert store == set(range(1, run.seq + 1))


def test_a_store_that_is_down_is_asked_by_probes_only() -> None:
    run, box = state(), Outbox()
    emit(run, 3)
    assert len(box.take(run, "a")) == 3
    box.settle(run, "a", "no")
    emit(run, 1)
    assert box.take(run, "b") == ()
    assert len(box.take(run, "probe", probe=True)) == 4
    box.settle(run, "probe", "yes")
    emit(run, 1)
    assert len(box.take(run, "c")) == 1


def test_without_a_store_nothing_is_carried_and_the_log_is_bounded() -> None:
    run, box = state(), Outbox()
    emit(run, 1)
    box.take(run, "a")
    box.settle(run, "a", "off")
    emit(run, 3 * outbox.MOST_EVENTS)
    box.trim(run)
    assert not box.unsent(run)
    assert len(run.events) <= outbox.MOST_EVENTS + outbox.SLACK_EVENTS


def test_a_long_backlog_loses_details_but_no_number() -> None:
    run, box = state(), Outbox(mode="down")
    emit(run, 4 * outbox.DETAILED_BACKLOG, "y" * 5000)
    box.trim(run)
    assert [event.seq for event in run.events] == list(range(1, run.seq + 1))
    assert len(run.model_dump_json()) < 5000 * (outbox.DETAILED_BACKLOG + outbox.SLACK_EVENTS) * 1.5


def test_large_values_are_recorded_as_previews() -> None:
    outputs: dict[str, Any] = {"big": "z" * 1_000_000, "list": [list(range(1000))] * 100, "small": 7}
    event = NodeFinished(
        seq=1, at=0, node_id="n", title="n", node_type="code", status="succeeded", outputs=outputs, inputs={"a": 1}
    )
    recorded, size = as_recorded(event)
    assert size == len(json.dumps(recorded)) < outbox.EVENT_BYTES
    assert recorded["outputs"]["small"] == 7  # type: ignore[index]
    assert "1,000,000 bytes" in recorded["outputs"]["big"]  # type: ignore[index]
    assert recorded["inputs"] == {"a": 1}
    assert event.outputs == outputs, "the run keeps the value"
