"""The life of a node: start, outcome, success; and the end of the run. Its failures are in `failing`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, assert_never

from . import child_runs, containers, deadlines, failing, outcomes, pool, reuse, stream, traverse, turns
from .children import ChildEffect
from .commands import Call, Cancel, StartTimer
from .effects import Effect, EffectMeta
from .errors import NodeError
from .events import FormRequired, NodeFinished, NodeStarted, RunFinished, VariableUpdated
from .graph import Node
from .machine import Machine, NodeContext, key_of, work_of
from .nodes.base import Done, Form, FormReply, Outcome, Perform, Turn, WaitForm
from .options import NodeOptions
from .request import Pin, RunError, RunStatus
from .state import Frame, Held, IterationRun, NodeRun, Place
from .timers import RUN_DEADLINE


def start(m: Machine, frame: Frame, node: Node) -> None:
    """Start a ready node, the next attempt of one that is retried, or the next item of an iteration."""
    run = frame.nodes.get(node.id)
    if run is None:
        if reuse.take_over(m, frame, node):
            return
        run = frame.nodes[node.id] = NodeRun(started_at=m.now)
        m.state.steps += 1
        limit = m.state.options.max_steps
        if limit is not None and m.state.steps > limit:
            too_many_steps(m, node)
            return
        _begin(m, frame, node)
    elif run.status == "released":
        run.started_at = m.now
        _begin(m, frame, node)
    elif isinstance(run.container, IterationRun):
        containers.proceed(m, frame, node, run, run.container)
        return
    run.status = "running"
    pin = pin_of(m, frame, node)
    if node.type.role == "container" and pin is None:
        containers.open_container(m, frame, node, run)
        return
    _advance(m, frame, node, run, lambda: _first(m, frame, node, run, pin))


def _begin(m: Machine, frame: Frame, node: Node) -> None:
    if not node.type.hidden and node.type.role != "container":
        m.emit_node(NodeStarted, frame, node)
    deadlines.start_node(m, frame, node)


def too_many_steps(m: Machine, node: Node) -> None:
    """Fail the run: it started more nodes than it may."""
    text = f"Maximum execution steps exceeded: {m.state.steps} > {m.state.options.max_steps}"
    finish(m, "failed", RunError(message=text, type="MaxStepsExceeded", node=node.id, title=node.title))


def resume(m: Machine, frame: Frame, node: Node, reply: Any) -> None:
    """Hand the reply of an effect, or of a person, to its node."""
    run = frame.nodes[node.id]
    context = NodeContext(m.state, frame, node, run, m.now)

    def call() -> Outcome:
        assert node.type.resume is not None
        return node.type.resume(node.data, context, reply)

    _advance(m, frame, node, run, call)


def pin_of(m: Machine, frame: Frame, node: Node) -> Pin | None:
    """The pin of a node: by its key in a frame (`it[3].k`), else by its id, else by its type."""
    pins = m.state.pins
    keyed = pins.get(key_of(frame, node)) if frame.id else None
    return keyed or pins.get(node.id) or pins.get(f"type:{node.type.name}")


def _first(m: Machine, frame: Frame, node: Node, run: NodeRun, pin: Pin | None) -> Outcome:
    if pin is not None:
        return _pinned(m, frame, node, run, pin)
    if node.type.start is None:
        raise NodeError(f"{node.type.name} needs {node.type.needs}; pin its outputs to run it", "NodeNotAvailable")
    return node.type.start(node.data, NodeContext(m.state, frame, node, run, m.now))


def _pinned(m: Machine, frame: Frame, node: Node, run: NodeRun, pin: Pin) -> Done:
    if pin.error is not None and (pin.fail_times is None or run.attempt <= pin.fail_times):
        raise NodeError(pin.error, pin.error_type)
    outputs = dict(node.type.default_pin or {}) if pin.outputs is None else pin.outputs
    handle = pin.handle
    if handle is None and node.type.pinned_handle is not None:
        named = outputs.get(node.type.pinned_handle)
        handle = named if isinstance(named, str) else None
    if pin.chunks and not frame.id:
        stream.chunks(m, node, pin.chunks)
    return Done(outputs=outputs, handle=handle)


def _advance(m: Machine, frame: Frame, node: Node, run: NodeRun, call: Any) -> None:
    """Run node code and settle its outcome; whatever it raises fails the node, never the engine."""
    try:
        outcome: Outcome = call()
        if isinstance(outcome, Turn):
            turns.check(node, run, outcome)
        if isinstance(outcome, Turn | Done):
            turns.check_news(node, outcome.tell)
    except NodeError as error:
        failing.fail(m, frame, node, run, error, final=error.final)
        return
    except Exception as error:
        failing.fail(m, frame, node, run, NodeError(str(error) or type(error).__name__, type(error).__name__))
        return
    _settle(m, frame, node, run, outcome)


def _settle(m: Machine, frame: Frame, node: Node, run: NodeRun, outcome: Outcome) -> None:
    match outcome:
        case Done():
            run.inputs = dict(outcome.inputs) or run.inputs
            succeed(m, frame, node, run, outcome)
        case Perform():
            run.inputs = dict(outcome.inputs) or run.inputs
            run.memo = outcome.memo
            problem = child_runs.too_deep(m.state, outcome.effect)
            if problem is not None:
                failing.fail(m, frame, node, run, problem, final=True)
            elif m.state.halted:
                m.state.held.append(put_by(frame, node, outcome.effect))
            else:
                perform(m, frame, node, run, outcome.effect)
        case WaitForm():
            run.inputs = dict(outcome.inputs)
            # The memo is what the person saw: variables may change while the form waits.
            run.form, run.status, run.memo = outcome.form, "waiting", outcome.form.content
            open_form(m, frame, node, key_of(frame, node), outcome.form)
        case Turn():
            turns.begin(m, frame, node, run, outcome)
        case _:
            assert_never(outcome)


def perform(m: Machine, frame: Frame, node: Node, run: NodeRun, effect: Effect, name: str = "") -> None:
    """Ask the shell for an effect. The key tells attempts and follow-ups apart; `name`: of an effect of a `Turn`."""
    run.effects += 1
    run.asked += 1
    follow_up = f"#{run.effects}" if run.effects > 1 else ""
    key = run.under[name] if name else key_of(frame, node) + follow_up
    m.state.tasks[key] = Place(frame=frame.id, node=node.id, name=name)
    items = "".join(re.findall(r"\[\d+\]", frame.id))
    title = f"{node.title} {items}" if items else node.title
    meta = effect_meta(m, frame, node, run, key, effect, name)
    run.once = run.once or meta.retry == "never"
    effect = stream.aimed(m, frame, node, key, effect, alone=not name)
    if isinstance(effect, ChildEffect):
        effect = child_runs.begin(m.state, key, effect)
        meta = meta.model_copy(update={"scope": child_runs.joined(m.state.scope, key)})
    stream.effect_asked(m, key, effect)
    m.out.append(Call(key=key, node_id=node.id, title=title, effect=effect.model_copy(update={"meta": meta})))


def options_of(m: Machine, node: Node) -> NodeOptions:
    """Options of a node: those of the run over those drawn in the graph."""
    asked = m.state.options.nodes.get(node.id)
    drawn: NodeOptions = node.data.perdure
    return drawn if asked is None else asked.over(drawn)


def effect_meta(
    m: Machine, frame: Frame, node: Node, run: NodeRun, key: str, effect: Effect, name: str = ""
) -> EffectMeta:
    """Say what an effect may do beside its work: how it may be repeated, under which name, and be kept.

    The idempotency key leaves out the attempts of the graph's own retries: the answer to the first may be what got
    lost. An operator's retry is a new piece of work.
    """
    options = options_of(m, node)
    retry = options.retry or effect.default_retry()
    which = name or str(run.asked)
    return EffectMeta(
        run_id=m.state.run_id,
        scope=m.state.scope,
        key=key,
        idempotency_key=f"{work_of(m.state, frame, node)}#{which}/{run.group}",
        retry=retry,
        cache=options.cache if retry == "safe" else None,
        flow=m.state.flow,
        tenant=m.state.tenant,
    )


def release(m: Machine) -> None:
    """Perform what a pause held back."""
    held, m.state.held = m.state.held, []
    for item in held:
        take_up(m, item)


def put_by(frame: Frame, node: Node, effect: Effect, name: str = "") -> Held:
    """Keep an effect to be performed later."""
    request = effect.model_dump(mode="json", exclude={"meta"})
    return Held(frame=frame.id, node=node.id, activity=_performer(type(effect)), request=request, name=name)


def take_up(m: Machine, held: Held) -> None:
    """Perform an effect that was put by."""
    frame = m.state.frames.get(held.frame)
    if frame is None:
        return
    node = m.graph.nodes[held.node]
    kind = next(kind for kind in node.type.effects if _performer(kind) == held.activity)
    perform(m, frame, node, frame.nodes[node.id], kind.model_validate(held.request), held.name)


def _performer(kind: type[Effect]) -> str:
    return kind.workflow if issubclass(kind, ChildEffect) else kind.activity


def open_form(m: Machine, frame: Frame, node: Node, key: str, form: Form, name: str = "") -> None:
    """Ask a person; `name`: of a form of a `Turn`."""
    m.state.waiting[key] = Place(frame=frame.id, node=node.id, name=name)
    expires: int | None = None
    if form.timeout_s is not None:
        expires = m.now + int(form.timeout_s * 1000)
        m.state.deadlines[key] = Place(frame=frame.id, node=node.id, due=expires, name=name)
        m.out.append(StartTimer(key=key, seconds=form.timeout_s))
    m.emit_node(FormRequired, frame, node, key=key, form=form, expires_at=expires)


def answer_form(m: Machine, key: str, reply: FormReply) -> None:
    """Give a waiting node what the person (or the clock) decided."""
    place = m.state.waiting.pop(key)
    if m.state.deadlines.pop(key, None) is not None:
        m.out.append(Cancel(key=key))
    frame, node = m.state.frames[place.frame], m.graph.nodes[place.node]
    if place.name:
        turns.came(m, frame, node, place.name, reply)
        return
    frame.nodes[place.node].status = "running"
    resume(m, frame, node, reply)


def succeed(m: Machine, frame: Frame, node: Node, run: NodeRun, done: Done) -> None:
    """Keep the outputs of a node and go on along its edges."""
    turns.end(m, frame, node, run)
    turns.say(m, frame, node, done.tell)
    handle = "source" if node.is_branch and node.type.role != "branch" else done.handle
    if node.type.role == "branch" and handle is None:
        failing.no_branch(m, frame, node, run)
        return
    for change in done.writes:
        pool.write(m.state, frame, change.selector, change.value)
        m.emit_node(VariableUpdated, frame, node, selector=change.selector, value=change.value)
    outcomes.note_writes(m, frame, run, done.writes)
    run.status = "succeeded"
    if node.type.name == "loop-end":
        frame.loop_end = True
    selected = handle if node.is_branch else None
    keep_outputs(m, frame, node, done.outputs)
    go_on(m, frame, node, selected)
    if not node.type.hidden:
        emit_finished(m, frame, node, run, done.outputs, done, selected)
    leave(m, frame)


def keep_outputs(m: Machine, frame: Frame, node: Node, outputs: Mapping[str, Any]) -> None:
    """Write the outputs of a node to the pool, and those of response nodes to the run."""
    scope = pool.scope_of(m.state, frame)
    kept = dict(outputs)
    if node.type.role == "container":
        # Loop variables live under the loop's own id: keep them beside the outputs.
        kept = {**scope.get(node.id, {}), **kept}
    scope[node.id] = kept
    if node.type.role == "response":
        stream.respond(m, frame, node, outputs)
        outcomes.note_answer(m, frame, node, outputs)


def go_on(m: Machine, frame: Frame, node: Node, handle: str | None) -> None:
    """Decide the edges of a node that ended, and let streams go on."""
    run = frame.nodes[node.id]
    run.handle, run.ended = handle, m.state.seq
    deadlines.lift(m, frame, node)
    traverse.follow(m, frame, node, handle)
    stream.node_finished(m, frame)


def leave(m: Machine, frame: Frame) -> None:
    """Count a node as ended; close the frame if it was the last one."""
    frame.open -= 1
    containers.close_if_done(m, frame)


def emit_finished(
    m: Machine,
    frame: Frame,
    node: Node,
    run: NodeRun,
    outputs: Mapping[str, Any],
    done: Done | None,
    handle: str | None,
    error: NodeError | None = None,
) -> None:
    """Tell how a node ended; of a container what it says itself."""
    if node.type.role == "container":
        containers.emit_completed(m, frame, node, run, outputs, error)
        return
    status = "succeeded" if error is None else ("failed" if run.status == "failed" else "exception")
    m.emit_node(
        NodeFinished,
        frame,
        node,
        status=status,
        inputs=run.inputs,
        process_data=dict(done.process_data) if done else {},
        outputs=dict(outputs),
        handle=handle,
        error=error.message if error else None,
        error_type=error.error_type if error else None,
        attempts=run.attempt,
        elapsed=m.seconds_since(run.started_at),
        cached=run.cached,
    )
    if run.status != "failed":
        # They are in the event, and in what they came from: one copy less to hand to a fresh history.
        run.inputs = {}


def finish(m: Machine, status: RunStatus, error: RunError | None = None) -> None:
    """End the run: cancel what is in flight, say what came out."""
    state = m.state
    if state.ended:
        return
    if status in ("succeeded", "partial-succeeded"):
        stream.flush(m)
    for table in (state.tasks, state.timers, state.deadlines, state.limits, state.windows):
        m.out.extend(Cancel(key=key) for key in table)
        table.clear()
    if state.expires_at is not None:
        m.out.append(Cancel(key=RUN_DEADLINE))
    state.failures.clear()
    state.ready.clear()
    state.waiting.clear()
    state.children.clear()
    state.held.clear()
    state.status = status
    state.error = error
    state.finished_at = m.now
    m.emit(
        RunFinished,
        status=status,
        outputs={} if status == "failed" else state.outputs,
        error=error.message if error else None,
        error_type=error.type if error else None,
        node_id=error.node if error else "",
        exceptions_count=state.exceptions_count,
        steps=state.steps,
        elapsed=state.elapsed,
    )
