"""bench-noop: pass a text through an activity that does nothing, or waits."""

from __future__ import annotations

from typing import Literal

from perdure_graph.nodes.base import Context, Done, NodeData, NodeType, Outcome, Perform
from perdure_graph.values import ValueType

from .effects import BenchNoop, BenchReply


class BenchNoopData(NodeData):
    """Data of a bench-noop; `text` may hold references to variables."""

    type: Literal["bench-noop"]
    text: str = ""
    wait_s: float = 0.0


def start(data: BenchNoopData, ctx: Context) -> Outcome:
    """Send the text."""
    return Perform(effect=BenchNoop(text=ctx.render(data.text), wait_s=data.wait_s))


def resume(_data: BenchNoopData, _ctx: Context, reply: BenchReply) -> Outcome:
    """Put the text out."""
    return Done(outputs={"text": reply.text})


def _outputs(_data: BenchNoopData) -> dict[str, ValueType]:
    return {"text": ValueType.STRING}


NODE = NodeType(
    name="bench-noop",
    data=BenchNoopData,
    start=start,
    resume=resume,
    outputs=_outputs,
    effects=(BenchNoop,),
    retries=True,
)
