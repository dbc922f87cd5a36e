"""Rows 17 to 28, 41 and 42: connections, streams and bodies that break, or lead elsewhere."""

from __future__ import annotations

from typing import Any

from .case import BOTH, CHAT, MESSAGES, RESPONSES, Case, Expect
from .statuses import failed

# What is left alone after faults of the connection: a lone deployment is asked all the same.
NETWORK = (10.0, 10.0)
COOLED: dict[str, Any] = {"health": "stream_broken", "opens": NETWORK}
BROKEN = Expect(faults=("stream_broken",), billed=True, requests=2, rewinds=1, **COOLED)
GARBLED = ("protocol_error", "protocol_error")

STREAMS: tuple[Case, ...] = (
    Case(
        17,
        "refused",
        "nobody listens",
        failed("InvokeConnectionError", *["connection"] * 5, requests=0, health="connection", opens=NETWORK),
        base_url="refused",
        wires=BOTH,
    ),
    Case(
        17,
        "dns",
        "the name is not known",
        failed("InvokeConnectionError", *["connection"] * 5, requests=0, health="connection", opens=NETWORK),
        base_url="http://nobody.invalid/v1",
        wires=BOTH,
    ),
    Case(
        17,
        "next",
        "nobody listens; another deployment",
        Expect(faults=("connection",), requests=1, health="connection", opens=NETWORK),
        base_url="refused",
        another="key",
    ),
    Case(
        18,
        "headers",
        "closed before the headers, once",
        Expect(faults=("connection",), billed=True, requests=2, health="connection", opens=NETWORK),
        times=1,
    ),
    Case(
        18,
        "reset",
        "reset before the headers, once",
        Expect(faults=("connection",), billed=True, requests=2, health="connection", opens=NETWORK),
        params={"how": "reset"},
        times=1,
        wires=BOTH,
    ),
    Case(18, "body", "closed in the body, once", BROKEN, params={"where": "body"}, times=1),
    Case(
        19,
        "once",
        "no headers within the limit (5 s here), once",
        Expect(faults=("timeout",), billed=True, requests=2, apart=(5, 12), health="timeout", opens=NETWORK),
        times=1,
    ),
    Case(
        19,
        "next",
        "no headers within the limit; another deployment",
        Expect(faults=("timeout",), billed=True, requests=2, apart=(5, 12), health="timeout", opens=NETWORK),
        another="key",
    ),
    Case(20, "once", "nothing more after one piece (limit 4 s here), once", BROKEN, times=1),
    Case(21, "once", "cut after one piece, once", BROKEN, times=1),
    Case(21, "reset", "reset after two pieces, once", BROKEN, params={"after": 2, "how": "reset"}, times=1, wires=BOTH),
    Case(
        21,
        "always",
        "cut after one piece, each time",
        failed(
            "InvokeConnectionError",
            *["stream_broken"] * 5,
            requests=5,
            billed=True,
            health="stream_broken",
            opens=NETWORK,
        ),
        wires=BOTH,
    ),
    Case(22, "finish", "a clean end that does not say why, once", BROKEN, times=1),
    Case(
        22,
        "done",
        "only the last line is missing",
        Expect(),
        params={"missing": "done"},
        times=1,
        by_wire={
            MESSAGES: {"faults": ("stream_broken",), "billed": True, "requests": 2, "rewinds": 1, **COOLED},
        },
    ),
    Case(
        23,
        "overloaded",
        "an error in the stream after one piece: overloaded, once",
        Expect(faults=("overloaded",), billed=True, requests=2, rewinds=1),
        times=1,
    ),
    Case(
        23,
        "server",
        "an error before the first piece: api_error, once",
        Expect(faults=("server_error",), billed=True, requests=2),
        params={"error": "api_error", "after": 0},
        times=1,
    ),
    Case(
        23,
        "failed",
        "`response.failed` after one piece, once",
        Expect(faults=("server_error",), billed=True, requests=2, rewinds=1),
        params={"how": "failed", "error": "server_error"},
        times=1,
        wires=(RESPONSES,),
    ),
    Case(
        23,
        "fallback",
        "an error before the first piece: overloaded; another model stands in",
        Expect(faults=("overloaded",), billed=True, requests=2, apart=(0, 5)),
        params={"after": 0},
        another="model",
        wires=BOTH,
    ),
    Case(
        24,
        "once",
        "a data line that is no JSON, once",
        Expect(faults=("protocol_error",), billed=True, requests=2, rewinds=1),
        times=1,
    ),
    Case(
        24,
        "always",
        "a data line that is no JSON, each time: two attempts",
        failed("InvokeProtocolError", *GARBLED, requests=2, billed=True),
    ),
    Case(
        25,
        "page",
        "200 with the page of a proxy",
        failed("InvokeProtocolError", *GARBLED, requests=2, says="text/html"),
    ),
    Case(
        25,
        "events",
        "200 with a page that says it is a stream: no event in it",
        failed("InvokeProtocolError", *GARBLED, requests=2, billed=True),
        params={"content_type": "text/event-stream"},
    ),
    Case(
        26,
        "cut",
        "200 with half of a JSON body",
        failed("InvokeProtocolError", *GARBLED, requests=2, billed=True),
    ),
    Case(
        26,
        "empty",
        "200 with an empty body",
        failed("InvokeProtocolError", *GARBLED, requests=2, billed=True),
        params={"empty": True},
    ),
    Case(
        27,
        "error",
        "200 with an error in place of the answer, once: by its code",
        Expect(faults=("server_error",), billed=True, requests=2),
        times=1,
    ),
    Case(
        27,
        "null",
        "200 with null for what was said",
        failed("InvokeProtocolError", *GARBLED, requests=2, billed=True),
        params={"what": "null"},
        wires=(CHAT,),
    ),
    Case(
        27,
        "none",
        "200 with an empty list for what was said",
        failed("InvokeProtocolError", *GARBLED, requests=2, billed=True),
        params={"what": "empty"},
        wires=(CHAT,),
    ),
    Case(28, "once", "a stream is asked for, JSON comes: it is read", Expect()),
    Case(
        41,
        "elsewhere",
        "307 to another host: not followed, it receives nothing",
        failed("InvokeProtocolError", *GARBLED, requests=2, says="redirects", outputs={"requests elsewhere": 0}),
        params={"to": "elsewhere"},
        play="redirected",
    ),
    Case(
        42,
        "stream",
        "a stream of 50 MB: read to the limit of 10 MiB",
        failed("InvokeProtocolError", *GARBLED, requests=2, billed=True),
        params={"what": "stream"},
        wires=BOTH,
    ),
    Case(
        42,
        "line",
        "one line of 50 MB",
        failed("InvokeProtocolError", *GARBLED, requests=2, billed=True, says="larger than the limit"),
        params={"what": "line"},
        wires=BOTH,
    ),
    Case(
        42,
        "body",
        "a body of 50 MB",
        failed("InvokeProtocolError", *GARBLED, requests=2, billed=True, says="larger than the limit"),
        params={"what": "body"},
        wires=BOTH,
    ),
)
