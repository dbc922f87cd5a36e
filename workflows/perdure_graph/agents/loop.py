"""The loop of an agent: `begin` opens it, `came` takes one thing that became of what it asked for.

    open -> round 1 -> its calls -> round 2 -> ... -> answer

Nothing here performs anything, nor reads a clock: the same state, reply and time (`now`, milliseconds since the epoch)
always give the same move.

A model is asked for at most `limits.max_iteration` rounds with tools, and one more without. What the thread of messages
is, and which of them the state holds, is said in `effects`; how calls run beside each other, in `loop_calls`.
"""

from __future__ import annotations

from typing import assert_never

from ..effects import Reply
from ..errors import NodeError
from ..models.messages import AssistantMessage, TextPart, ToolCall, UserMessage
from ..models.prompt import attachments
from ..nodes.base import Failed, FormReply
from . import limits, log, loop_calls, loop_forms, loop_results, observations, thoughts
from .config import AgentConfig
from .effects import AgentAnswer, AgentOpened, AskRound, OpenAgent, RoundAnswer
from .loop_state import AgentState, Asked, End, Making, Move, RoundSaid
from .markup import without_calls
from .react import unreadable
from .units import Malformed, Thought, effective

_OPEN = "open"
_FULL = "The conversation fills the model's window. Give the final answer from what is known, and say what is missing."


def begin(config: AgentConfig, asked: Asked, now: int = 0) -> Move:
    """Open an agent."""
    detail = "low" if config.vision == "low" else "high"
    files = attachments(asked.files, detail, ("document", "audio", "video"))
    if config.vision != "off":
        files = attachments(asked.files, detail, ("image", "document", "audio", "video"))
    state = AgentState(
        thread=asked.thread,
        query=UserMessage(content=(*files, TextPart(text=asked.query))),
        inputs=dict(asked.inputs),
        user=asked.user,
        tenant=asked.tenant,
        depth=asked.depth,
        remember=asked.remember,
        stream=asked.stream,
    )
    m = Making(config, state, now)
    _open(m)
    return m.move()


def came(config: AgentConfig, state: AgentState, name: str, reply: Reply | Failed, now: int = 0) -> Move:
    """Take what became of an effect or a form; the state that is given stays as it is.

    Raises:
        NodeError: the agent could not be opened, or its model could not be asked. `again` goes on from the same state.
    """
    m = Making(config, state.copied(), now)
    match m.state.phase:
        case "opening":
            _opened(m, reply)
        case "asking":
            _answered(m, reply)
        case "calling":
            loop_results.came(m, name, reply)
            _go_on(m)
        case "circling":
            _decided(m, reply)
        case "over":
            raise NodeError(f"the agent has ended, and takes no {name!r}", "BadReply")
        case _:
            assert_never(m.state.phase)
    return m.move()


def again(config: AgentConfig, state: AgentState, now: int = 0) -> Move:
    """Go on where the agent was when the node around it failed: ask again for what is under way."""
    m = Making(config, state.copied(), now)
    match m.state.phase:
        case "opening":
            _open(m)
        case "asking":
            _perform_round(m)
        case "calling":
            loop_calls.again(m)
            _go_on(m)
        case "circling":
            _circle(m, "The agent goes in circles. Go on?")
        case "over":
            raise NodeError("the agent has ended: start it anew", "BadReply")
        case _:
            assert_never(m.state.phase)
    return m.move()


def _open(m: Making) -> None:
    state = m.state
    effect = OpenAgent(
        thread=state.thread,
        config=m.config,
        query=state.query,
        inputs=state.inputs,
        user=state.user,
        tenant=state.tenant,
        depth=state.depth,
    )
    m.perform.append((_OPEN, effect))


def _opened(m: Making, reply: Reply | Failed) -> None:
    if isinstance(reply, Failed):
        raise NodeError(reply.message, reply.error_type)
    if not isinstance(reply, AgentOpened):
        raise _unfit(reply, _OPEN)
    state = m.state
    state.opening, state.opening_kept = reply.opening, reply.kept
    if reply.kept:
        state.kept = 1
    else:
        state.fresh = [state.query]
    state.query, state.inputs = UserMessage(content=()), {}
    if (entry := log.opened(state, reply.opening)) is not None:
        m.tell.append(entry)
    _ask(m)


