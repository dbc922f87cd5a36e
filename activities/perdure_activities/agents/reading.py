"""From what a model answered to what the loop acts on: its message, and its calls, read against the tools. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perdure_graph.agents import react
from perdure_graph.agents.effects import AskRound, Opening
from perdure_graph.agents.ids import call_id, named
from perdure_graph.agents.parser import parse
from perdure_graph.agents.tools import ReadCall, ToolFacts
from perdure_graph.agents.units import Action, Answer, Thought, ToolInput, Unit, effective
from perdure_graph.models.effects import ModelAnswer
from perdure_graph.models.messages import AssistantMessage, ToolCall, ToolSpec

from ..models.stream.accumulate import MOST_TOOL_CALLS
from ..tools.arguments import Problem, read
from ..tools.names import is_allowed, safe_names

if TYPE_CHECKING:
    from ..tools.protocol import Registry

# Of arguments, for people; what the model wrote is in its message.
_MOST_SHOWN = 2_000
_MOST_NAMED = 50


@dataclass(frozen=True, slots=True)
class Said:
    """What a model said in a round; see `RoundAnswer`."""

    message: AssistantMessage
    text: str
    calls: tuple[ReadCall, ...] = ()
    units: tuple[Unit, ...] = ()


def said_in(answer: ModelAnswer, effect: AskRound, opening: Opening, registry: Registry) -> Said:
    """Read an answer by the strategy of its agent."""
    reader = _Reader(opening, registry, in_words=effect.strategy == "react")
    if effect.strategy == "react":
        return _react(answer, effect, reader)
    calls = named([part for part in answer.message.content if isinstance(part, ToolCall)], effect.thread, effect.round)
    cut = len(calls) - 1 if answer.finish == "length" else None
    given = tuple(
        _unreadable(call, index, cut=index == cut) or reader.read(call.id, call.name, call.arguments)
        for index, call in enumerate(calls)
    )
    left = iter([call.model_copy(update={"name": _sent(read)}) for call, read in zip(calls, given, strict=True)])
    content = tuple(next(left) if isinstance(part, ToolCall) else part for part in answer.message.content)
    return Said(AssistantMessage(content=content), answer.text, given)


def _sent(call: ReadCall) -> str:
    """Name a call as it goes back to its model: providers refuse names that a model made up in another form."""
    return call.name if is_allowed(call.name) else safe_names([call.name])[0]


def _react(answer: ModelAnswer, effect: AskRound, reader: _Reader) -> Said:
    units = tuple(parse(answer.text))
    id_ = call_id(effect.thread, effect.round, 0)
    message, acts = react.said(units, id_), effective(units)
    match acts:
        case Answer(text=text):
            return Said(message, text, units=units)
        case Action():
            return Said(message, _thoughts(units), (reader.read(id_, acts.name, acts.input),), units)
        case _:
            return Said(message, _thoughts(units), units=units)


def _thoughts(units: Sequence[Unit]) -> str:
    """Join the thoughts before anything else."""
    texts: list[str] = []
    for unit in units:
        if not isinstance(unit, Thought):
            break
        texts.append(unit.text)
    return "\n".join(texts)


def _unreadable(call: ToolCall, index: int, *, cut: bool) -> ReadCall | None:
    """Say why a call is not even looked at."""
    if index >= MOST_TOOL_CALLS or not call.name:
        problem = f"This call was not made: {call.broken}."
    elif cut and call.broken:
        problem = (
            "This call was not made: your answer was cut off by its limit of tokens before the call was complete. "
            "Say less, or call with shorter arguments."
        )
    else:
        return None
    return ReadCall(id=call.id, name=call.name, given=_shown(call.arguments), problem=problem)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads calls of the tools of an opening. in_words: the model writes them as text, as in ReAct."""

    opening: Opening
    registry: Registry
    in_words: bool

    def read(self, id_: str, name: str, given: ToolInput) -> ReadCall:
        call = ReadCall(id=id_, name=name, given=_shown(given))
        found = self._find(name)
        if found is None:
            names = [facts.name for facts in self.opening.toolset.facts]
            listed = f"There are: {', '.join(names[:_MOST_NAMED])}." if names else "There are no tools."
            problem = f"there is not a tool named {name!r}. {listed}"
            return call.model_copy(update={"problem": problem, "problem_kind": "unknown_tool"})
        facts, spec = found
        arguments = read(spec.parameters, given, plain=self.in_words, kept=facts.use.parameters)
        call = call.model_copy(update={"name": facts.name})
        if isinstance(arguments, Problem):
            return call.model_copy(update={"problem": arguments.text})
        asks = facts.approval != "policy" or self.registry.asks(facts.use, arguments)
        return call.model_copy(update={"arguments": arguments, "asks": asks})

    def _find(self, name: str) -> tuple[ToolFacts, ToolSpec] | None:
        """Find a tool by the name that the model was told; else by its own, which may stand in a description."""
        tools = list(zip(self.opening.toolset.facts, self.opening.toolset.specs, strict=True))
        for wanted in (name, safe_names([name])[0]):
            for facts, spec in tools:
                if facts.name == wanted:
                    return facts, spec
        own = [tool for tool in tools if tool[0].use.tool_name == name]
        return own[0] if len(own) == 1 else None


def _shown(given: ToolInput) -> str:
    text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."
