"""Answers as they are read: which response node streams, in which order, and what it prints.

Each response node (answer, end) has a template of texts and variables. It may stream as soon as some path from the
root to it has every *blocking* edge taken (edges out of branches, containers and response nodes, and out of
assigners that write one of its variables). One response node streams at a time, in the order they become reachable;
a variable that is not there yet holds back what follows it. While an effect writes the text of that variable, readers
are told which one (`TextStream`), so that they can follow it where it is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from . import pool
from .agents.effects import AskRound, RunAgent
from .effects import Effect
from .events import TextChunk, TextStream
from .graph import Graph, Node, OutEdge
from .machine import Machine
from .models.effects import InvokeModel, StreamTo
from .nodes.base import Missing
from .state import Frame
from .values import to_markdown

_ALL = ""
# More than an effect has attempts.
_EPOCHS = 1000


def begin(m: Machine) -> None:
    """Find the response nodes that nothing blocks."""
    for group in (_ALL, *m.graph.assigner_blocks):
        m.state.stream.reached[group] = set()
    _expand(m, m.graph.root)


def edge_taken(m: Machine, frame: Frame, edge: OutEdge) -> None:
    """Let a taken edge make more response nodes reachable."""
    if not frame.id:
        _expand(m, edge.target)


def node_finished(m: Machine, frame: Frame) -> None:
    """Print what a finished node made printable."""
    if not frame.id:
        _advance(m)


def chunks(m: Machine, node: Node, pieces: Iterable[str]) -> None:
    """Keep the pieces in which a node's text arrived, to print them as they came."""
    m.state.stream.chunks[f"{node.id}.text"] = list(pieces)


def aimed(m: Machine, frame: Frame, node: Node, key: str, effect: Effect, *, alone: bool) -> Effect:
    """Say in an effect where its text is to be read while it is written: where the answer prints it, else nowhere.

    And whether anybody waits for it. The rounds of an agent that is a child write where its own effect would.

    alone: whether the effect is all that its node does; what an agent has others do is not its text.
    """
    match effect:
        case InvokeModel():
            update = {"stream": _target(m, frame, node), "priority": m.state.options.priority}
        case AskRound():
            update = {"stream": _of_round(m, frame, node, effect.round), "priority": m.state.options.priority}
        case RunAgent():
            target = _target(m, frame, node) if alone else None
            under = {"key": key, "scope": m.state.scope}
            update = {"stream": None if target is None else target.model_copy(update=under)}
        case _:
            return effect
    return effect.model_copy(update=update)


def _target(m: Machine, frame: Frame, node: Node) -> StreamTo | None:
    printed = () if frame.id or m.state.scope else m.graph.answer_variables
    selector = next((found for name in node.type.streams if (found := (node.id, name)) in printed), None)
    return None if selector is None else StreamTo(node_id=node.id, selector=selector)


def _of_round(m: Machine, frame: Frame, node: Node, number: int) -> StreamTo | None:
    reads = m.state.reads
    return _target(m, frame, node) if reads is None else reads.model_copy(update={"after": number * _EPOCHS})


def effect_asked(m: Machine, key: str, effect: Effect) -> None:
    """Note who writes a variable of the answer, and tell readers if it is its turn."""
    # What a child writes is told by the run around it.
    if not isinstance(effect, InvokeModel | AskRound | RunAgent) or effect.stream is None or m.state.reads is not None:
        return
    selector, stream = effect.stream.selector, m.state.stream
    stream.writers[".".join(selector)] = key
    if stream.queue:
        segments = m.graph.segments[stream.queue[0]]
        if stream.segment < len(segments) and segments[stream.segment] == selector:
            _tell(m, selector)


def say(m: Machine, node_id: str, text: str, selector: tuple[str, ...] = (), frame: str = "") -> None:
    """Emit a piece of the answer."""
    m.state.stream.said += len(text)
    m.emit(TextChunk, node_id=node_id, text=text, selector=selector, frame=frame)


