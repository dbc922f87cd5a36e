"""Rows 29 to 37: answers that are strange in themselves. Parameters are keyword arguments."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, cast

from ..answers import ToolUse
from ..asked import mapping, objects
from ..counting import fragments, pieces
from ..plans import Event, Json, Piece, Plan, Send, sse
from ..script import Used
from ..serving import Serving
from ..wires import chat


def _calls(serving: Serving, least: int = 1) -> tuple[ToolUse, ...]:
    """Give the answer's tool calls, or as many as needed of the request's tools."""
    calls = list(serving.answer.tools)
    names = [tool.name for tool in serving.asked.tools] or ["lookup"]
    while len(calls) < least:
        number = len(calls)
        arguments = fragments(json.dumps({"number": number}), 4)
        calls.append(ToolUse(f"call_{serving.asked.digest[:16]}{number:02d}", names[number % len(names)], arguments))
    return tuple(calls)


def bad_arguments(serving: Serving, *, arguments: str = '{"city": Paris,') -> Plan:
    """29: the arguments of a tool call are no JSON."""
    use = replace(_calls(serving)[0], pieces=fragments(arguments))
    return serving.saying(tools=(use,), finish="tool_calls").usual()


def cut_arguments(serving: Serving, *, keep: int | None = None) -> Plan:
    """30: the token limit cuts the arguments of the last tool call, after `keep` characters or half of them."""
    calls = _calls(serving)
    whole = calls[-1].arguments
    shown = whole[: len(whole) // 2 if keep is None else keep]
    return serving.saying(tools=(*calls[:-1], replace(calls[-1], pieces=fragments(shown))), finish="length").usual()


def odd_calls(serving: Serving, *, quirk: str = "same_index") -> Plan:
    """31: two tool calls with `same_index`, `missing_index`, `first_index_1`, `repeated_id`, `no_id` or `interleaved`.

    Only Chat Completions has such servers; the other wires answer with the two calls as they should.
    """
    served = serving.saying(tools=_calls(serving, 2), finish="tool_calls")
    if serving.asked.wire != "openai-chat":
        return served.usual()
    if not serving.streams:
        return served.bodied(_odd_body(served.whole(), quirk))
    events = served.events()
    if quirk == "interleaved":
        events = _interleaved(events)
    ids = [use.id for use in served.answer.tools]
    for event in events:
        for call in _deltas(event):
            _odd(call, quirk, ids)
    return served.streamed(events)


def _odd(call: Json, quirk: str, ids: list[str]) -> None:
    match quirk:
        case "same_index":
            call["index"] = 0
        case "missing_index":
            del call["index"]
        case "first_index_1":
            call["index"] += 1
        case "repeated_id":
            call["id"] = ids[call["index"]]
        case "no_id":
            call.pop("id", None)
        case _:
            pass


def _odd_body(body: Json, quirk: str) -> Json:
    for call in objects(mapping(objects(body["choices"])[0]["message"]).get("tool_calls")):
        if quirk == "no_id":
            del call["id"]
    return body


def _deltas(event: Event) -> list[Json]:
    choices = objects(mapping(event.data).get("choices"))
    return objects(mapping(choices[0].get("delta")).get("tool_calls")) if choices else []


def _interleaved(events: list[Event]) -> list[Event]:
    """Let the calls take turns."""
    first = next(index for index, event in enumerate(events) if _deltas(event))
    last = max(index for index, event in enumerate(events) if _deltas(event)) + 1
    lanes: dict[int, list[Event]] = {}
    for event in events[first:last]:
        lanes.setdefault(_deltas(event)[0]["index"], []).append(event)
    turns = max(len(lane) for lane in lanes.values())
    mixed = [lane[turn] for turn in range(turns) for lane in lanes.values() if turn < len(lane)]
    return [*events[:first], *mixed, *events[last:]]


def odd_tools(serving: Serving, *, what: str = "unknown", count: int = 40) -> Plan:
    """32: a tool that nobody offered (`unknown`), one id twice (`duplicate`), or very `many` calls."""
    match what:
        case "unknown":
            calls = (replace(_calls(serving)[0], name="no_such_tool"),)
        case "duplicate":
            first, second = _calls(serving, 2)[:2]
            calls = (first, replace(second, id=first.id))
        case _:
            calls = _calls(serving, count)[:count]
    return serving.saying(tools=calls, finish="tool_calls").usual()


def refused_content(serving: Serving, *, how: str = "refusal", text: str = "I can't help with that.") -> Plan:
    """33: the model refuses, or a `content_filter` cuts the answer."""
    if how == "content_filter":
        return serving.saying(finish="content_filter").usual()
    return serving.saying(text=(), tools=(), refusal=pieces(text), finish="refusal").usual()


def stopped(serving: Serving, *, what: str = "pause_turn") -> Plan:
    """34: Messages' `pause_turn`, or `model_context_window_exceeded`; the other wires stop at the length."""
    pause = what == "pause_turn" and serving.anthropic
    return serving.saying(tools=(), finish="pause" if pause else "window").usual()


