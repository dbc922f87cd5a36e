"""A model in memory for runs without a server: remembers what it was asked, answers in turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perdure_graph.effects import Effect, Reply
from perdure_graph.graph import Graph, NodeSpec
from perdure_graph.models.effects import InvokeModel, ModelAnswer
from perdure_graph.models.messages import ToolCall, assistant, text_of
from perdure_graph.models.usage import Tokens, Usage
from perdure_graph.request import RunRequest
from perdure_graph.state import RunState

from .driver import Driver, perform
from .graphs import document

MODEL: dict[str, Any] = {"provider": "openai", "name": "gpt", "mode": "chat", "completion_params": {}}
USAGE = Usage(tokens=Tokens(prompt=5, completion=2))


def answer(text: str = "", **more: Any) -> ModelAnswer:
    """An answer of a provider."""
    more.setdefault("provider", "openai")
    return ModelAnswer(text=text, message=assistant(text), usage=USAGE, **more)


def call(arguments: str, name: str = "extract_parameters") -> ToolCall:
    """A call of a function."""
    return ToolCall(id="c1", name=name, arguments=arguments)


class ScriptedModel:
    """Answers with each reply in turn, then with the last one again. `asked` is what it was asked."""

    def __init__(self, *replies: ModelAnswer) -> None:
        self.replies: Sequence[ModelAnswer] = replies or (answer("fine"),)
        self.asked: list[InvokeModel] = []

    def __call__(self, effect: Effect) -> Reply:
        if not isinstance(effect, InvokeModel):
            return perform(effect)
        self.asked.append(effect)
        return self.replies[min(len(self.asked), len(self.replies)) - 1]

    def texts(self, nth: int = 0) -> list[tuple[str, str]]:
        """Role and text of each message of a question."""
        return [(message.role, text_of(message)) for message in self.asked[nth].messages]


def run(
    model: ScriptedModel, *nodes: NodeSpec, edges: list[tuple[str, ...]], chat: bool = True, **request: Any
) -> RunState:
    """Run a graph in memory, its state through JSON at every step."""
    given = document(list(nodes), edges, mode="advanced-chat" if chat else "workflow", **request.pop("document", {}))
    asked = RunRequest(graph=given, **request)
    return Driver(Graph.from_document(given), asked, performer=model, round_trip=True).run()


def finished(state: RunState, node_id: str) -> Any:
    """The event that says how a node ended."""
    return next(e for e in state.events if e.type == "node_finished" and e.node_id == node_id)