def respond(m: Machine, frame: Frame, node: Node, outputs: Mapping[str, Any]) -> None:
    """Take the outputs of a response node into the outputs of the run."""
    if node.type.name != "answer":
        m.state.outputs.update(outputs)
        return
    text = str(outputs.get("answer", ""))
    m.state.files.extend(outputs.get("files") or [])
    if frame.id and text:
        say(m, node.id, text, frame=frame.id)
    merge_answers(m, frame, [text])


def merge_answers(m: Machine, frame: Frame, texts: list[str]) -> None:
    """Append answers to a frame; those of the top frame are the answer of the run."""
    if not texts:
        return
    if frame.id:
        frame.answers.extend(texts)
        return
    m.state.outputs["answer"] = "".join([m.state.outputs.get("answer", ""), *texts])
    m.state.outputs["files"] = list(m.state.files)


def flush(m: Machine) -> None:
    """Print at the end of the run what can be printed, waiting for nothing."""
    stream = m.state.stream
    _advance(m)
    while stream.queue:
        response = stream.queue[0]
        for part in m.graph.segments[response][stream.segment :]:
            if isinstance(part, str):
                _print(m, response, part)
            else:
                _print_variable(m, part)
        _next_response(m)


def _expand(m: Machine, start: str) -> None:
    found: list[str] = []
    for group, seen in m.state.stream.reached.items():
        blockers = m.graph.assigner_blocks.get(group, frozenset[str]())
        stack = [start]
        while stack:
            node_id = stack.pop()
            if node_id in seen:
                continue
            seen.add(node_id)
            own = node_id if node_id in m.graph.assigner_blocks else _ALL
            if node_id in m.graph.segments and group == own:
                found.append(node_id)
            if not blocks(m.graph, node_id) and node_id not in blockers:
                stack.extend(edge.target for edge in m.graph.out[node_id])
    stream = m.state.stream
    for response in sorted(found):
        if response not in stream.known:
            stream.known.add(response)
            stream.queue.append(response)


def blocks(graph: Graph, node_id: str) -> bool:
    """Whether streams wait for the edges out of this node."""
    node = graph.nodes[node_id]
    return node.is_branch or node.type.role in ("container", "response")


def _advance(m: Machine) -> None:
    stream = m.state.stream
    while stream.queue:
        response = stream.queue[0]
        segments = m.graph.segments[response]
        skipped = m.state.root.nodes.get(response)
        while stream.segment < len(segments) and not (skipped and skipped.status == "skipped"):
            part = segments[stream.segment]
            if isinstance(part, str):
                _print(m, response, part)
            elif not _print_variable(m, part) and not _never_comes(m, part[0]):
                _tell(m, part)
                return
            stream.segment += 1
            stream.told = ""
        _next_response(m)


def _next_response(m: Machine) -> None:
    stream = m.state.stream
    stream.queue.popleft()
    stream.segment, stream.told = 0, ""


def _tell(m: Machine, selector: tuple[str, ...]) -> None:
    """Tell readers which effect in flight writes the variable that comes next."""
    stream = m.state.stream
    key = stream.writers.get(".".join(selector))
    if key is None or key == stream.told or key not in m.state.tasks:
        return
    stream.told = key
    m.emit(TextStream, node_id=selector[0], selector=selector, key=key, start=stream.said)


def _print_variable(m: Machine, selector: tuple[str, ...]) -> bool:
    pieces = m.state.stream.chunks.pop(".".join(selector), None)
    if pieces is not None:
        for piece in pieces:
            _print(m, selector[0], piece, selector)
        return True
    value = pool.lookup(m.state, m.state.root, selector)
    if isinstance(value, Missing):
        return False
    _print(m, selector[0], to_markdown(value), selector)
    return True


def _never_comes(m: Machine, node_id: str) -> bool:
    """Whether the node that a variable belongs to has ended, was skipped or does not exist."""
    if node_id not in m.graph.nodes:
        return True
    run = m.state.root.nodes.get(node_id)
    return run is not None and run.status in ("succeeded", "exception", "failed", "skipped")


def _print(m: Machine, node_id: str, text: str, selector: tuple[str, ...] = ()) -> None:
    if text:
        say(m, node_id, text, selector)
