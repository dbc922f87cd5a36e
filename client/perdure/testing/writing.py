"""Write a recorded case into a case file, and the flow that it is for beside it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, cast

from perdure_graph.errors import InvalidInputs
from perdure_graph.graph import Document
from perdure_graph.values import ValueType

from .cases import GRAPH_SUFFIX, SUFFIX, load_flow
from .record import Recording


def write_case(recording: Recording, output: Path | None, flow: Path | None) -> tuple[Path, Path]:
    """Write a case into its file, new or with other cases in it; give the paths of the file and of the flow.

    flow: the flow that the case is for. Without it the graph of the run is written beside the file, unless the file
        has a flow already.

    Raises:
        InvalidInputs: the file is no case file, is for another flow, or cannot be written.
    """
    path = output or Path(f"{re.sub('[^A-Za-z0-9_-]+', '-', recording.graph.name).strip('-') or 'flow'}{SUFFIX}")
    if not path.name.endswith(SUFFIX):
        raise InvalidInputs(f"{str(path)!r} must end in {SUFFIX}, so that `perdure test` finds it.", field="output")
    try:
        data = _existing(path)
        cases = cast("list[Any]", data.setdefault("cases", []))
        drawn = _flow_of(path, data, recording, flow)
        data["cases"] = [case for case in cases if case.get("name") != recording.case["name"]] + [recording.case]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise InvalidInputs(f"{error.filename!r} cannot be written: {error.strerror}.", field="output") from error
    return path, drawn


def _existing(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        data: Any = json.loads(path.read_bytes())
    except ValueError as error:
        raise InvalidInputs(
            f"{path} exists and is no case file: {error}. Choose another -o.", field="output"
        ) from error
    if not isinstance(data, dict) or not isinstance(cast("dict[str, Any]", data).get("cases"), list):
        raise InvalidInputs(f"{path} exists and is no case file. Choose another -o.", field="output")
    return cast("dict[str, Any]", data)


def _flow_of(path: Path, data: dict[str, Any], recording: Recording, flow: Path | None) -> Path:
    """Find the flow of a case file, or write it; a flow drawn otherwise than the run's is noted or refused."""
    named = data.get("file")
    if named is None and flow is None:
        drawn = path.with_name(path.name.removesuffix(SUFFIX) + GRAPH_SUFFIX)
        drawn.parent.mkdir(parents=True, exist_ok=True)
        shareable = without_secrets(recording.graph.document)
        if shareable != recording.graph.document:
            recording.notes.append(f"secret variables are left out of {drawn.name}: nodes that read them find no text.")
        drawn.write_text(shareable.model_dump_json(indent=2, exclude_defaults=True) + "\n", encoding="utf-8")
        data["file"] = drawn.name
        return drawn
    drawn = flow if flow is not None else path.parent / str(named)
    if named is not None and (path.parent / str(named)).resolve() != drawn.resolve():
        raise InvalidInputs(f"{path} is for {named!r}, not for {str(flow)!r}. Choose another -o.", field="output")
    if without_secrets(load_flow(drawn).document) != without_secrets(recording.graph.document):
        if flow is None:
            text = f"{path} is for {named!r}, which is drawn otherwise than the run was. Choose another -o."
            raise InvalidInputs(text, field="output")
        recording.notes.append(f"{str(flow)!r} is drawn otherwise than the run was: the case may fail.")
    data["file"] = os.path.relpath(drawn.resolve(), path.parent.resolve())
    return drawn


def without_secrets(document: Document) -> Document:
    """Empty the secret variables of a document: it is to be written to a file that others read."""
    emptied = tuple(
        variable.model_copy(update={"value": ""}) if variable.value_type is ValueType.SECRET else variable
        for variable in document.environment
    )
    # A copy would carry the hash of the original.
    return Document.model_validate(document.model_dump() | {"environment": emptied})
