"""What comes of the calls of a round: results, failures, what people decide."""

from __future__ import annotations

from typing import assert_never

from ..children import FlowAnswer
from ..effects import Reply
from ..errors import NodeError
from ..nodes.base import Failed, Form, FormReply
from . import limits, log, loop_forms, observations
from .effects import AgentAnswer, ToolResult
from .loop_state import CallState, Making
from .thoughts import beginning
from .tools import ToolErrorKind, ToolFacts

_TIMEOUTS = frozenset({"EffectTimeout", "TimeoutError", "timeout"})
_TOO_DEEP = "TooDeep"


def came(m: Making, name: str, reply: Reply | Failed) -> None:
    """Take what came of an effect or a form of a call."""
    call = _of(m, name)
    match reply:
        case FormReply() if name[0] == "a":
            _decided(m, call, reply)
        case FormReply():
            _explained(m, call, reply)
        case Failed():
            _failed(m, call, reply)
        case ToolResult(error_kind=kind):
            call.kept = reply.kept
            call.elapsed, call.files = reply.elapsed, reply.files
            settle(m, call, reply.text, size=reply.size, digest=reply.digest, kind=kind, error=reply.error)
        case AgentAnswer():
            m.state.usage = m.state.usage.plus(reply.usage)
            m.state.simulated = m.state.simulated or reply.simulated
            call.files = reply.files
            settle(m, call, _fit(m, observations.of_agent(reply)))
        case FlowAnswer():
            call.files = reply.files
            settle(m, call, _fit(m, observations.of_flow(reply)))
        case _:
            raise NodeError(f"an agent takes no {type(reply).__name__} for {name!r}", "BadReply")


def tool_of(m: Making, call: CallState) -> ToolFacts:
    """Find the tool of a call that can be made."""
    facts = m.state.facts(call.name)
    assert facts is not None
    return facts


def index_of(m: Making, call: CallState) -> int:
    """Give the place of a call in its round."""
    return next(index for index, one in enumerate(m.state.calls) if one is call)


def ask_approval(m: Making, call: CallState, problem: str = "") -> None:
    """Ask whether a call may be made. problem: with the arguments that were written."""
    facts = tool_of(m, call)
    form = loop_forms.approval(
        m.config.name, facts.label or call.name, call.arguments or {}, m.config.approval, problem
    )
    _open(m, call, "a", form)


def ask_operator(m: Making, call: CallState, error: str) -> None:
    """Ask what became of a call that was interrupted."""
    facts = tool_of(m, call)
    form = loop_forms.interrupted(m.config.name, facts.label or call.name, call.arguments or {}, error)
    _open(m, call, "i", form)


def interrupted(m: Making, call: CallState, error: str) -> None:
    """Take it that nobody knows what became of a call that must not be repeated: somebody is asked, or told."""
    facts = tool_of(m, call)
    match facts.interrupted:
        case "ask":
            ask_operator(m, call, error)
        case "tell":
            settle(m, call, observations.lost(call.name, facts.use), kind="session_lost", error=error)
        case _:
            assert_never(facts.interrupted)


def _open(m: Making, call: CallState, kind: str, form: Form) -> None:
    call.forms += 1
    again = f".{call.forms}" if call.forms > 1 else ""
    call.status, call.form = "waiting", f"{kind}{m.state.round}.{index_of(m, call)}{again}"
    m.wait.append((call.form, form.model_copy(update={"call": call.id})))


def _of(m: Making, name: str) -> CallState:
    return m.state.calls[int(name.split(".")[1].removeprefix("c"))]


def _decided(m: Making, call: CallState, reply: FormReply) -> None:
    """Take what a person, or the clock, decided on a call."""
    call.form = ""
    action = reply.action
    if action is None:
        action = m.config.approval.on_timeout
        if action == "deny":
            refuse(m, call, "denied", observations.nobody_approved(call.name))
            return
        if action == "stop":
            refuse(m, call, "denied", observations.nobody_approved(call.name))
            m.state.stopping = "denied"
            return
    if action == loop_forms.DENY:
        refuse(m, call, "denied", observations.denied(call.name, loop_forms.text_in(reply, loop_forms.REASON)))
        return
    try:
        written = loop_forms.changed(reply, call.arguments or {}) if reply.action is not None else None
    except loop_forms.NoArguments as problem:
        ask_approval(m, call, str(problem))
        return
    if written is not None:
        call.original, call.arguments = call.arguments, written
    call.status = "asked"


def _explained(m: Making, call: CallState, reply: FormReply) -> None:
    """Take what an operator says of a call that was interrupted."""
    call.form = ""
    if reply.action == loop_forms.RUN_AGAIN:
        call.status = "asked"
    elif reply.action == loop_forms.GIVE_RESULT:
        settle(m, call, _fit(m, loop_forms.text_in(reply, loop_forms.RESULT)))
    else:
        settle(m, call, observations.unsure(call.name), kind="invoke")


def _failed(m: Making, call: CallState, failed: Failed) -> None:
    if failed.interrupted and tool_of(m, call).retry == "never":
        interrupted(m, call, failed.message)
        return
    if failed.error_type == _TOO_DEEP:
        call.made = False
        m.state.made -= 1
        refuse(m, call, "refused", _fit(m, failed.message))
        return
    kind: ToolErrorKind = "timeout" if failed.error_type in _TIMEOUTS else "invoke"
    settle(m, call, _fit(m, observations.failed(failed.message)), kind=kind, error=failed.message)


def refuse(m: Making, call: CallState, kind: ToolErrorKind, text: str) -> None:
    """Settle a call that is not made."""
    settle(m, call, text, kind=kind)


def settle(
    m: Making,
    call: CallState,
    text: str,
    *,
    size: int = 0,
    digest: str = "",
    kind: ToolErrorKind | None = None,
    error: str = "",
) -> None:
    """Note what came of a call: kind is None where it was done. size, digest: of all of it, where `text` is not all."""
    call.status = "done" if kind is None else "failed"
    call.form = ""
    call.observation, call.size = beginning(text), size or len(text)
    call.digest = digest or limits.digest(text)
    call.error_kind, call.error = kind, beginning(error or text) if kind is not None else ""
    if not call.kept:
        call.message = observations.tool_message(
            m.config, call.id, call.name, text, call.files, is_error=kind is not None
        )
    m.tell.append(log.call_ended(m.state, call, m.now))


def _fit(m: Making, text: str) -> str:
    return observations.within(text, m.config.max_observation_bytes)
