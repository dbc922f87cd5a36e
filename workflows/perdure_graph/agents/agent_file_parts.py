"""The files that an agent's tools name, `flow: ./report.yml` and `agent: ./writer.yml`, put in their place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from .. import dsl
from ..dsl_draft import Mapping, Part, kind_of
from ..errors import InvalidAgent, InvalidGraph
from ..report import Finding
from ..yaml_reader import MAX_BYTES
from .agent_file_draft import AgentDraft, LoadedAgent
from .config import MOST_DEPTH

MOST_FILES = 100

Load = Callable[[bytes, "Place", str], LoadedAgent]


@dataclass(slots=True)
class _Count:
    files: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """Where an agent is written.

    folder: no path may leave it. chain: the files that led here, this one last. depth: of the agent, the first is 1.
    """

    folder: Path | None
    chain: tuple[Path, ...] = ()
    depth: int = 1
    count: _Count = field(default_factory=_Count)

    @classmethod
    def of(cls, path: Path) -> Place:
        """Give the place of the first file."""
        found = path.resolve()
        return cls(found.parent, (found,))

    def below(self, path: Path | None = None) -> Place:
        """Give the place of an agent that one here has as a tool, in a file of its own or in this one."""
        chain = self.chain if path is None else (*self.chain, path)
        return Place(self.folder, chain, self.depth + 1, self.count)


NOWHERE = Place(None)


class _Wrong(Exception):
    """A file cannot be put in; says why, and the next step."""

    def __init__(self, why: str, step: str) -> None:
        super().__init__(why)
        self.step = step


def text_of(path: Path) -> bytes:
    """Read a file.

    Raises:
        InvalidAgent: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        finding = Finding(level="refused", message=f"{path.name!r}: {why}.", next_step="Check the path.")
        raise InvalidAgent("The file cannot be read:", [finding]) from None


def put_in(draft: AgentDraft, document: Mapping, place: Place, load: Load, path: tuple[Part, ...] = ()) -> Mapping:
    """Give the document, at `path` of the draft, with its files in place; those that cannot be are findings."""
    tools = document.get("tools")
    if not isinstance(tools, list):
        return document
    filled = [
        _filled(draft, cast("Mapping", tool), place, load, (*path, "tools", index)) if isinstance(tool, dict) else tool
        for index, tool in enumerate(cast("list[Any]", tools))
    ]
    return {**document, "tools": filled}


def _filled(draft: AgentDraft, tool: Mapping, place: Place, load: Load, path: tuple[Part, ...]) -> Mapping:
    filled = dict(tool)
    for name in ("flow", "agent"):
        if tool.get(name) is None:
            continue
        here = (*path, name)
        try:
            filled[name] = _part(draft, tool, name, place, load, here)
        except _Wrong as problem:
            draft.note("refused", str(problem), here, problem.step)
            del filled[name]
    return filled


def _part(draft: AgentDraft, tool: Mapping, name: str, place: Place, load: Load, path: tuple[Part, ...]) -> Any:
    given, wanted = tool[name], "workflow" if name == "flow" else "agent"
    if tool.get("provider_type") != wanted:
        step = f"Write `provider_type: {wanted}`, or delete it."
        raise _Wrong(f"only a tool of provider_type {wanted!r} has `{name}`.", step)
    if not isinstance(given, str | dict):
        raise _Wrong(f"it is {kind_of(given)}: the path of a file is needed.", "")
    if name == "agent" and place.depth >= MOST_DEPTH:
        raise _Wrong(f"agents may be {MOST_DEPTH} deep at most.", "Take one of them out.")
    if isinstance(given, str):
        return _flow(given, place) if name == "flow" else _agent(draft, given, place, load, path)
    inline = cast("Mapping", given)
    return inline if name == "flow" else put_in(draft, inline, place.below(), load, path)


def _found(given: str, place: Place) -> Path:
    """Find a file by the path that a tool gives.

    Raises:
        _Wrong: it may not be read.
    """
    if place.folder is None:
        raise _Wrong(f"{given!r} is a file, and a text has no folder.", "Load the agent from its file.")
    try:
        found = (place.chain[-1].parent / given).resolve()
    except (OSError, ValueError) as error:
        raise _Wrong(f"{given!r} is no path: {error}.", "Check it.") from None
    if not found.is_relative_to(place.folder):
        raise _Wrong(f"{given!r} is outside of the agent's folder.", "Put the file beside the agent, or below it.")
    if not found.is_file():
        raise _Wrong(f"{given!r} is no file.", "Check the path; it counts from the file that names it.")
    if found in place.chain:
        loop = " -> ".join(path.name for path in [*place.chain[place.chain.index(found) :], found])
        raise _Wrong(f"{given!r} leads back to itself: {loop}.", "Take it out of one of them.")
    place.count.files += 1
    if place.count.files > MOST_FILES:
        raise _Wrong(f"the agent is made of more than {MOST_FILES} files.", "Name some of them in the tools file.")
    return found


def _flow(given: str, place: Place) -> Any:
    found = _found(given, place)
    try:
        return dsl.load(found).document
    except InvalidGraph as error:
        raise _Wrong(_within(given, error), "") from None


def _agent(draft: AgentDraft, given: str, place: Place, load: Load, path: tuple[Part, ...]) -> Any:
    found = _found(given, place)
    try:
        loaded = load(text_of(found), place.below(found), found.name)
    except InvalidGraph as error:
        raise _Wrong(_within(given, error), "") from None
    for finding in loaded.findings:
        draft.note(finding.level, f"file {given!r}, {finding}", path)
    return loaded.config


def _within(given: str, error: InvalidGraph) -> str:
    reasons = "; ".join(map(str, error.findings)) or str(error)
    return f"file {given!r} cannot be put in: {reasons}"