def odd_bytes(serving: Serving, *, size: int = 1, crlf: bool = True, extra: bool = True) -> Plan:
    """35: pieces of `size` bytes, CRLF, comments, pings and unknown events."""
    if not serving.streams:
        plan = serving.bodied(serving.whole())
        return replace(plan, pieces=_split(plan.pieces, size), framing="chunked")
    events = serving.events()
    if extra and events[0].name is not None:
        unknown = f"{'response.' if serving.asked.wire == 'openai-responses' else ''}perdure_unknown"
        events.insert(len(events) // 2, Event({"type": unknown, "sequence_number": 0}, name=unknown))
        if serving.anthropic:
            events.insert(len(events) // 2, Event({"type": "ping"}, name="ping"))
    sent: list[Piece] = []
    for event in events:
        data = (b": keep-alive\n\n" if extra else b"") + sse(event)
        sent.append(Send(data.replace(b"\n", b"\r\n") if crlf else data, event.text, event.tokens))
    return replace(serving.streamed(events), pieces=_split(tuple(sent), size))


def _split(whole: tuple[Piece, ...], size: int) -> tuple[Piece, ...]:
    split: list[Piece] = []
    for piece in whole:
        if not isinstance(piece, Send):
            split.append(piece)
            continue
        parts = [piece.data[start : start + size] for start in range(0, len(piece.data), size)] or [b""]
        split += [Send(part) for part in parts[:-1]]
        split.append(Send(parts[-1], piece.text, piece.tokens))
    return tuple(split)


def odd_usage(serving: Serving, *, what: str = "absent") -> Plan:
    """36: usage `absent`, in `every` chunk so far, only at the `end` (Messages), or `zeros`."""
    if what == "zeros":
        return replace(serving, answer=replace(serving.answer, reported=_NOTHING)).usual()
    if not serving.streams:
        return serving.bodied(_without_usage(serving.whole()) if what == "absent" else serving.whole())
    events = serving.events()
    if what == "every":
        return serving.streamed(_counting_up(serving, events))
    kept: list[Event] = []
    for event in events:
        if event.kind == "usage" and what == "absent":
            continue
        late = what == "end" and event.kind == "finish"
        kept.append(event if late or isinstance(event.data, str) else replace(event, data=_without_usage(event.data)))
    return serving.streamed(events if what == "end" and not serving.anthropic else kept)


_NOTHING = Used(prompt=0, completion=0, reasoning=0)


def _without_usage(body: Json) -> Json:
    kept = {key: value for key, value in body.items() if key != "usage"}
    for holder in ("response", "message"):
        if isinstance(kept.get(holder), dict):
            kept[holder] = _without_usage(kept[holder])
    return kept


def _counting_up(serving: Serving, events: list[Event]) -> list[Event]:
    """Put the usage so far into every chunk; Messages has an event for it."""
    made: list[Event] = []
    said = 0
    for event in events:
        said += event.tokens
        so_far = replace(serving.answer, reported=Used(prompt=serving.answer.prompt, completion=said, reasoning=0))
        counts = serving.asked.wire in {"openai-chat", "openai-completions"} and isinstance(event.data, dict)
        made.append(replace(event, data={**mapping(event.data), "usage": chat.usage(so_far)}) if counts else event)
        if serving.anthropic and event.kind == "close":
            stop = {"stop_reason": None, "stop_sequence": None, "stop_details": None}
            data = {"type": "message_delta", "delta": stop, "usage": {"output_tokens": said}}
            made.append(Event(data, name="message_delta"))
    return made


def reasoned(serving: Serving, *, field: str = "", text: str = "Let me think about it.") -> Plan:
    """37: the model thinks aloud: `reasoning_content` or `reasoning` (Chat Completions), `thinking` or `redacted`."""
    thinking = serving.answer.thinking or pieces(text)
    served = serving.saying(thinking=thinking, redacted=field == "redacted")
    if serving.asked.wire != "openai-chat" or field != "reasoning":
        return served.usual()
    if not serving.streams:
        body = served.whole()
        _renamed(cast("dict[str, Any]", objects(body["choices"])[0]["message"]))
        return served.bodied(body)
    events = served.events()
    for event in events:
        for choice in objects(mapping(event.data).get("choices")):
            _renamed(mapping(choice.get("delta")))
    return served.streamed(events)


def _renamed(holder: Json) -> None:
    if "reasoning_content" in holder:
        holder["reasoning"] = holder.pop("reasoning_content")
