"""The format of `<name>.cases.json`: flows, inputs, pins and expectations (docs/testing.md describes it)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from perdure_graph.errors import InvalidGraph, InvalidInputs
from perdure_graph.graph import Document, Graph
from perdure_graph.nodes import registry
from perdure_graph.nodes.base import NodeType
from perdure_graph.request import Pin

SUFFIX = ".cases.json"
# A normalised document, as runs carry it; `perdure test --from-run` writes one beside its case.
GRAPH_SUFFIX = ".graph.json"


class NodeExpect(BaseModel):
    """How a node must end. `status` is that of its events, or `skipped`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    status: str
    handle: str | None = None
    outputs: dict[str, Any] | None = None


class Expect(BaseModel):
    """What must hold; a field that is absent is not compared."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    status: str | None = None
    outputs: dict[str, Any] | None = None
    executed: list[str] | None = None
    node_status: list[tuple[str, str]] | None = None
    nodes: dict[str, NodeExpect] | None = None
    answer_stream: str | None = None
    exceptions_count: int | None = None
    conversation: dict[str, Any] | None = None


class Answer(BaseModel):
    """How a person answers a human-input node."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    handle: str
    outputs: dict[str, Any] = {}

    @property
    def values(self) -> dict[str, Any]:
        """The fields of the form (the rest of the outputs is made by the node)."""
        return {name: value for name, value in self.outputs.items() if not name.startswith("__")}


class Mock(Pin):
    """A pin as case files write it; nulls count as absent."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    @field_validator("error_type", "chunks", mode="before")
    @classmethod
    def _null_is_absent(cls, value: Any, info: Any) -> Any:
        return cls.model_fields[info.field_name].default if value is None else value


class Case(BaseModel):
    """One run of the flow and what must come of it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    inputs: dict[str, Any] = {}
    query: str | None = None
    conversation: dict[str, Any] = {}
    sysvars: dict[str, Any] = {}
    mocks: dict[str, Mock] = {}
    human: dict[str, Answer] = {}
    unordered: bool = False
    expect: Expect = Expect()
    oracle: Literal["skip", "differs"] | None = None

    @field_validator("inputs", "conversation", "sysvars", "mocks", "human", mode="before")
    @classmethod
    def _null_is_empty(cls, value: Any) -> Any:
        return {} if value is None else value

    def pins(self, *, models: bool = False) -> dict[str, Pin]:
        """The mocks, over a default for each node type that has one (llm, tool, http-request).

        models: types that ask models get no default.
        """
        kinds = {name: kind for name, kind in registry().items() if not (models and asks_models(kind))}
        defaults = {f"type:{name}": Pin() for name, kind in kinds.items() if kind.default_pin is not None}
        return {**defaults, **self.mocks}


def asks_models(kind: NodeType[Any]) -> bool:
    """Whether nodes of a type ask a model."""
    return any(effect.effect_class == "model" for effect in kind.effects)


class CaseFile(BaseModel):
    """The cases of one flow file."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    file: str
    cases: list[Case]


def load_flow(path: Path) -> Graph:
    """Load the flow of a case: a Dify DSL file, or a normalised document in a `.graph.json`.

    Raises:
        InvalidGraph: with every problem found.
    """
    if not path.name.endswith(GRAPH_SUFFIX):
        return Graph.load(path)
    try:
        return Graph.from_document(Document.model_validate_json(path.read_bytes()))
    except OSError as error:
        raise InvalidGraph(f"{path} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        raise InvalidGraph(f"{path} is no document of a graph: {error}") from error


def find(paths: Iterable[Path]) -> Iterator[tuple[Path, CaseFile]]:
    """Find case files: a case file itself, the one beside a flow file, or all below a folder, sorted.

    Yields the path of the flow and its cases.

    Raises:
        InvalidInputs: a path does not exist or holds no cases, or a case file is malformed.
    """
    for path in paths:
        files = _case_files(path)
        if not files:
            raise InvalidInputs(f"no {SUFFIX} files at {path}; write one beside the flow.", field=str(path))
        for file in files:
            try:
                cases = CaseFile.model_validate_json(file.read_bytes())
            except ValidationError as error:
                raise InvalidInputs(f"{file}: {error}", field=str(file)) from error
            yield file.parent / cases.file, cases


def _case_files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(path.rglob(f"*{SUFFIX}"))
    if path.name.endswith(SUFFIX):
        return [path] if path.exists() else []
    stem = path.name.removesuffix(GRAPH_SUFFIX) if path.name.endswith(GRAPH_SUFFIX) else path.stem
    beside = path.with_name(stem + SUFFIX)
    return [beside] if beside.exists() else []
