"""What a command writes: text for people, or with `--json` one object as the last line on stdout.

With `--json` everything meant for people goes to stderr.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import IO, Any

from perdure_graph.errors import (
    CommandRefused,
    InvalidGraph,
    InvalidInputs,
    PerdureError,
    PlatformError,
    RunFailed,
    RunNotFound,
)

OK = 0
FAILED = 1
INVALID = 2
INTERRUPTED = 130


class Output:
    """Where a command writes. `run_id` goes into the last line when the command fails."""

    def __init__(self, *, as_json: bool, run_id: str | None = None) -> None:
        self.as_json = as_json
        self.run_id = run_id

    @property
    def people(self) -> IO[str]:
        """The stream that people read."""
        return sys.stderr if self.as_json else sys.stdout

    def say(self, text: str = "") -> None:
        """Write a line for people."""
        _write(self.people, text)

    def note(self, text: str) -> None:
        """Write a line that is no part of the result: to stderr."""
        _write(sys.stderr, text)

    def json(self, value: Mapping[str, Any]) -> None:
        """Write one object as one line to stdout, in ASCII: it is valid JSON whatever the encoding of the stream."""
        _write(sys.stdout, json.dumps(value, default=str))

    def refuse(self, error: PerdureError) -> int:
        """Say why the command failed and give the exit code."""
        self.note(f"error: {error}")
        if self.as_json:
            self.json({"run_id": self.run_id, "status": _status(error), "error": describe(error)})
        return INVALID if isinstance(error, InvalidGraph | InvalidInputs) else FAILED


def _write(stream: IO[str], text: str) -> None:
    stream.write(text + "\n")
    stream.flush()


def execute(work: Callable[[], Coroutine[Any, Any, int]], out: Output) -> int:
    """Run a command to its end and give the exit code; errors made for people are written, not raised."""
    try:
        return asyncio.run(work())
    except PerdureError as error:
        return out.refuse(error)
    except Exception as error:
        if (known := _server_error(error)) is None:
            raise
        return out.refuse(known)


def _server_error(error: Exception) -> PerdureError | None:
    from temporalio.service import RPCError

    if isinstance(error, RPCError):
        return PlatformError(f"the Temporal server refused: {error.message} ({error.status.name.lower()}).")
    return None


def describe(error: PerdureError) -> dict[str, Any]:
    """Write an error as JSON: `type` and `message` always, `node`, `field`, `findings` where it has them."""
    found: dict[str, Any] = {"type": type(error).__name__, "code": error.code, "message": str(error)}
    for name in ("node", "field"):
        if value := getattr(error, name, ""):
            found[name] = value
    if isinstance(error, InvalidGraph):
        found["findings"] = [finding.model_dump() for finding in error.findings]
    return found


def _status(error: PerdureError) -> str:
    match error:
        case InvalidGraph() | InvalidInputs():
            return "invalid"
        case RunFailed():
            return error.status
        case CommandRefused():
            return "refused"
        case RunNotFound():
            return "not-found"
        case _:
            return "error"
