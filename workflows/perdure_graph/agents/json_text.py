"""JSON within what a model writes: where it ends, character by character, and what it says.

`Strict` follows JSON itself and gives up at the first character that cannot be part of it; for free text.
`Balanced` only follows brackets and strings, also Python's; for what was announced as a call and may be repaired.
"""

from __future__ import annotations

import json
import re
from enum import Enum, auto

from pydantic import JsonValue

from ..loose_json import DECODER, MAX_DEPTH, too_deep


class Scan(Enum):
    """Where a scanner is: within, behind the last character, or at one that cannot belong to it."""

    OPEN = auto()
    CLOSED = auto()
    FAILED = auto()


class Strict:
    """Follows an object or a list of JSON. Control characters in strings are tolerated."""

    def __init__(self) -> None:
        self._stack: list[str] = []
        self._want = "value"
        self._string = False
        self._escaped = False
        self._token = ""

    def feed(self, char: str) -> Scan:
        """Take the next character."""
        if self._string:
            return self._in_string(char)
        if self._token:
            if char.isalnum() or char in "+-.":
                self._token += char
                return Scan.OPEN if len(self._token) <= 400 else Scan.FAILED
            if not _SCALAR.fullmatch(self._token):
                return Scan.FAILED
            self._token, self._want = "", "comma"
        if char in " \t\r\n":
            return Scan.OPEN
        return self._structure(char)

    def _in_string(self, char: str) -> Scan:
        if self._escaped:
            self._escaped = False
            return Scan.OPEN if char in '"\\/bfnrtu' else Scan.FAILED
        if char == "\\":
            self._escaped = True
        elif char == '"':
            self._string = False
            self._want = "colon" if self._want in ("key", "first key") else "comma"
        return Scan.OPEN

    def _structure(self, char: str) -> Scan:
        match self._want, char:
            case "colon", ":":
                self._want = "value"
            case "comma", ",":
                self._want = "key" if self._stack[-1] == "{" else "value"
            case ("comma" | "first key", "}") if self._stack[-1] == "{":
                return self._pop()
            case ("comma" | "first value", "]") if self._stack[-1] == "[":
                return self._pop()
            case "key" | "first key" | "value" | "first value", '"':
                self._string = True
            case "value" | "first value", "{" | "[":
                self._stack.append(char)
                self._want = "first key" if char == "{" else "first value"
                return Scan.OPEN if len(self._stack) <= MAX_DEPTH else Scan.FAILED
            case "value" | "first value", _ if char in "-0123456789tfn":
                self._token = char
            case _:
                return Scan.FAILED
        return Scan.OPEN

    def _pop(self) -> Scan:
        self._stack.pop()
        self._want = "comma"
        return Scan.OPEN if self._stack else Scan.CLOSED


class Balanced:
    """Follows brackets to the one that closes the first."""

    def __init__(self) -> None:
        self._depth = 0
        self._quote = ""
        self._escaped = False
        self._before = ""

    def feed(self, char: str) -> Scan:
        """Take the next character."""
        if self._quote:
            if self._escaped:
                self._escaped = False
            elif char == "\\":
                self._escaped = True
            elif char == self._quote:
                self._quote = ""
            return Scan.OPEN
        # An apostrophe opens a string only where one may stand.
        if char == '"' or (char == "'" and self._before in ("{", "[", ",", ":")):
            self._quote = char
        elif char in "{[":
            self._depth += 1
        elif char in "}]":
            self._depth -= 1
        if not char.isspace():
            self._before = char
        return Scan.OPEN if self._depth else Scan.CLOSED


def decode(text: str) -> JsonValue:
    """Read JSON, control characters in strings tolerated.

    Raises:
        ValueError: it is none, or none that every payload can carry (depth, numbers that are not finite).
    """
    try:
        value: JsonValue = DECODER.decode(text)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    if too_deep(value):
        raise ValueError(_TOO_DEEP)
    if not _HALF.search(text):
        return value
    # Half of a surrogate pair fits into no payload.
    whole = json.dumps(value, ensure_ascii=False).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return DECODER.decode(whole)


def decode_repaired(text: str) -> JsonValue:
    """Read JSON; where it is none, without trailing commas and with Python's literals put right.

    Raises:
        ValueError: as for `decode`.
    """
    try:
        return decode(text)
    except ValueError:
        return decode(_PIECE.sub(_put_right, text))


_TOO_DEEP = f"The JSON is deeper than {MAX_DEPTH} levels."
_SCALAR = re.compile(r"true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_HALF = re.compile(r"\\u[dD][89a-fA-F]")
_PIECE = re.compile(
    r"""(?P<string>"(?:[^"\\]|\\.)*")|'(?P<single>(?:[^'\\]|\\.)*)'|(?P<escape>\\.)|,(?=\s*[}\]])|\b(?P<word>True|False|None)\b""",
    re.DOTALL,
)
_WORDS = {"True": "true", "False": "false", "None": "null"}


def _put_right(piece: re.Match[str]) -> str:
    if kept := piece["string"] or piece["escape"]:
        return kept
    if piece["single"] is not None:
        return '"' + re.sub(r"\\(.)|\"", _requoted, piece["single"], flags=re.DOTALL) + '"'
    return _WORDS.get(piece["word"] or "", "")


def _requoted(found: re.Match[str]) -> str:
    if found[1] is None:
        return '\\"'
    return "'" if found[1] == "'" else found[0]
