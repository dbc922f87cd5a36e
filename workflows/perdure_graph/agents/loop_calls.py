"""The calls of a round: which are made, when, and what comes of each.

Calls are judged when the model has asked for them, begin in their order as places free up, and are settled in any
order; what the thread gets of them is in their order again. A call that waits for a person holds back no other, except
that calls of `sequential` tools keep their order among each other; such a call runs alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import assert_never

from pydantic import JsonValue

from ..children import RunFlow
from ..effects import Effect
from ..models.messages import user
from . import ids, limits, log, observations
from .effects import RoundAnswer, RunAgent, RunTool
from .loop_results import ask_approval, ask_operator, index_of, interrupted, refuse, settle, tool_of
from .loop_state import CallState, End, Making
from .tools import FAILURES, ReadCall, ToolFacts


def ask(m: Making, reply: RoundAnswer) -> None:
    """Take the calls of a round: judge each in order, and begin what may begin."""
    state = m.state
    state.phase, state.first = "calling", state.length
    given = _named(reply.calls, state.thread, state.round)
    state.calls = [_asked(call) for call in given]
    alone = state.ready.strategy == "react" or "multi-tool-call" not in state.ready.features
    for index, (read, call) in enumerate(zip(given, state.calls, strict=True)):
        if index and alone:
            refuse(m, call, "not_run", observations.one_at_a_time(call.name, state.calls[0].name))
        else:
            _judge(m, read, call)
    begin(m)


def close(m: Making, reply: RoundAnswer, reason: End) -> None:
    """Take calls that come too late: none is made."""
    state = m.state
    state.first = state.length
    state.calls = [_asked(call) for call in _named(reply.calls, state.thread, state.round)]
    for call in state.calls:
        refuse(m, call, "not_run", observations.closed(call.name, reason, m.limits))


def begin(m: Making) -> None:
    """Begin calls that have a place, in order."""
    running = [call for call in m.state.calls if call.status == "running"]
    places = m.config.max_parallel_tools - len(running)
    alone = any(_is_sequential(m, call) for call in running)
    overtakes = False
    for call in m.state.calls:
        sequential = _is_sequential(m, call)
        overtakes = overtakes or (sequential and call.status == "waiting")
        if call.status != "asked" or (sequential and overtakes):
            continue
        if alone or places <= 0 or (sequential and running):
            return
        _start(m, call)
        running.append(call)
        places, alone = places - 1, sequential


def again(m: Making) -> None:
    """Begin again what was under way when the node failed around it."""
    for call in m.state.calls:
        if call.status == "running" and tool_of(m, call).retry == "never":
            interrupted(m, call, "the node around it failed meanwhile")
        elif call.status == "running":
            _start(m, call)
        elif call.status == "waiting" and call.form[0] == "i":
            ask_operator(m, call, "nobody has said yet what became of it")
        elif call.status == "waiting":
            ask_approval(m, call)


def give_up(m: Making) -> None:
    """Settle the calls that nobody waits for any more."""
    for call in m.state.calls:
        if not call.settled:
            refuse(m, call, "not_run", observations.given_up(call.name))


def settled(m: Making) -> bool:
    """Whether nothing more comes of any call; where the agent stops, of those that run."""
    if m.state.stopping is not None:
        return not any(call.status == "running" for call in m.state.calls)
    return all(call.settled for call in m.state.calls)


def leave(m: Making) -> None:
    """Put the results of a round into the thread and into what is known of its progress, in the order of the calls."""
    state = m.state
    changes: list[str] = []
    for call in state.calls:
        if call.made or call.error_kind in FAILURES:
            failed = call.error_kind in FAILURES
            state.progress = limits.record(state.progress, call.signature, call.digest, failed=failed)
        state.files += call.files
        if call.status == "done":
            state.found = f"{call.name}: {call.observation}"
        state.fresh.append(None if call.kept else call.message)
        if call.original is not None and call.arguments is not None and call.made:
            changes.append(observations.edited(call.name, call.id, call.arguments))
    tell_model(m, "\n".join(changes))


def tell_model(m: Making, text: str) -> None:
    """Put a word of ours, or of a person, behind the thread."""
    if text:
        m.state.fresh.append(user(text))
    while m.state.fresh and m.state.fresh[0] is None:
        del m.state.fresh[0]
        m.state.kept += 1


def _named(calls: tuple[ReadCall, ...], thread: str, number: int) -> list[ReadCall]:
    """See that each call has an id of its own: results are matched by it."""
    taken: set[str] = set()
    named: list[ReadCall] = []
    for index, call in enumerate(calls):
        own = call.id if call.id and call.id not in taken else ids.call_id(thread, number, index)
        taken.add(own)
        named.append(call if own == call.id else call.model_copy(update={"id": own}))
    return named


def _asked(read: ReadCall) -> CallState:
    wanted: JsonValue = read.given if read.arguments is None else read.arguments
    return CallState(
        id=read.id,
        name=read.name,
        given=read.given,
        arguments=read.arguments,
        signature=limits.signature(read.name, wanted),
    )


def _judge(m: Making, read: ReadCall, call: CallState) -> None:
    state = m.state
    facts = state.facts(call.name)
    state.progress, judgement = limits.judge(state.progress, m.limits, call.name, call.signature)
    if facts is None:
        problem = read.problem if read.problem_kind == "unknown_tool" else ""
        text = problem or observations.unknown(call.name, state.ready.toolset.facts)
        refuse(m, call, "unknown_tool", text)
    elif call.arguments is None:
        refuse(m, call, read.problem_kind, read.problem or "The arguments must be one JSON object.")
    elif isinstance(judgement, limits.Refuse):
        refuse(m, call, "refused", judgement.observation)
    elif facts.approval == "required" or (facts.approval == "policy" and read.asks):
        ask_approval(m, call)


def _is_sequential(m: Making, call: CallState) -> bool:
    facts = m.state.facts(call.name)
    return facts is not None and facts.sequential


def _start(m: Making, call: CallState) -> None:
    facts = tool_of(m, call)
    call.status, call.form, call.began = "running", "", m.now
    m.tell.append(log.call_started(m.state, call))
    effect = _effect(m, call, facts)
    if effect is None:
        settle(m, call, f"Tool {call.name!r} has nothing that could run.", kind="internal")
        return
    call.tries += 1
    if not call.made:
        m.state.made += 1
    call.made = True
    again = f".{call.tries}" if call.tries > 1 else ""
    m.perform.append((f"r{m.state.round}.c{index_of(m, call)}{again}", effect))


def _effect(m: Making, call: CallState, facts: ToolFacts) -> Effect | None:
    state, use, arguments = m.state, facts.use, call.arguments or {}
    match facts.runner:
        case "activity":
            return RunTool(
                use=use,
                name=call.name,
                arguments=arguments,
                call_id=call.id,
                thread=state.thread,
                position=state.first + index_of(m, call),
                max_bytes=m.config.max_observation_bytes,
                timeout_s=facts.timeout_s,
                retry=facts.retry,
                user=state.user,
                tenant=state.tenant,
            )
        case "agent":
            if use.agent is None:
                return None
            deepest = max(1, min(use.agent.max_depth, m.config.max_depth - 1))
            config = use.agent.model_copy(update={"max_depth": deepest})
            return RunAgent(config=config, query=_query(arguments), inputs={**arguments, **use.parameters})
        case "workflow":
            if use.flow is None:
                return None
            query = _query(arguments) if use.flow.mode == "advanced-chat" else None
            return RunFlow(graph=use.flow, query=query, inputs={**arguments, **use.parameters})
        case _:
            assert_never(facts.runner)


def _query(arguments: Mapping[str, JsonValue]) -> str:
    query = arguments.get("query", "")
    return query if isinstance(query, str) else json.dumps(query, ensure_ascii=False)
