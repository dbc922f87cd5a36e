"""A Dify DSL document -> a graph.

    text -> yaml_reader.read -> header, variables, nodes, edges -> Document -> Graph + findings

Every problem is collected before the document is refused, with node, field and line. Canvas matters (notes,
positions, icons) are left out; unknown keys of a node's data are kept.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from . import checks
from .dsl_draft import SUPPORTED, VERSION, Draft, Mapping, is_newer, kind_of, short, text_at
from .dsl_graph import read_graph
from .dsl_variables import read_variables
from .errors import InvalidGraph
from .graph import Document, Graph, Mode
from .report import Finding
from .yaml_reader import MAX_BYTES, read

_MODES: dict[str, Mode] = {"workflow": "workflow", "advanced-chat": "advanced-chat"}
_GRAPHLESS = ("chat", "agent-chat", "completion")
_EXPORT = "Export the app from Dify as DSL."


def load(source: str | bytes | Path) -> Graph:
    """Load a graph from the text of a document, or from a file given as a `Path`.

    The graph carries what is worth knowing about it as `findings`.

    Raises:
        InvalidGraph: it cannot be loaded; `findings` holds every reason with its line.
    """
    draft = _draft(_content(source) if isinstance(source, Path) else source)
    document = draft.document()
    try:
        graph = Graph.from_document(document)
    except InvalidGraph as error:
        # a node refused before makes remarks about the whole graph ("no start node") unreliable
        draft.findings += [f for f in error.findings if f.node or f.field or not draft.refused]
        draft.refuse()
    draft.findings += checks.check(graph)
    if draft.refused:
        draft.refuse()
    return Graph(document, graph.nodes, draft.located())


def parse(text: str | bytes) -> Document:
    """Read the document alone; the data of nodes and the ends of edges are not checked.

    Raises:
        InvalidGraph: it is no document that holds a graph.
    """
    draft = _draft(text)
    if draft.refused:
        draft.refuse()
    return draft.document()


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        finding = Finding(level="refused", message=f"{path.name!r}: {why}.", next_step="Check the path.")
        raise InvalidGraph("The file cannot be read:", [finding]) from None


def _draft(source: str | bytes) -> Draft:
    reading = read(source)
    draft = Draft(reading)
    data: Any = reading.data
    if not isinstance(data, dict):
        step = "To load a file, pass a `Path`." if isinstance(data, str) else _EXPORT
        draft.stop(f"the document is {kind_of(data)}: a mapping is needed.", (), step)
    _read_header(draft, cast("Mapping", data))
    draft.environment = read_variables(draft, "environment")
    draft.conversation = read_variables(draft, "conversation")
    draft.features = _features(draft)
    read_graph(draft)
    return draft


def _read_header(draft: Draft, data: Mapping) -> None:
    kind = data.get("kind")
    if kind not in (None, "app", "rag_pipeline"):
        step = "Perdure loads Dify exports of kind 'app' and 'rag_pipeline'."
        draft.stop(f"unsupported kind {short(kind)}.", ("kind",), step)
    _read_version(draft, data.get("version"))
    if kind is None and "app" not in data and "workflow" not in data and _is_bare(data.get("nodes")):
        draft.section = data
        return
    if kind == "rag_pipeline":
        draft.mode = "rag-pipeline"
        about = data.get("rag_pipeline")
        draft.name = text_at(cast("Mapping", about), "name") if isinstance(about, dict) else ""
    else:
        _read_app(draft, data.get("app"))
    section = data.get("workflow")
    if not isinstance(section, dict):
        draft.stop("there is no workflow section.", ("workflow",), _EXPORT)
    draft.section, draft.section_path = cast("Mapping", section), ("workflow",)
    draft.base = ("workflow", "graph")
    if not isinstance(draft.section.get("graph"), dict):
        draft.stop("there is no graph in the workflow section.", draft.base, _EXPORT)


def _read_app(draft: Draft, about: Any) -> None:
    if not isinstance(about, dict):
        draft.stop("there is no app section.", ("app",), _EXPORT)
    app = cast("Mapping", about)
    draft.name = text_at(app, "name")
    mode = app.get("mode")
    if mode in _GRAPHLESS:
        step = "Convert the app to a workflow or a chatflow in Dify and export that."
        if mode == "agent-chat":
            step = "Run it as an agent: `perdure agent run FILE`."
        draft.stop(f"{mode} apps have no graph to run.", ("app", "mode"), step)
    if not isinstance(mode, str) or mode not in _MODES:
        what = "the app has no mode." if mode is None else f"unknown app mode {short(mode)}."
        draft.stop(what, ("app", "mode"), "It must be 'workflow' or 'advanced-chat'.")
    draft.mode = _MODES[mode]


def _read_version(draft: Draft, version: Any) -> None:
    major, minor = SUPPORTED
    step = f"Write it in quotes, like '{major}.{minor}.0'."
    if version is None:
        return
    if not isinstance(version, str):
        draft.note("refused", f"the version is {kind_of(version)}: text is needed.", ("version",), step)
    elif not VERSION.fullmatch(version):
        draft.note("refused", f"{short(version)} is no version.", ("version",), step)
    else:
        draft.version = version
        if is_newer(version):
            message = f"made by a newer Dify: DSL {version}, while Perdure knows {major}.{minor}."
            draft.note("warning", message, ("version",), "Compare a run with Dify.")


def _is_bare(nodes: Any) -> bool:
    """Whether these are nodes as Dify draws them, which need no app around them."""
    found = cast("list[Any]", nodes) if isinstance(nodes, list) else []
    return any(isinstance(node, dict) and _has_type(cast("Mapping", node).get("data")) for node in found)


def _has_type(data: Any) -> bool:
    return isinstance(data, dict) and "type" in cast("Mapping", data)


def _features(draft: Draft) -> Mapping:
    path = (*draft.section_path, "features")
    features = draft.section.get("features")
    if features is not None and not isinstance(features, dict):
        draft.note("refused", f"features are {kind_of(features)}: a mapping is needed.", path)
        return {}
    kept = dict(cast("Mapping", features or {}))
    if draft.section.get("rag_pipeline_variables"):
        kept["rag_pipeline_variables"] = draft.section["rag_pipeline_variables"]
    return kept
