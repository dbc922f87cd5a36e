"""A node type of several things at once, for tests of turns: what its data says is what it asks for.

first: what it begins with; then: by the name of what came, what it begins after that; a name is `e:...` (an HTTP
request), `r:...` (a template), `c:...` (a child graph) or `f:...` (a form). It ends when nothing is under way.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from perdure_graph.children import FlowAnswer, RunFlow
from perdure_graph.effects import Effect, HttpReply, Rendered, RenderTemplate, SendHttp
from perdure_graph.errors import NodeError
from perdure_graph.graph import Document
from perdure_graph.nodes.base import (
    Came,
    Context,
    Done,
    Failed,
    Form,
    FormAction,
    FormInput,
    FormReply,
    News,
    NodeData,
    NodeType,
    Outcome,
    Turn,
)
from perdure_graph.values import ValueType

KIND = "turning"


class TurningData(NodeData):
    """first, then: see above. limit: the node fails when that comes; needs: when that fails. timeout_s: of its forms.
    child: what `c:` runs.
    """

    type: Literal["turning"]
    first: tuple[str, ...] = ()
    then: dict[str, tuple[str, ...]] = Field(default_factory=dict[str, tuple[str, ...]])
    limit: str = ""
    needs: str = ""
    timeout_s: float | None = None
    child: Document | None = None
    tell: bool = False


def start(data: TurningData, ctx: Context) -> Outcome:
    return _turn(data, data.first, {"log": [], "open": [], "thread": ctx.thread})


def resume(data: TurningData, ctx: Context, came: Came) -> Outcome:
    memo: Any = ctx.memo
    if came.name == data.limit or (came.name == data.needs and isinstance(came.reply, Failed)):
        raise NodeError(f"{came.name} came", "Limit")
    log = [*memo["log"], f"{came.name}={_said(came)}"]
    still = [name for name in memo["open"] if name != came.name]
    more = data.then.get(came.name, ())
    memo = {**memo, "log": log, "open": still}
    if not more and not still:
        return Done(outputs={"log": log, "thread": memo["thread"]}, tell=_news(data, log))
    return _turn(data, more, memo)


def _turn(data: TurningData, names: tuple[str, ...], memo: dict[str, Any]) -> Turn:
    memo = {**memo, "open": [*memo["open"], *names]}
    perform = tuple((name, _effect(data, name)) for name in names if not name.startswith("f:"))
    wait = tuple((name, _form(data, name)) for name in names if name.startswith("f:"))
    return Turn(perform=perform, wait=wait, memo=memo, tell=_news(data, memo["log"]))


def _news(data: TurningData, log: list[str]) -> tuple[News, ...]:
    if not data.tell:
        return ()
    return (News("agent_thought", {"thread": "t", "id": f"{len(log)}", "position": len(log) + 1}),)


def _effect(data: TurningData, name: str) -> Effect:
    if name.startswith("c:"):
        assert data.child is not None
        return RunFlow(graph=data.child, inputs={"x": 1})
    if name.startswith("r:"):
        return RenderTemplate(template=name, variables={})
    return SendHttp(method="GET", url=f"http://x/{name}")


def _form(data: TurningData, name: str) -> Form:
    return Form(
        content=name,
        inputs=(
            FormInput(name="arguments", type="paragraph", default="{}"),
            FormInput(name="reason", type="paragraph"),
            FormInput(name="comment", type="paragraph"),
        ),
        actions=(FormAction(id="approve", title="Approve"), FormAction(id="deny", title="Deny")),
        timeout_s=data.timeout_s,
        call=f"call_{name[2:]}",
    )


def _said(came: Came) -> str:
    match came.reply:
        case Failed():
            return f"failed {came.reply.error_type}{' interrupted' if came.reply.interrupted else ''}"
        case FormReply():
            return f"{came.reply.action or 'timeout'} {came.reply.values.get('arguments', '')}".strip()
        case HttpReply():
            return came.reply.body
        case Rendered():
            return came.reply.text
        case FlowAnswer():
            return str(came.reply.outputs)
        case _:
            raise AssertionError(came)


NODE = NodeType(
    name=KIND,
    data=TurningData,
    start=start,
    resume=resume,
    outputs=lambda _data: {"log": ValueType.ARRAY_STRING, "thread": ValueType.STRING},
    effects=(SendHttp, RenderTemplate, RunFlow),
    waits=True,
)
