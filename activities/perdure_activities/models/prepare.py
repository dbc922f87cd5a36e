"""From what a node asks to what one deployment is sent: what its model or server does not take is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from perdure_graph.models.effects import InvokeModel
from perdure_graph.models.messages import AssistantMessage, Message, ThinkingPart, ToolSpec
from perdure_graph.models.usage import Tokens

from . import structured
from .files import inlined, load
from .protocol import LoadedFile, ModelCall, ModelFault
from .remember import Turn, fitting, room, with_past
from .reserve import UNLIMITED_ANSWER
from .rules import checked
from .stream.faults import BAD_SCHEMA

if TYPE_CHECKING:
    from ..files import FileStore
    from .route import Candidate
    from .tokens import Counters, TokenCounter

_log = structlog.stdlib.get_logger("perdure.models")

# Characters of one token, where a guess is enough.
_TOKEN_CHARS = 4
# Tokens of an answer that was cut off by the death of its worker, where nobody limits it.
_FEARED = 1_024
# How much more tokens a prompt may have than we count: a part of them, and so many.
_FRAME_PART = 5
_FRAME = 32

# What servers call the parameters that a call may do without.
_NAMES = {
    "temperature": "temperature",
    "top_p": "top_p",
    "stop": "stop",
    "stop_sequences": "stop",
    "parallel_tool_calls": "parallel_tool_calls",
    "reasoning_effort": "reasoning_effort",
    "reasoning.effort": "reasoning_effort",
    "reasoning": "reasoning_effort",
    "max_tokens": "max_tokens",
    "max_completion_tokens": "max_completion_tokens",
    "response_format": "response_format",
    "text.format": "response_format",
    "output_config.format": "response_format",
    "output_config": "response_format",
    "tools": "tool_choice",
    "tool_choice": "tool_choice",
}
_SWAPPED = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}


def droppable(fault: ModelFault, sent: ModelCall) -> str | None:
    """Name the parameter that a request was refused for, if it has it, and the same may be sent without it."""
    if fault.kind != "bad_request":
        return None
    # `response_format.json_schema`, `stop[0]`: the parameter is what stands before.
    short = fault.parameter.partition(".")[0].partition("[")[0]
    name = _NAMES.get(fault.parameter) or _NAMES.get(short)
    return name if name is not None and _without(sent, name) != sent else None


def is_lasting(fault: ModelFault) -> bool:
    """Whether what a server does not take is so for all requests; a schema is one graph's own."""
    return not BAD_SCHEMA.search(f"{fault.provider_code} {fault.message}")


def without(call: ModelCall, names: Iterable[str]) -> ModelCall:
    """Leave out the parameters that a server does not take, or put them in the other way there is."""
    for name in sorted(names):
        call = _without(call, name)
    return call


def _without(call: ModelCall, name: str) -> ModelCall:
    if name == "stop":
        return replace(call, stop=())
    if name == "response_format" and call.answer is not None:
        by = "tool" if call.answer_by == "native" and "tool-call" in call.features else "text"
        return replace(call, answer_by=by)
    if name == "tool_choice":
        # Only where the tool was a way to ask for an object: other tools are meant.
        return replace(call, answer_by="text") if call.answer is not None and call.answer_by == "tool" else call
    if name in _SWAPPED and call.max_tokens is not None:
        return replace(call, max_tokens=None, parameters={**call.parameters, _SWAPPED[name]: call.max_tokens})
    return replace(call, parameters={key: value for key, value in call.parameters.items() if key != name})


def portable(messages: Iterable[Message], provider: str) -> tuple[Message, ...]:
    """Leave out what another provider thought: only that one can read it."""
    kept: list[Message] = []
    for message in messages:
        if isinstance(message, AssistantMessage):
            content = tuple(p for p in message.content if not isinstance(p, ThinkingPart) or p.provider == provider)
            if len(content) != len(message.content):
                if content:
                    kept.append(message.model_copy(update={"content": content}))
                continue
        kept.append(message)
    return tuple(kept)