def _ask(m: Making) -> None:
    """Ask the model for the next round."""
    state = m.state
    state.round += 1
    state.began = m.now
    state.phase, state.calls, state.said = "asking", [], RoundSaid()
    m.tell.append(log.round_started(state))
    _perform_round(m)


def _perform_round(m: Making) -> None:
    state = m.state
    effect = AskRound(
        thread=state.thread,
        model=m.config.model,
        strategy=state.ready.strategy,
        opening=None if state.opening_kept else state.ready,
        kept=state.kept,
        fresh=tuple(state.fresh),
        round=state.round,
        closing=state.closing is not None,
        note=state.note,
        keep_images=m.config.keep_images,
        remember=state.remember,
        stream=state.stream,
        user=state.user,
    )
    m.perform.append((f"r{state.round}", effect))


def _answered(m: Making, reply: Reply | Failed) -> None:
    """Take what the model said in a round."""
    state = m.state
    if isinstance(reply, Failed):
        raise NodeError(reply.message, reply.error_type)
    if not isinstance(reply, RoundAnswer):
        raise _unfit(reply, f"r{state.round}")
    state.usage = state.usage.plus(reply.usage)
    state.simulated = state.simulated or reply.simulated
    _keep(m, reply)
    state.said = _said(m, reply)
    state.text = reply.text if reply.text.strip() else state.text
    m.tell.append(log.model_said(state, reply, m.now))
    unit = effective(reply.units)
    if state.closing is not None:
        loop_calls.close(m, reply, state.closing)
        text = without_calls(reply.text)
        state.said = state.said.model_copy(update={"thought": without_calls(state.said.thought)})
        _end(m, state.closing, text if text.strip() else reply.refusal or _nothing_said(state, state.closing))
    elif reply.refusal is not None or reply.finish in ("refusal", "content_filter"):
        _end(m, "refused", reply.text or reply.refusal or "")
    elif reply.full and (reply.calls or not reply.text.strip()):
        loop_calls.close(m, reply, "length")
        loop_calls.leave(m)
        _leave_round(m)
        _close(m, "length", _FULL)
    elif reply.calls:
        loop_calls.ask(m, reply)
        m.tell.append(thoughts.thought(state))
        _go_on(m)
    elif isinstance(unit, Malformed):
        _unread(m, unit)
    else:
        _end(m, _end_of(reply), reply.text)


def _nothing_said(state: AgentState, reason: End) -> str:
    """Say in place of a model that was asked to close and said nothing what there is."""
    return observations.partial(state.found if reason == "repetition" else "")


def _end_of(reply: RoundAnswer) -> End:
    if not reply.text.strip():
        return "empty"
    return "length" if reply.finish == "length" else "answer"


def _keep(m: Making, reply: RoundAnswer) -> None:
    """Put what the model said behind the thread."""
    state = m.state
    if reply.kept:
        state.kept, state.fresh = state.length + 1, []
        if not state.opening_kept:
            toolset = state.ready.toolset.model_copy(update={"specs": ()})
            update = {"toolset": toolset, "query": UserMessage(content=())}
            state.opening, state.opening_kept = state.ready.model_copy(update=update), True
        return
    message = reply.message
    if message is None and (reply.text or reply.calls):
        said = (TextPart(text=reply.text),) if reply.text else ()
        calls = (ToolCall(id=call.id, name=call.name, arguments=call.given) for call in reply.calls)
        message = AssistantMessage(content=(*said, *calls))
    if message is not None:
        state.fresh.append(message)


def _said(m: Making, reply: RoundAnswer) -> RoundSaid:
    thought = reply.text
    if reply.units:
        thought = "\n".join(unit.text for unit in reply.units if isinstance(unit, Thought))
    return RoundSaid(
        thought=thought,
        reasoning=reply.reasoning,
        usage=reply.usage.as_dify(),
        provider=reply.provider or m.config.model.provider,
        model=reply.model or m.config.model.name,
        simulated=reply.simulated,
    )


