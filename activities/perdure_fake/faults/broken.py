"""Rows 17 to 28: connections, streams and bodies that break. Parameters are keyword arguments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from ..errors import Problem, error_body
from ..plans import Event, Json, Piece, Plan, Send, Wait, encoded
from ..serving import Serving

End = Literal["close", "reset"]

_LOGIN = (
    b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><form>Sign in to the proxy</form></body></html>"
)


def refused(serving: Serving) -> Plan:  # noqa: ARG001
    """17: RST. A port that refuses is `FakeProvider.refused_url`, which needs no step."""
    return Plan(silent=True, ending="reset", whole=False)


def closed(serving: Serving, *, where: str = "headers", how: End = "close", keep: float = 0.5) -> Plan:
    """18: closed before the `headers`, or in the `body`, of which the part `keep` is sent."""
    if where == "headers":
        return Plan(silent=True, ending=how, whole=False)
    if serving.streams:
        return cut(serving, how=how)
    data = encoded(serving.whole())
    shown = Send(data[: int(len(data) * keep)], tokens=serving.answer.completion)
    return Plan((shown,), declared=len(data), ending=how, whole=False)


def no_headers(serving: Serving, *, seconds: float | None = None) -> Plan:
    """19: nothing for `seconds`, then the answer; without them never."""
    if seconds is None:
        return Plan((Wait(None),), silent=True, ending="close", whole=False)
    plan = serving.usual()
    return replace(plan, pieces=(Wait(seconds), *plan.pieces))


def stalled(serving: Serving, *, after: int = 1, seconds: float | None = None) -> Plan:
    """20: nothing for `seconds` (or ever) after so many pieces of content, or in the middle of a body."""
    if not serving.streams:
        data = encoded(serving.whole())
        half = len(data) // 2
        pieces: tuple[Piece, ...] = (
            Send(data[:half]),
            Wait(seconds),
            Send(data[half:], tokens=serving.answer.completion),
        )
        return Plan(pieces, whole=seconds is not None)
    events = serving.events()
    place = _place(events, after)
    plan = serving.streamed(events)
    before = serving.streamed(events[:place]).pieces
    return replace(plan, pieces=(*before, Wait(seconds), *plan.pieces[len(before) :]), whole=seconds is not None)


def cut(serving: Serving, *, after: int = 1, how: End = "close") -> Plan:
    """21: the connection ends after so many pieces of content, without the last chunk."""
    if not serving.streams:
        data = encoded(serving.whole())
        shown = Send(data[: len(data) // 2], tokens=serving.answer.completion)
        return Plan((shown,), framing="chunked", last_chunk=False, ending=how, whole=False)
    events = serving.events()
    return serving.streamed(events[: _place(events, after)], last_chunk=False, ending=how, whole=False)


def unfinished(serving: Serving, *, missing: str = "finish", after: int | None = None) -> Plan:
    """22: ends as it should, but never says why the model stopped; or only the last line is missing: `done`."""
    if not serving.streams:
        return serving.bodied(_unfinished(serving.whole()), whole=False)
    kinds = {"done"} if missing == "done" else {"finish", "usage", "done"}
    events = [event for event in serving.events() if event.kind not in kinds]
    if after is not None:
        events = events[: _place(events, after)]
    return serving.streamed(events, whole=missing == "done")


def _unfinished(body: Json) -> Json:
    if "choices" in body:
        return {**body, "choices": [{**choice, "finish_reason": None} for choice in body["choices"]]}
    return {**body, **{key: None for key in ("stop_reason", "status") if key in body}}


def error_in_stream(
    serving: Serving,
    *,
    after: int = 1,
    error: str = "overloaded_error",
    message: str = "Overloaded",
    how: str = "error",
) -> Plan:
    """23: an error object after so many pieces of content. On Responses it is an `error` event, or `failed`."""
    problem = Problem(529 if "overload" in error else 500, message, code=error, type=error)
    if not serving.streams:
        return serving.refuse(problem)
    events = serving.events()
    return serving.streamed([*events[: _place(events, after)], _error(serving, problem, how)], whole=False)


def _error(serving: Serving, problem: Problem, how: str) -> Event:
    if serving.asked.wire != "openai-responses":
        body = error_body(problem, anthropic=serving.anthropic, request_id=serving.request_id)
        return Event(body, name="error" if serving.anthropic else None, kind="done")
    if how == "failed":
        code = "rate_limit_exceeded" if problem.code and "rate" in problem.code else "server_error"
        failed = {**serving.whole(), "status": "failed", "error": {"code": code, "message": problem.message}}
        failed |= {"output": [], "usage": None, "completed_at": None}
        return Event(
            {"type": "response.failed", "response": failed, "sequence_number": 99}, "response.failed", "finish"
        )
    data = {"type": "error", "code": problem.code, "message": problem.message, "param": None, "sequence_number": 99}
    return Event(data, name="error", kind="done")


def bad_line(serving: Serving, *, after: int = 1) -> Plan:
    """24: a data line that is no JSON."""
    if not serving.streams:
        return serving.bodied(encoded(serving.whole())[:-2] + b",,}", whole=False)
    events = serving.events()
    place = _place(events, after)
    name = events[place].name if place < len(events) else None
    broken = Event('{"id": "broken", "choices": [{', name=name)
    return serving.streamed([*events[:place], broken, *events[place:]], whole=False)


def html(serving: Serving, *, content_type: str = "text/html; charset=utf-8") -> Plan:  # noqa: ARG001
    """25: 200 with a page, as of a proxy that wants a login."""
    return Plan((Send(_LOGIN),), content_type=content_type, whole=False)


def bad_json(serving: Serving, *, empty: bool = False) -> Plan:
    """26: 200 with half of a body, or none, and the length to match."""
    data = b"" if empty else encoded(serving.whole())[:-40]
    return Plan((Send(data, tokens=serving.answer.completion),), whole=False)


def hollow(
    serving: Serving, *, what: str = "error", message: str = "The model crashed", code: str = "server_error"
) -> Plan:
    """27: 200 with an `error` in place of the answer, or with `null` or `empty` for what was said."""
    problem = Problem(500, message, code=code)
    if what == "error":
        if serving.streams:
            return serving.streamed([_error(serving, problem, "error")], whole=False)
        return serving.bodied(error_body(problem, anthropic=serving.anthropic), whole=False)
    value: list[Any] | None = None if what == "null" else []
    field = {"anthropic-messages": "content", "openai-responses": "output"}.get(serving.asked.wire, "choices")
    if not serving.streams:
        return serving.bodied({**serving.whole(), field: value}, whole=False)
    events = [event for event in serving.events() if event.kind not in {"content", "close"}]
    return serving.streamed([_hollowed(event, field, value) for event in events], whole=False)


def _hollowed(event: Event, field: str, value: object) -> Event:
    if isinstance(event.data, str):
        return event
    data = dict(event.data)
    for holder in (data, data.get("response"), data.get("message")):
        if isinstance(holder, dict) and field in holder:
            holder[field] = value
    return replace(event, data=data)


def not_a_stream(serving: Serving) -> Plan:
    """28: a stream is asked for, JSON comes."""
    return serving.bodied(serving.whole())


def _place(events: Sequence[Event], after: int) -> int:
    """Give the index that follows so many pieces of content; 0 is before the first one."""
    seen = 0
    for index, event in enumerate(events):
        if event.kind == "content":
            if seen == after:
                return index
            seen += 1
        elif event.kind == "finish" or (event.kind == "close" and 0 < after <= seen):
            return index
    return len(events)
