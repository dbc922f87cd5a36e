"""The variable pool: which value a selector names, seen from a frame.

A frame with a scope overlays its parent's: an iteration item sees everything before it, and what it writes stays
in the item. Conversation variables are the exception: they belong to the run (Dify keeps such writes).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from .nodes.base import MISSING, Missing
from .state import Frame, RunState, Scope
from .values import ValueType, file_attribute, infer_type, is_file


def lookup(state: RunState, frame: Frame, selector: Sequence[str]) -> Any | Missing:
    """Read `[node, name, *path]`; the path walks into objects and file attributes."""
    if len(selector) < 2:
        return MISSING
    node, name = selector[0], selector[1]
    at: Frame | None = frame
    while at is not None:
        if at.scope is not None:
            variables = at.scope.get(node)
            if variables is not None and name in variables:
                return _walk(variables[name], selector[2:])
        at = state.frames.get(at.parent) if at.parent is not None else None
    return MISSING


def _walk(value: Any, path: Sequence[str]) -> Any | Missing:
    for name in path:
        if not isinstance(value, dict):
            return MISSING
        entries = cast("dict[str, Any]", value)
        if is_file(entries):
            try:
                value = file_attribute(entries, name)
            except KeyError:
                return MISSING
        elif name in entries:
            value = entries[name]
        else:
            return MISSING
    return value


def variables_of(state: RunState, frame: Frame, node: str) -> Mapping[str, Any]:
    """All variables of a node, or of `sys`, `env`, `conversation`, as the frame sees them."""
    at: Frame | None = frame
    found: dict[str, Any] = {}
    while at is not None:
        if at.scope is not None:
            found = {**at.scope.get(node, {}), **found}
        at = state.frames.get(at.parent) if at.parent is not None else None
    return found


def type_of(state: RunState, frame: Frame, selector: Sequence[str]) -> ValueType:
    """Declared type of a variable, else the type of its value; `none` when there is none."""
    if len(selector) == 2:
        declared = state.types.get(selector[0], {}).get(selector[1])
        if declared is not None:
            return declared
    value = lookup(state, frame, selector)
    return ValueType.NONE if isinstance(value, Missing) else infer_type(value)


def scope_of(state: RunState, frame: Frame) -> Scope:
    """The scope that the frame writes to: its own, or that of the nearest frame around it."""
    while frame.scope is None:
        assert frame.parent is not None
        frame = state.frames[frame.parent]
    return frame.scope


def write(state: RunState, frame: Frame, selector: tuple[str, str], value: Any) -> None:
    """Write a variable: conversation variables to the run, all else to the frame's scope."""
    node, name = selector
    scope = state.root.scope if node == "conversation" else scope_of(state, frame)
    assert scope is not None
    scope.setdefault(node, {})[name] = value
