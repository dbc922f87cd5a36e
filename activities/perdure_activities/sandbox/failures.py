"""How a sandboxed run can end badly: the author's fault, or the sandbox's own."""

from __future__ import annotations

from typing import Literal

FailureType = Literal[
    "CodeExecutionError",
    "CodeTimeoutError",
    "CodeMemoryError",
    "CodeOutputError",
    "CodeSandboxError",
    "TemplateError",
    "TemplateTimeoutError",
]
MAX_MESSAGE = 4_000


class SandboxFailure(Exception):
    """The snippet or template cannot succeed as it is; running it again changes nothing."""

    def __init__(self, error_type: FailureType, message: str) -> None:
        self.error_type: FailureType = error_type
        self.message = shorten(message)
        super().__init__(self.message)


class ChildCrashed(Exception):
    """A sandbox process went away without an answer; another attempt may succeed."""

    def __init__(self, message: str, returncode: int | None = None) -> None:
        self.returncode = returncode
        super().__init__(message)


def shorten(text: str) -> str:
    """Keep the end of a long text: in a traceback the reason stands last. The result is valid UTF-8."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= MAX_MESSAGE else "... " + text[-MAX_MESSAGE:]


def timed_out(timeout_s: float) -> SandboxFailure:
    """Say that a snippet used up its time."""
    return SandboxFailure(
        "CodeTimeoutError",
        f"the code did not finish within {timeout_s:g} s; do less work per node or split the input over an iteration",
    )


def out_of_memory(memory_mb: int, detail: str = "") -> SandboxFailure:
    """Say that a snippet used up its memory."""
    tail = f" ({detail})" if detail else ""
    return SandboxFailure(
        "CodeMemoryError",
        f"the code needs more than the {memory_mb} MB of memory it may use{tail}; hold less data at a time",
    )


def too_large(limit: int) -> SandboxFailure:
    """Say that a result is larger than allowed."""
    return SandboxFailure(
        "CodeOutputError",
        f"the result of `main` is larger than {limit} bytes; return less, or store it as a file",
    )


def not_json(reason: str) -> SandboxFailure:
    """Say that a result holds something JSON has no form for."""
    return SandboxFailure(
        "CodeExecutionError",
        f"`main` returned a value that is not JSON ({reason}); "
        "return a dict of strings, finite numbers, booleans, None, lists and dicts",
    )
