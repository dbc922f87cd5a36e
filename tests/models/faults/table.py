"""All cases, and what the rows are called."""

from __future__ import annotations

from .answers import ANSWERS
from .case import Case, Played
from .statuses import STATUSES
from .streams import STREAMS

CASES: tuple[Case, ...] = tuple(sorted((*STATUSES, *STREAMS, *ANSWERS), key=lambda case: case.row))
ALL_PLAYED: tuple[Played, ...] = tuple(Played(case, wire) for case in CASES for wire in case.wires)

ROWS: dict[int, str] = {
    1: "429 with retry-after 7",
    2: "429 with retry-after 300",
    3: "429 with retry-after as a date, in milliseconds, in the past",
    4: "429 insufficient_quota",
    5: "401",
    6: "402",
    7: "403",
    8: "404 model",
    9: "400 context length exceeded",
    10: "400 unsupported parameter",
    11: "413",
    12: "408 / 409",
    13: "500",
    14: "502 with an HTML body",
    15: "503 / 504",
    16: "529",
    17: "refused TCP / DNS",
    18: "closed before the headers / in the body",
    19: "no headers in time",
    20: "stream stalls",
    21: "stream is cut",
    22: "stream ends without a reason",
    23: "error object in the stream",
    24: "bad JSON in a data line",
    25: "200 with HTML",
    26: "200 with truncated or empty JSON",
    27: "200 with an error, or with nothing",
    28: "JSON instead of a stream",
    29: "tool arguments that are no JSON",
    30: "tool arguments that are cut off",
    31: "odd indexes and ids of tool calls",
    32: "unknown tool, equal ids, 40 calls",
    33: "refusal",
    34: "pause_turn, full context window",
    35: "odd bytes",
    36: "odd usage",
    37: "thinking",
    38: "slow drip",
    39: "the client leaves in mid-stream",
    40: "the worker is killed in mid-stream",
    41: "redirect to another host",
    42: "huge reply",
}
