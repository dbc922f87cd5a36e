"""Rows 29 to 40: answers that are strange in themselves, slow, given up, or lost with their worker."""

from __future__ import annotations

from .case import ALL, BOTH, CHAT, CHUNKS, MESSAGES, OPENAI, RESPONSES, TEXT, Case, Expect
from .statuses import failed

TOOLS = "by the runtime: nodes that only ask offer no tools"
CALLS = {"tool_calls": ({"name": "weather", "arguments": {"city": "Paris"}},)}
TWO = {"tool_calls": ({"name": "weather", "arguments": {"n": 1}}, {"name": "weather", "arguments": {"n": 2}})}
THINKS = {"chunks": CHUNKS, "thinking": "Let me think about it."}


def called(**outputs: object) -> Expect:
    """An answer with tool calls, whose summary is this."""
    return Expect(text="", outputs=outputs)


ANSWERS: tuple[Case, ...] = (
    Case(
        29,
        "call",
        "arguments of a tool call that are no JSON: the answer stands, the call is marked, nothing is retried",
        called(calls=1, broken=("not JSON",)),
        reply=CALLS,
        play="tools",
        why=TOOLS,
    ),
    Case(
        30,
        "call",
        "the token limit cuts a tool call: never to be made",
        called(calls=1, broken=("cut off",)),
        reply=CALLS,
        play="tools",
        why=TOOLS,
    ),
    *(
        Case(
            31,
            quirk.replace("_", "-"),
            f"two tool calls: {quirk.replace('_', ' ')}",
            called(calls=2, broken=(), arguments=('{"n": 1}', '{"n": 2}'), ids=2),
            reply=TWO,
            params={"quirk": quirk},
            wires=(CHAT,),
            play="tools",
            why=TOOLS,
        )
        for quirk in ("same_index", "missing_index", "first_index_1", "repeated_id", "no_id", "interleaved")
    ),
    Case(
        32,
        "unknown",
        "a tool that nobody offered: told as it is, nothing fails",
        called(calls=1, broken=(), names=("no_such_tool",)),
        reply=CALLS,
        params={"what": "unknown"},
        play="tools",
        why=TOOLS,
    ),
    Case(
        32,
        "duplicate",
        "one id twice: made unique",
        called(calls=2, broken=(), ids=2),
        reply=TWO,
        params={"what": "duplicate"},
        play="tools",
        why=TOOLS,
    ),
    Case(
        32,
        "many",
        "40 calls in one turn: 16 may be made",
        called(calls=40, broken=("at most 16",) * 24, ids=40),
        params={"what": "many"},
        play="tools",
        why=TOOLS,
    ),
    Case(
        33,
        "refusal",
        "the model refuses: an answer, no error",
        Expect(text="I can't help with that.", outputs={"finish_reason": "refusal"}),
    ),
    Case(
        33,
        "filter",
        "a content filter cuts the answer",
        Expect(outputs={"finish_reason": "content_filter"}),
        params={"how": "content_filter"},
        wires=OPENAI,
    ),
    Case(
        33,
        "fallback",
        "the model refuses; another one is set for that",
        Expect(faults=("content_refused",), billed=True, requests=2, apart=(0, 3)),
        another="model",
        reason="content_refused",
    ),
    Case(
        34,
        "pause",
        "pause_turn twice: sent back to be continued",
        Expect(requests=3, text=TEXT * 3, outputs={"finish_reason": "stop"}),
        times=2,
        wires=(MESSAGES,),
    ),
    Case(
        34,
        "pauses",
        "pause_turn each time: five times at most",
        Expect(requests=6, text=TEXT * 6, outputs={"finish_reason": "length"}),
        wires=(MESSAGES,),
    ),
    Case(
        34,
        "window",
        "the context window is full in mid-answer: what there is is kept",
        Expect(outputs={"finish_reason": "length"}),
        params={"what": "model_context_window_exceeded"},
    ),
    Case(
        34,
        "full",
        "the context window is full before the first word",
        failed("InvokeContextOverflowError", "context_overflow", billed=True),
        params={"what": "model_context_window_exceeded"},
        reply={"text": ""},
        wires=(MESSAGES,),
    ),
    Case(35, "bytes", "one byte at a time, CRLF, comments, pings, unknown events", Expect()),
    Case(
        35,
        "odd",
        "three bytes at a time, LF",
        Expect(),
        params={"size": 3, "crlf": False, "extra": False},
    ),
    Case(36, "absent", "no usage", Expect(estimated=True), params={"what": "absent"}),
    Case(36, "every", "usage in every chunk: the last wins", Expect(), params={"what": "every"}),
    Case(36, "end", "usage only at the end", Expect(), params={"what": "end"}),
    Case(36, "zeros", "usage of zeros", Expect(estimated=True), params={"what": "zeros"}),
    Case(
        37,
        "thinks",
        "thinking, in the channel for it",
        Expect(outputs={"reasoning_content": "Let me think about it."}),
        by_wire={},
    ),
    Case(
        37,
        "reasoning",
        "the same in a field named `reasoning`",
        Expect(outputs={"reasoning_content": "Let me think about it."}),
        params={"field": "reasoning"},
        wires=(CHAT,),
    ),
    Case(
        37,
        "back",
        "signed thinking is sent back unchanged in the next round; the fake refuses any other",
        Expect(requests=2, text="", outputs={"blocks": 1}),
        wires=(RESPONSES, MESSAGES),
        play="sent_back",
        why=TOOLS,
    ),
    Case(
        37,
        "redacted",
        "thinking that is only there in encrypted form is sent back unchanged",
        Expect(requests=2, text="", outputs={"blocks": 1}),
        params={"field": "redacted"},
        wires=(MESSAGES,),
        play="sent_back",
        why=TOOLS,
    ),
    Case(
        38,
        "total",
        "a slow drip: the limit of an attempt (here 3 s) ends it, and the socket is closed",
        Expect(
            status="failed",
            text="",
            faults=("timeout",),
            billed=True,
            health="timeout",
            opens=(10, 10),
            outputs={"kind": "timeout"},
        ),
        params={"every": 0.5, "count": 100},
        play="total",
        why="by the runtime: a flow cannot say the limit of an attempt (600 s)",
    ),
    Case(
        38,
        "deadline",
        "a slow drip, longer than the heartbeat timeout of 5 s: the node's deadline (here 9 s) ends it in its first attempt",
        Expect(
            status="failed",
            error_type="NodeDeadlineExceeded",
            text="",
            rewinds=None,
            faults=("cancelled",),
            billed=True,
            outputs={"let go by us": True},
        ),
        params={"every": 0.5, "count": 100},
        perdure={"deadline_s": 9},
        wires=BOTH,
        play="run_and_let_go",
    ),
    Case(
        39,
        "stop",
        "the client stops the run in mid-stream: the connection is closed within 1 s of hearing it",
        Expect(
            status="stopped",
            text="",
            rewinds=None,
            faults=("cancelled",),
            billed=True,
            outputs={"let go by us": True, "seconds from the stop to the end of the connection": (0, 3)},
        ),
        play="stopped",
    ),
    Case(
        39,
        "cancel",
        "the call is cancelled in mid-stream",
        Expect(
            status="stopped",
            text="",
            faults=("cancelled",),
            billed=True,
            outputs={"seconds from the cancel to the end of the connection": (0, 1)},
        ),
        play="cancelled",
        why="by the runtime: to the end of the socket only",
    ),
    Case(
        40,
        "kill",
        "SIGKILL for the worker in mid-stream, another one takes over: no text twice",
        Expect(
            faults=("cancelled",),
            billed=True,
            requests=2,
            text="".join(f"word{number} " for number in range(60)),
            rewinds=1,
        ),
        params={"every": 0.1, "count": 60},
        wires=BOTH,
        play="killed",
    ),
)
__all__ = ["ALL", "ANSWERS", "THINKS"]
