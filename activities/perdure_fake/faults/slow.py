"""Rows 38 to 42: too slow, sent elsewhere, too much. Parameters are keyword arguments."""

from __future__ import annotations

from dataclasses import replace

from ..plans import Plan, Send, encoded, sends
from ..script import Delay, Latency
from ..serving import Serving

_BLOCK = 64 * 1024
_MARK = "FILLED_IN_LATER"


def drip(serving: Serving, *, every: float = 20, count: int = 30) -> Plan:
    """38: one word per `every` seconds, `count` of them."""
    return _words(serving, every, count)


def abandoned(serving: Serving, *, every: float = 0.05, count: int = 1200) -> Plan:
    """39: long enough for the client to leave in the middle; the journal says when it did."""
    return _words(serving, every, count)


def killed(serving: Serving, *, every: float = 0.05, count: int = 1200) -> Plan:
    """40: long enough for the worker to be killed in the middle."""
    return _words(serving, every, count)


def _words(serving: Serving, every: float, count: int) -> Plan:
    text = tuple(f"word{number} " for number in range(count))
    slow = replace(serving.saying(text=text), latency=Latency(first=Delay(), chunk=Delay(median=every)))
    return slow.usual()


def redirected(serving: Serving, *, to: str = "", status: int = 307) -> Plan:
    """41: a redirect to another host: `to`, or this server by the name of `localhost`, where the journal sees it."""
    target = to or f"{serving.asked.base.replace('127.0.0.1', 'localhost')}{serving.asked.path}?redirected=1"
    return Plan((Send(b""),), status=status, headers=(("location", target),), whole=False)


def huge(serving: Serving, *, what: str = "stream", size: int = 50 * 1024 * 1024) -> Plan:
    """42: a `body` or a `stream` of `size` bytes, or a `line` of them."""
    filler = "x" * _BLOCK
    if what == "stream" and serving.streams:
        events = serving.events()
        content = next(index for index, event in enumerate(events) if event.kind == "content")
        before, block = sends(events[:content]), _filled(serving, filler)
        return serving.streamed(
            events, pieces=(*before, *block * (size // _BLOCK), *sends(events[content:])), whole=False
        )
    if what == "line" and serving.streams:
        events = serving.events()
        content = next(index for index, event in enumerate(events) if event.kind == "content")
        line = _filled(serving, "x" * size)
        return serving.streamed(events, pieces=(*sends(events[:content]), *line, *sends(events[content:])), whole=False)
    data = encoded(serving.saying(text=("x",)).whole())
    place = data.index(b'"x"') + 1
    blocks = (Send(filler.encode()),) * (size // _BLOCK)
    return Plan((Send(data[:place]), *blocks, Send(data[place:])), whole=False)


def _filled(serving: Serving, filler: str) -> tuple[Send, ...]:
    """Make the content of an answer that says `filler`, without counting it: that takes a while with so much."""
    events = serving.saying(text=(_MARK,), tools=(), thinking=()).events()
    # The journal would keep the text, and tell it to whoever asks.
    content = [replace(event, text="", tokens=len(filler) // 6) for event in events if event.kind == "content"]
    return tuple(replace(send, data=send.data.replace(_MARK.encode(), filler.encode())) for send in sends(content))