@dataclass(slots=True)
class Asked:
    """A request to one deployment, and how long it is.

    counter: gives the counter of its model; the first time that takes a second, so only where it is needed.

    remembered: messages of the past in it. counted: tokens of the prompt, once they were counted.
    """

    call: ModelCall
    counter: Callable[[], TokenCounter]
    remembered: int = 0
    counted: int | None = None

    async def prompt(self) -> int:
        """Count the tokens of the prompt."""
        if self.counted is None:
            self.counted = await asyncio.to_thread(lambda: self.counter().count(self.call.messages, self.call.tools))
        return self.counted

    def guess(self) -> int:
        """Guess the tokens of the prompt, at no cost."""
        if self.counted is not None:
            return self.counted
        return sum(_chars(message) for message in self.call.messages) // _TOKEN_CHARS + 1

    async def written(self, text: str) -> int:
        """Count the tokens of what was answered."""
        return await asyncio.to_thread(lambda: self.counter().text(text)) if text else 0

    def bounded(self, max_output: int | None) -> Asked:
        """Give it a limit of the answer, where it has none: budgets reserve what may come at most."""
        if self.call.max_tokens is not None:
            return self
        # A server that takes it by its other name only has been given it among the parameters.
        given = next((most for name in _SWAPPED if isinstance(most := self.call.parameters.get(name), int)), None)
        return replace(self, call=replace(self.call, max_tokens=given or max_output or UNLIMITED_ANSWER))

    def most(self) -> Tokens:
        """Say what it may use at most. Providers count the frame of messages and tools in ways of their own."""
        most = self.call.max_tokens if self.call.max_tokens is not None else UNLIMITED_ANSWER
        prompt = self.guess()
        return Tokens(prompt=prompt + prompt // _FRAME_PART + _FRAME, completion=most, estimated=True)

    def feared(self) -> Tokens:
        """Say what it has used if its worker dies."""
        most = self.call.max_tokens if self.call.max_tokens is not None else _FEARED
        return Tokens(prompt=self.guess(), completion=most, estimated=True)


class Preparing:
    """Makes the requests of one attempt at an effect. Files are read once for models that take the same."""

    def __init__(self, effect: InvokeModel, store: FileStore | None) -> None:
        self._effect = effect
        self._store = store
        self._files: dict[frozenset[str], dict[str, LoadedFile]] = {}

    async def ask(self, one: Candidate, learned: Iterable[str], turns: Sequence[Turn], counters: Counters) -> Asked:
        """Make the request to a deployment. learned: parameters that its server is known not to take.

        Raises:
            ModelFault: bad_request; the parameters are wrong, or a file cannot be sent.
        """
        effect, declared = self._effect, one.declared
        rules = checked(
            effect.parameters,
            declared,
            stop=effect.stop,
            unknown=one.provider.unknown_parameters,
            lenient=one.target.model != effect.model,
        )
        if rules.dropped:
            _log.debug("parameters were left out", model=str(one.target), dropped=rules.dropped)
        target = one.target

        def counter() -> TokenCounter:
            return counters.counter_for(target.provider, target.model)

        past: Sequence[Turn] = ()
        if turns:
            past = await asyncio.to_thread(self._fitting, one, turns, counter, rules.max_tokens)
        schema = effect.answer.schema_ if effect.answer is not None else None
        files = await self._load(one.features)
        past_and_now = inlined(with_past(effect, past), files)
        messages, tools = _tools(effect, one, portable(past_and_now, one.provider.provider))
        call = ModelCall(
            model=one.model,
            messages=messages,
            mode=effect.mode,
            parameters=rules.parameters,
            max_tokens=rules.max_tokens,
            stop=rules.stop,
            tools=tools,
            tool_choice=effect.tool_choice,
            answer=structured.plain_answer(effect.answer) if effect.answer is not None else None,
            answer_by=structured.how(one.features, one.wire, schema) if schema is not None else "native",
            features=one.features,
            files=files,
            user=effect.user,
            cache_key=effect.meta.flow if effect.meta is not None else "",
            streamed=not tools or "stream-tool-call" in one.features,
        )
        call = without(call, learned)
        if schema is not None and call.answer_by == "text":
            call = replace(call, messages=structured.instruct(call.messages, schema))
        return Asked(call, counter, remembered=2 * len(past))

    def _fitting(
        self, one: Candidate, turns: Sequence[Turn], counter: Callable[[], TokenCounter], max_tokens: int | None
    ) -> list[Turn]:
        window = one.declared.model_properties.context_size
        count = counter().count
        prompt = count(self._effect.messages, self._effect.tools)
        return fitting(turns, room(window, prompt, max_tokens), count)

    async def _load(self, features: frozenset[str]) -> dict[str, LoadedFile]:
        if features not in self._files:
            self._files[features] = await load(self._effect.messages, features, store=self._store)
        return self._files[features]


def _tools(
    effect: InvokeModel, one: Candidate, messages: tuple[Message, ...]
) -> tuple[tuple[Message, ...], tuple[ToolSpec, ...]]:
    """Ask a model that calls no tools for the arguments of the one that it must call; refuse where it has the choice.

    Raises:
        ModelFault: bad_request.
    """
    if not effect.tools or {"tool-call", "multi-tool-call"} & one.features:
        return messages, effect.tools
    if effect.tool_choice == "required" and len(effect.tools) == 1:
        return structured.instruct(messages, effect.tools[0].parameters), ()
    if effect.tool_choice == "none":
        return messages, ()
    why = "the model calls no tools (its declaration lacks the feature 'tool-call')"
    raise ModelFault("bad_request", f"{why}, but {effect.tools[0].name!r} is given; choose another model")


def _chars(message: Message) -> int:
    return len(message.model_dump_json()) if message.role != "system" else len(message.text)
