"""Drives the loop of an agent in memory: a scripted model, tools that are functions, a store that may be away."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from perdure_graph.agents import loop, react
from perdure_graph.agents.config import AgentConfig, AgentModel, ToolUse
from perdure_graph.agents.effects import (
    AgentAnswer,
    AgentOpened,
    AskRound,
    OpenAgent,
    Opening,
    RoundAnswer,
    RunTool,
    ToolResult,
)
from perdure_graph.agents.ids import call_id
from perdure_graph.agents.limits import digest
from perdure_graph.agents.loop_state import AgentState, Asked, Move
from perdure_graph.agents.parser import parse
from perdure_graph.agents.tools import ReadCall, ToolFacts, Toolset
from perdure_graph.agents.units import Action, Answer, Thought, effective
from perdure_graph.effects import Effect, Reply
from perdure_graph.models.messages import (
    AssistantMessage,
    Message,
    TextPart,
    ToolCall,
    ToolMessage,
    ToolSpec,
    UserMessage,
)
from perdure_graph.models.usage import Tokens, Usage
from perdure_graph.nodes.base import Failed, Form, FormReply, News

FEATURES = ("tool-call", "multi-tool-call")
MODEL = AgentModel(provider="p", name="m")


def config(**fields: Any) -> AgentConfig:
    return AgentConfig(**{"model": MODEL, **fields})


def asked(query: str = "What?", **fields: Any) -> Asked:
    return Asked(**{"thread": "t", "query": query, "user": "u", **fields})


def tool(name: str, **fields: Any) -> ToolFacts:
    use = ToolUse(provider_type="builtin", provider_id="test", tool_name=name)
    return ToolFacts(**{"name": name, "use": use, **fields})


def said(text: str = "", *calls: ReadCall, **fields: Any) -> RoundAnswer:
    """What a model of function calling says."""
    parts = (TextPart(text=text),) if text else ()
    asked_for = tuple(ToolCall(id=one.id, name=one.name, arguments=one.given) for one in calls)
    usage = Usage(tokens=Tokens(prompt=10, completion=1))
    message = AssistantMessage(content=(*parts, *asked_for))
    return RoundAnswer(**{"text": text, "calls": calls, "message": message, "usage": usage, **fields})


def call(name: str, id: str = "", **arguments: Any) -> ReadCall:
    return ReadCall(id=id or f"{name}-1", name=name, given=json.dumps(arguments), arguments=arguments)


def bad(name: str, id: str, problem: str = "no JSON", kind: Any = "bad_arguments") -> ReadCall:
    return ReadCall(id=id, name=name, given="{", problem=problem, problem_kind=kind)


def written(text: str, thread: str = "t", number: int = 1, **fields: Any) -> RoundAnswer:
    """What a model of ReAct writes."""
    units = tuple(parse(text))
    own, acts = call_id(thread, number, 0), effective(units)
    calls: tuple[ReadCall, ...] = ()
    shown = "\n".join(unit.text for unit in units if isinstance(unit, Thought))
    if isinstance(acts, Action):
        given = acts.input if isinstance(acts.input, dict) else {}
        calls = (ReadCall(id=own, name=acts.name, given=json.dumps(given), arguments=given),)
    elif isinstance(acts, Answer):
        shown = acts.text
    message = react.said(units, own)
    return RoundAnswer(**{"text": shown, "units": units, "calls": calls, "message": message, **fields})


Result = ToolResult | Failed | Reply
Model = Callable[[AskRound, list[Message]], RoundAnswer | Failed]
Person = Callable[[str, Form], FormReply]


def script(*answers: RoundAnswer | Failed) -> Model:
    return lambda effect, _thread: answers[min(effect.round, len(answers)) - 1]


def approve(_name: str, form: Form) -> FormReply:
    return FormReply(action="approve", values={field.name: field.default for field in form.inputs})


@dataclass
class Run:
    """One run of an agent. `pick` chooses which of n pending things comes next; `stores` whether a write is kept."""

    config: AgentConfig
    model: Model
    tools: Sequence[ToolFacts] = ()
    results: Callable[[RunTool], Result] = lambda effect: ToolResult(text=f"{effect.name} {effect.arguments}")
    person: Person = approve
    pick: Callable[[int], int] = lambda _n: 0
    stores: Callable[[], bool] = lambda: False
    features: tuple[str, ...] = FEATURES
    strategy: Any = "function_calling"
    trips: bool = False
    question: Asked = field(default_factory=asked)
    store: dict[int, Message] = field(default_factory=dict)
    opened: bool = False
    rounds: list[tuple[AskRound, list[Message]]] = field(default_factory=list)
    ran: list[Effect] = field(default_factory=list)
    forms: list[tuple[str, Form]] = field(default_factory=list)
    news: list[News] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    most_at_once: int = 0
    state: AgentState | None = None
    # A second passes between two things that happen.
    now: int = 1_000_000

    def answer(self) -> AgentAnswer:
        """Run to the answer."""
        pending: dict[str, Effect | Form] = {}
        move = loop.begin(self.config, self.question, self.now)
        while True:
            self._take(move, pending)
            if move.answer is not None:
                return move.answer
            assert pending, "the agent waits for nothing"
            name = list(pending)[self.pick(len(pending))]
            reply = self._perform(name, pending.pop(name))
            move = self.came(name, reply)

    def came(self, name: str, reply: Any) -> Move:
        assert self.state is not None
        before = self.state.model_dump_json()
        if self.trips:
            self.state = AgentState.model_validate_json(before)
        self.now += 1_000
        move = loop.came(self.config, self.state, name, reply, self.now)
        assert self.state.model_dump_json() == before, "the state that was given has changed"
        return move

    def _take(self, move: Move, pending: dict[str, Effect | Form]) -> None:
        self.state = move.state
        self.news += move.tell
        for name, thing in (*move.perform, *move.wait):
            assert name not in self.names, f"{name} is asked for twice"
            self.names.add(name)
            pending[name] = thing
        self.forms += move.wait
        self.most_at_once = max(self.most_at_once, sum(isinstance(one, RunTool) for one in pending.values()))

    def _perform(self, name: str, thing: Effect | Form) -> Reply | Failed:
        match thing:
            case Form():
                return self.person(name, thing)
            case OpenAgent():
                return self._open(thing)
            case AskRound():
                return self._round(thing)
            case RunTool():
                self.ran.append(thing)
                reply = self.results(thing)
                if isinstance(reply, ToolResult) and self.stores():
                    content = (TextPart(text=reply.text),)
                    self.store[thing.position] = ToolMessage(call_id=thing.call_id, name=thing.name, content=content)
                    size = reply.size or len(reply.text)
                    more = {"size": size, "digest": reply.digest or digest(reply.text)}
                    return reply.model_copy(update={"kept": True, "text": reply.text[:501], **more})
                return reply
            case _:
                self.ran.append(thing)
                return self.results(thing)  # type: ignore[arg-type]

    def _open(self, effect: OpenAgent) -> AgentOpened:
        specs = tuple(ToolSpec(name=one.name, parameters={"type": "object"}) for one in self.tools)
        toolset = Toolset(facts=tuple(self.tools), specs=specs)
        opening = Opening(strategy=self.strategy, features=self.features, toolset=toolset, query=effect.query)
        if not self.stores():
            return AgentOpened(opening=opening)
        self.store[0], self.opened = effect.query, True
        short = toolset.model_copy(update={"specs": ()})
        return AgentOpened(
            opening=opening.model_copy(update={"toolset": short, "query": UserMessage(content=())}), kept=True
        )

    def _round(self, effect: AskRound) -> RoundAnswer | Failed:
        assert self.opened or effect.opening is not None, "nobody has the opening"
        held = {effect.kept + at: one for at, one in enumerate(effect.fresh) if one is not None}
        thread = [held[at] if at in held else self.store[at] for at in range(effect.kept + len(effect.fresh))]
        self.rounds.append((effect, thread))
        reply = self.model(effect, thread)
        if not isinstance(reply, RoundAnswer) or not self.stores():
            return reply
        assert reply.message is not None
        self.store |= {**held, len(thread): reply.message}
        self.opened = True
        return reply.model_copy(update={"kept": True, "message": None})

    def told(self, kind: str) -> list[dict[str, Any]]:
        return [dict(one.fields) for one in self.news if one.kind == kind]

    @property
    def last_thread(self) -> list[Message]:
        return self.rounds[-1][1]

    def observations(self) -> list[str]:
        """What the model of the last round was told of its calls."""
        return [
            "".join(part.text for part in one.content if isinstance(part, TextPart))
            for one in self.last_thread
            if isinstance(one, ToolMessage)
        ]
