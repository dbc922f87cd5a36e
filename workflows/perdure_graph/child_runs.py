"""Runs within runs: what a child is told when it begins, what it tells of itself, what its run makes of that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .children import SEPARATOR, ChildEffect, ChildNews
from .commands import Retry, Submit, TellChild
from .effects import Effect
from .errors import NodeError
from .graph import Graph
from .machine import Machine
from .models.effects import StreamTo
from .nodes.base import Form
from .state import MOST_DEPTH, ChildState, Failure, Place, RunState


def joined(scope: str, key: str) -> str:
    """Name a child: the key of its effect behind the scope of its run."""
    return f"{scope}{SEPARATOR}{key}" if scope else key


def too_deep(state: RunState, effect: Effect) -> NodeError | None:
    """Say that a child would lie too deep, None if it may begin."""
    deepest = min(state.deepest, MOST_DEPTH)
    if not isinstance(effect, ChildEffect) or state.depth < deepest:
        return None
    return NodeError(
        f"{effect.workflow} is not started: it would be run {state.depth + 1} within another, and the limit is "
        f"{deepest} (`max_depth`).",
        "TooDeep",
    )


def begin(state: RunState, key: str, effect: ChildEffect) -> ChildEffect:
    """Note a child that is about to begin, and say in its request what is not the asker's to say."""
    state.children[key] = ChildState()
    # Those of nodes name the nodes of this graph; limits of time and steps are kept by the run around it.
    options = state.options.model_copy(update={"max_steps": None, "deadline_s": None, "nodes": {}})
    return effect.model_copy(
        update={
            "paused": state.pause,
            "options": options,
            "flow": state.flow,
            "tenant": state.tenant,
            "user": state.asked.user,
            "depth": state.depth + 1,
            "deepest": min(state.deepest, MOST_DEPTH),
        }
    )


def belongs(state: RunState, effect: ChildEffect, reads: StreamTo | None, deepest: int) -> None:
    """Make a state that of a child."""
    assert effect.meta is not None
    state.scope = state.within = effect.meta.scope
    state.called = effect.meta.key
    state.depth = effect.depth
    state.deepest = deepest
    state.pause = effect.paused
    state.flow = effect.flow
    state.reads = reads


def hear(m: Machine, news: ChildNews) -> None:
    """Take the news of a child; older ones that come late count no more."""
    known = m.state.children.get(news.key)
    if known is not None and news.number > known.number:
        m.state.children[news.key] = ChildState(**{name: getattr(news, name) for name in ChildState.model_fields})


def news(graph: Graph, state: RunState, *, anyway: bool = False) -> ChildNews | None:
    """Give what the run around this one must know and does not; `anyway`: also if it does."""
    told = state.told or ChildState()
    now = ChildState(
        number=told.number + 1,
        status="paused" if state.status == "paused" else "running",
        forms={form.key: form.form for form in open_forms(graph, state)},
        nodes={form.key: form.title for form in open_forms(graph, state)},
        failures={held.key: held.failure for held in held_nodes(graph, state)},
    )
    if not anyway and now.model_copy(update={"number": told.number}) == told:
        return None
    state.told = now
    return ChildNews(key=state.called, **{name: getattr(now, name) for name in ChildState.model_fields})


@dataclass(frozen=True, slots=True)
class OpenForm:
    """A form that waits, here or in a child: then `inner` is its key there. `node_id` is that of the node here."""

    key: str
    node_id: str
    title: str
    form: Form
    child: str = ""
    inner: str = ""


@dataclass(frozen=True, slots=True)
class HeldNode:
    """A node that waits for an operator, here or in a child: then `inner` is its key there."""

    key: str
    node_id: str
    title: str
    failure: Failure
    child: str = ""
    inner: str = ""


def form_at(state: RunState, place: Place) -> Form:
    """Give the form that waits at a place."""
    run = state.frames[place.frame].nodes[place.node]
    form = run.forms[place.name] if place.name else run.form
    assert form is not None
    return form


def open_forms(graph: Graph, state: RunState) -> list[OpenForm]:
    """List the forms that wait: those of the run, then those of its children."""
    found = [
        OpenForm(key, place.node, graph.nodes[place.node].title, form_at(state, place))
        for key, place in state.waiting.items()
    ]
    for child, known in state.children.items():
        place = state.tasks[child]
        found += [
            OpenForm(joined(child, key), place.node, known.nodes.get(key, key), form, child, key)
            for key, form in known.forms.items()
        ]
    return found


def held_nodes(graph: Graph, state: RunState) -> list[HeldNode]:
    """List the nodes that wait for an operator: those of the run, then those of its children."""
    found = [
        HeldNode(key, failure.node, graph.nodes[failure.node].title, failure.model_copy(update={"again": None}))
        for key, failure in state.failures.items()
    ]
    for child, known in state.children.items():
        place = state.tasks[child]
        found += [
            HeldNode(joined(child, key), place.node, known.nodes.get(key, failure.node), failure, child, key)
            for key, failure in known.failures.items()
        ]
    return found


def waiting_on(state: RunState) -> list[str]:
    """List the keys of what a run waits for, here and in its children."""
    own = [*state.waiting, *state.failures]
    return own + [
        joined(child, key) for child, known in state.children.items() for key in (*known.forms, *known.failures)
    ]


def pass_on(m: Machine, child: str, command: Submit | Retry) -> None:
    """Give a command to a child, which has what it answers no more then."""
    known = m.state.children[child]
    update: dict[str, Any] = {
        "forms": {k: v for k, v in known.forms.items() if not (isinstance(command, Submit) and k == command.form)},
        "failures": {k: v for k, v in known.failures.items() if not (isinstance(command, Retry) and k == command.node)},
    }
    if m.state.pause is None:
        update["status"] = "running"
    m.state.children[child] = known.model_copy(update=update)
    m.out.append(TellChild(key=child, command=command))
