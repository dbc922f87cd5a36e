"""Where a specification is wrong: the file, the line, the JSON pointer, the next step."""

from __future__ import annotations

from collections.abc import Sequence

from ..protocol import ToolFault

Path = tuple[str | int, ...]


class BadSpec(ToolFault):
    """A specification, or a part of it, cannot be made into tools. `pointer` is where, `line` that in its file."""

    code = "bad_openapi_document"

    def __init__(self, file: str, path: Path | None, line: int | None, what: str, next_step: str) -> None:
        self.pointer = None if path is None else pointer_of(path)
        self.line = line
        where = file if line is None else f"{file}:{line}"
        at = "" if self.pointer is None else f" `{self.pointer}`:"
        super().__init__("internal", f"{where}:{at} {what} {next_step}")


class SeveralBad(ToolFault):
    """Nothing of a specification can be used; says the first of the problems."""

    code = "bad_openapi_document"
    _SHOWN = 5

    def __init__(self, problems: Sequence[BadSpec]) -> None:
        self.problems = tuple(problems)
        more = len(problems) - self._SHOWN
        lines = [problem.message for problem in problems[: self._SHOWN]]
        super().__init__(
            "internal", "\n".join([*lines, *([f"({more} more problems after these.)"] if more > 0 else [])])
        )


def pointer_of(path: Path) -> str:
    """Write a path as a JSON pointer in a URI fragment."""
    return "#" + "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
