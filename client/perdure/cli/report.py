"""`perdure validate`: say of each node whether it runs, and whether it runs as in Dify."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perdure_graph.checks import report
from perdure_graph.errors import InvalidGraph
from perdure_graph.graph import Graph
from perdure_graph.report import Finding

from .given import read_pins, unknown_pins
from .output import INVALID, OK, Output


def validate(flow: Path, pins_file: Path | None, out: Output) -> int:
    """Write the report of a flow; the exit code is 2 when something in it is refused."""
    pins = read_pins(pins_file)
    try:
        graph = Graph.load(flow)
    except InvalidGraph as error:
        return _write(flow.name, None, error.findings, out, refusal=str(error))
    for note in unknown_pins(graph, pins):
        out.note(note)
    return _write(graph.name, graph, report(graph, pins), out)


def _write(name: str, graph: Graph | None, findings: Sequence[Finding], out: Output, *, refusal: str = "") -> int:
    refused = sum(1 for finding in findings if finding.level == "refused")
    valid = graph is not None and not refused
    for finding in findings:
        out.say(f"{finding.level:<8} {finding}")
    verdict = "can run" if valid else f"cannot run: {refused} refused" if refused else refusal
    out.say(f"{name} {verdict}")
    if out.as_json:
        shown: dict[str, Any] = {
            "valid": valid,
            "status": "valid" if valid else "invalid",
            "name": name,
            "hash": graph.hash if graph else None,
            "nodes": len(graph.nodes) if graph else 0,
            "findings": [finding.model_dump() for finding in findings],
        }
        out.json(shown)
    return OK if valid else INVALID
