"""Which nodes may take kept replies: those whose effects change nothing outside."""

from __future__ import annotations

from collections.abc import Mapping

from .errors import InvalidInputs
from .graph import Graph, Node
from .options import NodeOptions, RetryClass

DRAWN = "data.perdure.cache"


def has_side_effects(node: Node, options: NodeOptions) -> bool:
    """Whether a node with these options must really perform its effects each time."""
    return _retry(node, options) != "safe"


def why(node: Node, options: NodeOptions) -> str:
    """Say why a node must not have `cache`, in the words of its options."""
    said = "it is marked" if options.retry is not None else f"a {node.type.name!r} node like this is"
    return (
        f"`cache` on a node with side effects: {said} `retry: {_retry(node, options)}`, and with a kept reply "
        "what it is there to do would not be done."
    )


def step_of(options: NodeOptions) -> str:
    """Say what to do about it."""
    marked = "Set `retry: safe`" if options.retry is not None else "Mark it with `retry: safe`"
    return f"Take `cache` off. {marked} if performing it again, or not at all, does no harm."


def check_cache(graph: Graph, asked: Mapping[str, NodeOptions]) -> None:
    """Check the options that a run has for its nodes, over those drawn.

    Raises:
        InvalidInputs: names the first node that has `cache` and side effects, and the field that says so.
    """
    for node in graph.nodes.values():
        drawn: NodeOptions = node.data.perdure
        given = asked.get(node.id)
        options = drawn if given is None else given.over(drawn)
        if options.cache is None or not has_side_effects(node, options):
            continue
        field = f"options.nodes.{node.id}.cache" if given is not None and given.cache is not None else DRAWN
        shown = f" ({node.title})" if node.title not in ("", node.id) else ""
        raise InvalidInputs(
            f"node {node.id!r}{shown}, field {field!r}: {why(node, options)} {step_of(options)}",
            node=node.id,
            field=field,
        )


def _retry(node: Node, options: NodeOptions) -> RetryClass:
    return options.retry or node.type.repeats(node.data)
