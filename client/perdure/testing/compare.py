"""Compare what a run did with what a case expects; each difference is shown as a diff."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable
from typing import Any, cast

from perdure_graph.events import ContainerCompleted, Event, NodeFinished, TextChunk
from perdure_graph.request import RunResult

from .cases import Case


def differences(case: Case, result: RunResult, events: list[Event]) -> list[str]:
    """List what differs; empty when the case holds."""
    expect = case.expect
    found: list[str] = []

    def check(name: str, want: Any, got: Any) -> None:
        if want is not None and not same(want, got):
            found.append(_diff(name, want, got))

    check("status", expect.status, result.status)
    check("outputs", expect.outputs, result.outputs)
    check("exceptions_count", expect.exceptions_count, result.exceptions_count)
    ended = [(e.node_id, e.status) for e in events if isinstance(e, NodeFinished | ContainerCompleted)]
    node_status = None if expect.node_status is None else [list(pair) for pair in expect.node_status]
    check("executed", _order(case, expect.executed), _order(case, [node for node, _ in ended]))
    check("node_status", _order(case, node_status), _order(case, [list(pair) for pair in ended]))
    _check_nodes(case, events, check)
    text = "".join(event.text for event in events if isinstance(event, TextChunk))
    check("answer_stream", expect.answer_stream, text)
    if expect.conversation is not None:
        kept = {name: result.conversation.get(name) for name in expect.conversation}
        check("conversation", expect.conversation, kept)
    if found and result.error is not None:
        found.append(f"error of the run: {result.error.message}")
    return found


def _check_nodes(case: Case, events: list[Event], check: Callable[[str, Any, Any], None]) -> None:
    """Compare nodes of the top frame, each in what the case says of it."""
    ended = {e.node_id: e for e in events if isinstance(e, NodeFinished | ContainerCompleted) and not e.frame}
    for node_id, expected in (case.expect.nodes or {}).items():
        want = expected.model_dump(exclude_none=True)
        event = ended.get(node_id)
        got = {"status": "skipped"} if event is None else {name: getattr(event, name, None) for name in want}
        check(f"node {node_id}", want, got)


def _order(case: Case, items: list[Any] | None) -> list[Any] | None:
    return sorted(items) if items is not None and case.unordered else items


def same(want: Any, got: Any) -> bool:
    """Compare as JSON: 5 equals 5.0, but true is no number."""
    if isinstance(want, bool) or isinstance(got, bool):
        return want is got
    if isinstance(want, dict) and isinstance(got, dict):
        a, b = cast("dict[str, Any]", want), cast("dict[str, Any]", got)
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(want, list) and isinstance(got, list):
        c, d = cast("list[Any]", want), cast("list[Any]", got)
        return len(c) == len(d) and all(same(x, y) for x, y in zip(c, d, strict=True))
    return want == got


def _diff(name: str, want: Any, got: Any) -> str:
    left = json.dumps(want, indent=1, ensure_ascii=False, sort_keys=True, default=str).splitlines()
    right = json.dumps(got, indent=1, ensure_ascii=False, sort_keys=True, default=str).splitlines()
    lines = difflib.unified_diff(left, right, f"{name} expected", f"{name} got", lineterm="", n=2)
    return "\n".join(lines)
