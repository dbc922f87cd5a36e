"""What the model of an agent is sent in a round, within its window. Pure; counting makes it work for a thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import JsonValue

from perdure_graph.agents import function_calling, react
from perdure_graph.agents.effects import AskRound, Opening
from perdure_graph.agents.memory import PastTurn, cut_results, newest, shorten_results
from perdure_graph.agents.react_prompt import stop_words
from perdure_graph.models.effects import InvokeModel
from perdure_graph.models.messages import FilePart, Message, ToolSpec, user

from ..models.remember import room
from .model import Model, fitted

if TYPE_CHECKING:
    from ..models.tokens import TokenCounter

# So much of the window may be taken before the answer; what is longer is cut.
_SHARE = 0.8
# Characters of each result that stay where only the model knows what is too long.
_KEPT = (2_000, 200)


@dataclass(frozen=True, slots=True)
class Prompt:
    """The request of a round, and what was done to make it fit; see `RoundAnswer`."""

    request: InvokeModel
    dropped: int = 0
    shortened: int = 0
    full: bool = False


@dataclass(frozen=True, slots=True)
class Round:
    """What goes into a round. thread: all of it, from the query on. past: turns of the conversation before it."""

    effect: AskRound
    opening: Opening
    thread: Sequence[Message]
    past: Sequence[PastTurn]
    model: Model

    @property
    def tools(self) -> tuple[ToolSpec, ...]:
        """Tools that are sent as such: in ReAct they stand in the text."""
        return self.opening.toolset.specs if self.effect.strategy == "function_calling" else ()

    def messages(self, thread: Sequence[Message], past: Sequence[Sequence[Message]]) -> tuple[Message, ...]:
        """Put messages together, with those turns of the past."""
        effect, opening = self.effect, self.opening
        history = [message for turn in past for message in turn]
        about = (effect.closing, effect.note)
        if effect.strategy == "function_calling":
            told = function_calling.messages(opening, thread, *about, history=history, keep_images=effect.keep_images)
            return tuple(told)
        if self.model.mode == "completion":
            return (user(react.completion_text(opening, history, thread, *about)),)
        return tuple(react.chat_messages(opening, history, thread, *about, keep_images=effect.keep_images))

    def request(self, messages: tuple[Message, ...], parameters: dict[str, JsonValue]) -> InvokeModel:
        """Make the effect that asks the model, in the place of the round's own."""
        effect, by_words = self.effect, self.effect.strategy == "react"
        if self.tools and "multi-tool-call" not in self.opening.features:
            parameters = {**parameters, "parallel_tool_calls": False}
        return InvokeModel(
            meta=effect.meta,
            provider=effect.model.provider,
            model=effect.model.name,
            mode=self.model.mode,
            messages=messages,
            parameters=parameters,
            stop=stop_words((), effect.model.provider) if by_words else (),
            tools=self.tools,
            tool_choice="auto" if by_words else function_calling.tool_choice(self.opening, effect.closing),
            stream=effect.stream,
            user=effect.user,
            priority=effect.priority,
            total_s=effect.total_s,
        )


def at_once(given: Round) -> Prompt | None:
    """Put a round together that fits without counting; None where that is not known."""
    model = given.model
    if model.window is None and given.past:
        return None
    whole = given.messages(given.thread, [turn.whole for turn in given.past])
    if model.window is not None:
        most = min(int(_SHARE * model.window), model.window - model.reserved)
        if not _fits(whole, given.tools, most):
            return None
    return Prompt(given.request(whole, given.effect.model.completion_params))


def prompt(given: Round, counter_of: Callable[[], TokenCounter]) -> Prompt:
    """Put a round together so that it fits, where that must be counted.

    Results of tools are cut first where the run alone is too long, the oldest first; then as many of the past turns go
    along as fit, the newest; then the answer is limited to what is left. counter_of: gives what counts; the first time
    that takes a second, so only where it is needed.
    """
    model, tools, parameters = given.model, given.tools, given.effect.model.completion_params
    if model.window is None:
        past = newest(given.past, room(None, 0, None), counter_of().count)
        return Prompt(given.request(given.messages(given.thread, past), parameters), _dropped(given, past))
    limit = int(_SHARE * model.window)
    counter = counter_of()
    thread = given.thread
    size = counter.count(given.messages(thread, ()), tools)
    if size > limit:
        thread = shorten_results(thread, counter.count(thread) - (size - limit), counter.count)
        size = counter.count(given.messages(thread, ()), tools)
    past = newest(given.past, room(model.window, size, model.answer), counter.count)
    messages = given.messages(thread, past)
    parameters = fitted(parameters, model, counter.count(messages, tools) if past else size)
    return Prompt(given.request(messages, parameters), _dropped(given, past), _shortened(given, thread), size > limit)


def shorter(given: Round) -> Iterator[Prompt]:
    """Give rounds for a model that says a prompt is too long, though nobody knew its window; shorter each time.

    The turns of the past go first, then all but the ends of results of tools. With the last the conversation is full.
    """
    if given.past:
        yield _cut(given, given.thread)
    for keep in _KEPT:
        thread = cut_results(given.thread, keep)
        if thread != list(given.thread):
            yield _cut(given, thread, full=keep == _KEPT[-1])


def _cut(given: Round, thread: Sequence[Message], *, full: bool = False) -> Prompt:
    request = given.request(given.messages(thread, ()), given.effect.model.completion_params)
    return Prompt(request, _dropped(given, ()), _shortened(given, thread), full)


def _shortened(given: Round, thread: Sequence[Message]) -> int:
    return sum(one is not other for one, other in zip(thread, given.thread, strict=True))


def _dropped(given: Round, past: Sequence[Sequence[Message]]) -> int:
    return sum(len(turn.whole) for turn in given.past) - sum(len(turn) for turn in past)


def _fits(messages: Sequence[Message], tools: Sequence[ToolSpec], most: int) -> bool:
    """Say at no cost whether a prompt has at most so many tokens: as it has bytes. Few must be counted."""
    if any(isinstance(part, FilePart) for message in messages for part in getattr(message, "content", ())):
        return False
    for each in (*messages, *tools):
        most -= len(each.model_dump_json().encode("utf-8", "replace"))
        if most < 0:
            return False
    return True