def _unread(m: Making, unit: Malformed) -> None:
    """Tell the model that its action could not be read."""
    state = m.state
    call = limits.signature("", unit.text)
    state.progress, _ = limits.judge(state.progress, m.limits, "", call)
    state.progress = limits.record(state.progress, call, "", failed=True)
    state.fresh.append(unreadable(unit.text))
    _leave_round(m)
    _decide(m)


def _go_on(m: Making) -> None:
    """Go on with the calls of a round, or, when all are over, with what comes then."""
    state = m.state
    if state.stopping is None:
        loop_calls.begin(m)
    if not loop_calls.settled(m):
        return
    if state.stopping is not None:
        loop_calls.give_up(m)
    loop_calls.leave(m)
    _leave_round(m)
    if state.stopping is not None:
        m.tell.append(thoughts.limit(state, state.stopping, ""))
        _stop(m, state.stopping)
    else:
        _decide(m)


def _leave_round(m: Making) -> None:
    m.tell.append(thoughts.thought(m.state))
    m.tell.append(log.round_ended(m.state, m.now))


def _decide(m: Making) -> None:
    """Decide how to go on behind a round."""
    state = m.state
    state.progress, decision = limits.end_round(state.progress, m.limits)
    match decision:
        case limits.GoOn():
            _ask(m)
        case limits.Nudge(note=note):
            m.tell.append(thoughts.limit(state, "oscillation", note))
            loop_calls.tell_model(m, note)
            _ask(m)
        case limits.AskHuman(question=question):
            m.tell.append(thoughts.limit(state, "oscillation", ""))
            _circle(m, question)
        case limits.Close(reason=reason, note=note):
            _close(m, reason, note)
        case limits.Stop(reason=reason):
            m.tell.append(thoughts.limit(state, reason, ""))
            _stop(m, reason)
        case _:
            assert_never(decision)


def _circle(m: Making, question: str) -> None:
    m.state.phase, m.state.calls = "circling", []
    m.wait.append((f"h{m.state.round}", loop_forms.circling(question, m.config.approval)))


def _decided(m: Making, reply: Reply | Failed) -> None:
    """Take what a person says about going in circles."""
    if not isinstance(reply, FormReply):
        raise _unfit(reply, f"h{m.state.round}")
    unanswered = {"approve": loop_forms.GO_ON, "deny": loop_forms.FINISH, "stop": loop_forms.STOP}
    action = unanswered[m.config.approval.on_timeout] if reply.action is None else reply.action
    note = loop_forms.text_in(reply, loop_forms.NOTE)
    if action == loop_forms.STOP:
        _stop(m, "oscillation")
    elif action == loop_forms.FINISH:
        _close(m, "oscillation", note or "Somebody wants you to finish. Give the final answer from what is known.")
    else:
        m.state.progress = limits.answered(m.state.progress)
        loop_calls.tell_model(m, note)
        _ask(m)


def _close(m: Making, reason: End, note: str) -> None:
    """Ask the model once more, without tools."""
    m.state.closing, m.state.note = reason, note
    m.tell.append(thoughts.limit(m.state, reason, note))
    _ask(m)


def _stop(m: Making, reason: End) -> None:
    """End with what there is."""
    _finish(m, reason, m.state.text if m.state.text.strip() else observations.partial(m.state.found))


def _end(m: Making, reason: End, text: str) -> None:
    """End with what the model said in this round."""
    state = m.state
    # Of function calling all that was said is the answer; it would stand there twice.
    thought = "" if state.said.thought == text else state.said.thought
    state.said = state.said.model_copy(update={"thought": thought})
    m.tell.append(thoughts.thought(state, answer=text))
    m.tell.append(log.round_ended(state, m.now))
    _finish(m, reason, text)


def _finish(m: Making, reason: End, text: str) -> None:
    state = m.state
    state.phase = "over"
    m.answer = AgentAnswer(
        text=text,
        files=tuple(state.files),
        end=reason,
        rounds=state.round,
        calls=state.made,
        usage=state.usage,
        simulated=state.simulated,
    )


def _unfit(reply: Reply | Failed, name: str) -> NodeError:
    return NodeError(f"an agent takes no {type(reply).__name__} for {name!r}", "BadReply")
