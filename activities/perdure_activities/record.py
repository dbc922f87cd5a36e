"""The activity that carries events to the run store where no other effect is due."""

from __future__ import annotations

from temporalio import activity

from perdure_graph.effects import Recorded, RecordEvents


@activity.defn(name="record_events")
async def record_events(request: RecordEvents) -> Recorded:  # noqa: ARG001 - the worker's wrapper records
    """Do nothing more than what the worker does around every effect: record the events in its meta."""
    return Recorded()
