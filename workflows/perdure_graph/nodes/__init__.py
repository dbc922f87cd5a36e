"""The node types, one module each.

`registry()` maps each type name of the DSL to its `NodeType`: the modules of this package that export `NODE` or
`NODES`, then third-party types under the entry point group `perdure.nodes`, both in sorted order.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from .base import NodeData, NodeType

__all__ = ["NodeData", "NodeType", "registry"]

ENTRY_POINTS = "perdure.nodes"


@cache
def registry() -> dict[str, NodeType[Any]]:
    """Map type names to node types.

    Raises:
        ValueError: two modules claim one name.
    """
    types: dict[str, NodeType[Any]] = {}
    for origin, node_type in _declared():
        if node_type.name in types:
            raise ValueError(f"{origin} declares node type {node_type.name!r}, which exists already")
        types[node_type.name] = node_type
    return types


def _declared() -> Iterator[tuple[str, NodeType[Any]]]:
    for module_info in sorted(pkgutil.iter_modules(__path__), key=lambda m: m.name):
        module = importlib.import_module(f"{__name__}.{module_info.name}")
        for node_type in getattr(module, "NODES", (module.NODE,) if hasattr(module, "NODE") else ()):
            yield module.__name__, node_type
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda p: p.name):
        yield f"entry point {point.name!r}", point.load()
