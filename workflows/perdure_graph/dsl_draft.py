"""A document while it is read: its parts, their places in the text, and the findings so far."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from .errors import InvalidGraph
from .graph import Document, Edge, Mode, NodeSpec, Variable
from .report import Finding, Level
from .yaml_reader import Reading

SUPPORTED = (0, 6)
VERSION = re.compile(r"(\d{1,6})(?:\.(\d{1,6}))?(?:\.\d{1,6})?(?:[-+.][0-9A-Za-z.+-]{1,40})?", re.ASCII)

Part = str | int
Mapping = dict[str, Any]


@dataclass(repr=False)
class Draft:
    """What is known of a document. `base` and `section_path` lead to its graph and its workflow section."""

    reading: Reading
    findings: list[Finding] = field(default_factory=list[Finding])
    version: str = "0.1.0"
    mode: Mode = "workflow"
    name: str = ""
    section: Mapping = field(default_factory=dict[str, Any])
    section_path: tuple[Part, ...] = ()
    base: tuple[Part, ...] = ()
    nodes: dict[str, NodeSpec] = field(default_factory=dict[str, NodeSpec])
    edges: list[Edge] = field(default_factory=list[Edge])
    environment: tuple[Variable, ...] = ()
    conversation: tuple[Variable, ...] = ()
    features: Mapping = field(default_factory=dict[str, Any])
    node_places: dict[str, int] = field(default_factory=dict[str, int])
    edge_places: list[int] = field(default_factory=list[int])
    left_out: set[str] = field(default_factory=set[str])

    def note(self, level: Level, message: str, path: Sequence[Part], next_step: str = "") -> None:
        """Add a finding about the part at `path` of the document."""
        place = ".".join(str(part) for part in path)
        line = self.reading.line_of(path)
        self.findings.append(Finding(level=level, message=message, field=place, line=line, next_step=next_step))

    def note_node(
        self,
        level: Level,
        message: str,
        index: int,
        inner: str,
        next_step: str = "",
        *,
        node: str,
        title: str,
    ) -> None:
        """Add a finding about the field `inner` of the node at `index`."""
        line = self.reading.line_of((*self.base, "nodes", index, *inner.split(".")))
        self.findings.append(
            Finding(
                level=level,
                message=message,
                node=node,
                title=title,
                field=inner,
                line=line,
                next_step=next_step,
            )
        )

    @property
    def refused(self) -> bool:
        """Whether anything found so far keeps the document from loading."""
        return any(finding.level == "refused" for finding in self.findings)

    def stop(self, message: str, path: Sequence[Part], next_step: str = "") -> NoReturn:
        """Refuse the document at once: what follows could not be understood."""
        self.note("refused", message, path, next_step)
        self.refuse()

    def refuse(self) -> NoReturn:
        """Raise what was found."""
        made = " (made by a newer Dify)" if is_newer(self.version) else ""
        refused = [finding for finding in self.located() if finding.level == "refused"]
        raise InvalidGraph(f"{self.name or 'The document'} cannot be loaded{made}:", refused)

    def located(self) -> tuple[Finding, ...]:
        """Give the findings with their lines, in the order of the text."""
        return tuple(sorted(map(self._locate, self.findings), key=lambda finding: finding.line or 0))

    def _locate(self, finding: Finding) -> Finding:
        """Find the line of a finding made on the normalised document."""
        if finding.line is not None:
            return finding
        parts: list[Part] = [int(p) if p.isdecimal() else p for p in finding.field.split(".") if p]
        update: dict[str, Any] = {}
        match parts:
            case ["edges", int(index), *rest] if index < len(self.edge_places):
                path = [*self.base, "edges", self.edge_places[index], *rest]
                update["field"] = ".".join(str(part) for part in path)
            case _ if finding.node in self.node_places:
                path = [*self.base, "nodes", self.node_places[finding.node], *parts]
            case _:
                path = [*self.base, *parts]
        return finding.model_copy(update={**update, "line": self.reading.line_of(path)})

    def document(self) -> Document:
        """Put the parts together."""
        return Document(
            version=self.version,
            mode=self.mode,
            name=self.name,
            nodes=tuple(self.nodes.values()),
            edges=tuple(self.edges),
            environment=self.environment,
            conversation=self.conversation,
            features=self.features,
        )


def is_newer(version: str) -> bool:
    """Whether a newer Dify than this project knows wrote the version."""
    match = VERSION.fullmatch(version)
    return match is not None and (int(match[1]), int(match[2] or 0)) > SUPPORTED


def text_at(mapping: Mapping, key: str) -> str:
    """Read a name or a title as text; lists and mappings count as none."""
    value = mapping.get(key)
    return "" if value is None or isinstance(value, dict | list) else str(value)


def kind_of(value: object) -> str:
    """Say in words what a value is."""
    match value:
        case None:
            return "missing"
        case bool():
            return "true or false"
        case int() | float():
            return f"the number {short(value)}"
        case str():
            return f"the text {short(value)}"
        case list():
            return "a list"
        case _:
            return "a mapping"


def short(value: object) -> str:
    """Show a value on one line."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
