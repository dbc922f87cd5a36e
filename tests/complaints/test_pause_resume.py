"""Complaints about forms, pauses and what happens after them."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from complaints.flows import (
    Target,
    ask,
    call,
    chain,
    cli,
    counting_loop,
    events_of,
    graph,
    output_of,
    scheduled,
    stored,
    until,
)

from fakes.graphs import code, end, node
from perdure import Client, CommandRefused, Graph, RunHandle
from perdure_graph.view import RunView
from perdure_worker.embedded import EmbeddedStack
from perdure_worker.temporal_cli import ensure


def decision() -> Graph:
    """A form with two buttons; each has its own end."""
    return graph(
        [
            ask("ask", "approve", "reject"),
            end("yes", approved=["ask", "note"]),
            end("no", rejected=["ask", "note"]),
            end("late", late=["start", "x"]),
        ],
        [("start", "ask"), ("ask", "approve", "yes"), ("ask", "reject", "no"), ("ask", "__timeout", "late")],
    )


@pytest.mark.parametrize(("action", "output"), [("approve", "approved"), ("reject", "rejected")])
async def test_complaint_10_each_answer_has_its_one_outcome(perdure: Client, action: str, output: str) -> None:
    """Somebody approved, and the run was marked as stopped."""
    handle = await perdure.start(decision(), {"x": 1})
    await until(handle, "paused")
    view = await handle.submit("ask", action, {"note": "n"})
    assert view.status in ("running", "succeeded")
    result = await handle.result()
    assert (result.status, result.outputs) == ("succeeded", {output: "n"})
    with pytest.raises(CommandRefused, match="has ended"):
        await handle.submit("ask", action)


async def test_complaint_10_of_two_answers_at_once_one_counts_and_the_other_hears_so(perdure: Client) -> None:
    """Two people press different buttons in the same moment: one decision, and one refusal that says why."""
    for first, second in (("approve", "reject"), ("reject", "approve")):
        handle = await perdure.start(decision(), {"x": 1})
        await until(handle, "paused")
        other = Client(perdure.temporal, perdure.task_queue).run(handle.run_id)
        answers = await asyncio.gather(
            handle.submit("ask", first, {"note": first}),
            other.submit("ask", second, {"note": second}),
            return_exceptions=True,
        )
        taken = [name for name, answer in zip((first, second), answers, strict=True) if isinstance(answer, RunView)]
        refused = [answer for answer in answers if isinstance(answer, CommandRefused)]
        assert (len(taken), len(refused)) == (1, 1)
        assert await handle.outputs() == {{"approve": "approved", "reject": "rejected"}[taken[0]]: taken[0]}
        filled = [event for event in await events_of(handle) if event.type == "human_input_form_filled"]
        assert [event.action for event in filled] == taken


async def test_complaint_10_an_answer_that_does_not_fit_changes_nothing(perdure: Client) -> None:
    """A wrong button, a wrong field, a wrong form: refused by name, and the form stays open."""
    handle = await perdure.start(decision(), {"x": 1})
    before = await until(handle, "paused")
    for form, action, values in (("ask", "maybe", {}), ("ask", "approve", {"nope": 1}), ("other", "approve", {})):
        with pytest.raises(CommandRefused, match=f"{action if action == 'maybe' else 'nope' if values else form}"):
            await handle.submit(form, action, values)
    after = await handle.status()
    assert (after.status, after.seq, after.forms) == (before.status, before.seq, before.forms)
    await handle.stop()


FORMS = ("a", "b", "c", "d", "e")


def side_by_side() -> Graph:
    """Five forms at once, then a join that reads them all."""
    joined = "def main(**notes):\n    return {'r': ''.join(notes[k] for k in sorted(notes))}"
    return graph(
        [
            *(ask(name) for name in FORMS),
            code("join", joined, {"r": "string"}, **{name: [name, "note"] for name in FORMS}),
            end(r=["join", "r"]),
        ],
        [*(("start", name) for name in FORMS), *((name, "go", "join") for name in FORMS), ("join", "end")],
    )


async def in_order(order: tuple[str, ...], handles: list[RunHandle]) -> None:
    for name, handle in zip(order, itertools.cycle(handles), strict=False):
        await handle.submit(name, "go", {"note": name})


async def at_once(order: tuple[str, ...], handles: list[RunHandle]) -> None:
    turns = zip(order, itertools.cycle(handles), strict=False)
    await asyncio.gather(*(handle.submit(name, "go", {"note": name}) for name, handle in turns))


async def while_paused(order: tuple[str, ...], handles: list[RunHandle]) -> None:
    await handles[0].pause("lunch")
    await at_once(order, handles)
    assert (await handles[0].status()).status == "paused"
    await handles[0].resume()


@pytest.mark.parametrize("order", [FORMS, FORMS[::-1], ("c", "a", "e", "b", "d")], ids="".join)
@pytest.mark.parametrize("how", [in_order, at_once, while_paused])
async def test_complaint_11_forms_side_by_side_all_land(
    perdure: Client, how: Callable[[tuple[str, ...], list[RunHandle]], Awaitable[None]], order: tuple[str, ...]
) -> None:
    """Two forms answered together left the run paused for ever."""
    handle = await perdure.start(side_by_side(), {"x": 1})
    await until(handle, lambda view: len(view.forms) == len(FORMS))
    other = Client(perdure.temporal, perdure.task_queue).run(handle.run_id)
    async with asyncio.timeout(30):
        await how(order, [handle, other])
        assert await handle.outputs() == {"r": "abcde"}
    kinds = [event.type for event in await events_of(handle)]
    assert kinds.count("human_input_form_filled") == len(FORMS)
    assert (await scheduled(perdure.temporal, handle.run_id))["join"] == 1


def chat(with_form: bool) -> Graph:
    """A chat flow that answers before, in and after the place of a form, from effects and from plain text."""
    first = code("first", "def main(s):\n    return {'t': s * 2}", {"t": "string"}, s=["start", "s"])
    second = code("second", "def main(s):\n    return {'t': s * 3}", {"t": "string"}, s=["first", "t"])
    between = [ask("between")] if with_form else []
    after = [("one", "between"), ("between", "go", "second")] if with_form else [("one", "second")]
    return graph(
        [
            first,
            node("one", "answer", answer="Before {{#first.t#}}. "),
            *between,
            second,
            node("two", "answer", answer="After {{#second.t#}} and {{#first.t#}}."),
        ],
        [("start", "first"), ("first", "one"), *after, ("second", "two")],
        mode="advanced-chat",
    )


async def test_complaint_12_the_answer_is_the_same_with_and_without_a_pause(
    perdure: Client, place: EmbeddedStack
) -> None:
    """What came after the resume was neither shown nor stored."""
    shown: list[str] = []
    kept: list[Any] = []
    for how in ("straight", "form", "form and pause"):
        handle = await perdure.start(chat(how != "straight"), {"s": "ab"}, query="q")
        if how != "straight":
            await until(handle, lambda view: bool(view.forms))
        if how == "form and pause":
            await handle.pause()
        if how != "straight":
            await handle.submit("between", "go")
        if how == "form and pause":
            await handle.resume()
        kept.append(await handle.outputs())
        events = await events_of(handle)
        record, recorded = await stored(place, handle.run_id)
        kept.append(record.outputs)
        shown += ["".join(e.text for e in told if e.type == "text_chunk") for told in (events, recorded)]
        assert (how == "straight") is not any(event.type == "run_paused" for event in events)
    assert kept[0]["answer"] == "Before abab. After " + "abab" * 3 + " and abab."
    assert kept == [kept[0]] * 6, "of three runs, in the run and in the run store"
    assert shown == [kept[0]["answer"]] * 6


async def test_complaint_12_a_reader_from_before_the_pause_reads_on_after_it(perdure: Client) -> None:
    """The same stream, never reopened, carries the text on both sides of the form."""
    handle = await perdure.start(chat(with_form=True), {"s": "x"}, query="q")
    text = ""
    async with asyncio.timeout(30):
        async for event in handle.events():
            if event.type == "text_chunk":
                text += event.text
            if event.type == "run_paused":
                assert text == "Before xx. "
                await handle.submit("between", "go")
    assert text == (await handle.outputs())["answer"]


async def test_complaint_13_what_came_before_a_wait_ran_once(perdure: Client, target: Target) -> None:
    """A resume ran nodes again that were done, and asked again what was answered."""
    steps: list[Any] = []
    for number in range(3):
        steps += [call(f"do{number}", target.url(f"/hit?of=do{number}")), ask(f"ask{number}")]
    flow = chain(*steps, call("last", target.url("/hit?of=last")), notes=["ask2", "note"])
    handle = await perdure.start(flow, {})
    for number in range(3):
        view = await until(handle, lambda view, name=f"ask{number}": [form.key for form in view.forms] == [name])
        assert view.status == "paused"
        await handle.submit(f"ask{number}", "go", {"note": str(number)})
    assert await handle.outputs() == {"notes": "2"}
    assert target.hits() == {"do0": 1, "do1": 1, "do2": 1, "last": 1}


async def test_complaint_13_three_waits_of_one_node_in_a_loop(perdure: Client, target: Target) -> None:
    """One form node that is reached three times asks three times, each time anew."""
    inner = {"isInLoop": True, "loop_id": "lo"}
    around = [
        call("before", target.url("/hit?of=before{{#lo.count#}}"), "lo", **inner),
        node("ask", "human-input", "lo", **{**ask("ask").data, **inner}),
        call("after", target.url("/hit?of=after{{#lo.count#}}"), "lo", **inner),
    ]
    inside = [("los", "before"), ("before", "ask"), ("ask", "go", "after"), ("after", "keep")]
    nodes = counting_loop(3, around, inside)
    flow = graph([*nodes, end(n=["lo", "count"])], [("start", "lo"), ("lo", "end"), *inside])
    handle = await perdure.start(flow, {})
    asked: list[str] = []
    for _ in range(3):
        view = await until(handle, lambda view: bool(view.forms) and view.forms[0].key not in asked)
        asked.append(view.forms[0].key)
        await handle.submit(asked[-1], "go")
    assert await handle.outputs() == {"n": 3}
    assert len(set(asked)) == 3
    assert target.hits() == {f"{when}{number}": 1 for when in ("before", "after") for number in range(3)}


Resume = Callable[[EmbeddedStack, RunHandle], Awaitable[None]]


async def by_client(_stack: EmbeddedStack, handle: RunHandle) -> None:
    await handle.resume()
    await handle.submit("ask", "left", {"note": "n"})


async def by_cli(stack: EmbeddedStack, handle: RunHandle) -> None:
    await cli(stack, "resume", handle.run_id)
    await cli(stack, "submit", handle.run_id, "ask", "left", "-i", "note=n")


async def by_signal(stack: EmbeddedStack, handle: RunHandle) -> None:
    workflow = stack.client.get_workflow_handle(handle.run_id)
    await workflow.signal("resume")
    answer = {"form": "ask", "action": "left", "values": {"note": "n"}, "id": "answer-1"}
    for _ in range(3):  # whoever got no answer sends it again
        await workflow.signal("submit", answer)


async def by_temporal_cli(stack: EmbeddedStack, handle: RunHandle) -> None:
    binary = str(await asyncio.to_thread(ensure))
    answer = json.dumps({"form": "ask", "action": "left", "values": {"note": "n"}})
    for words in (["signal", "--name", "resume"], ["update", "execute", "--name", "submit", "-i", answer]):
        await output_of([binary, "workflow", *words, "-w", handle.run_id, "--address", stack.address])


@pytest.mark.parametrize("resume", [by_client, by_cli, by_signal, by_temporal_cli])
async def test_complaint_14_every_way_to_resume_takes_the_same_single_path(
    perdure: Client, place: EmbeddedStack, target: Target, resume: Resume
) -> None:
    """A resume through the API ran the flow again from the start, and both branches of it."""
    flow = graph(
        [
            call("before", target.url("/hit?of=before")),
            ask("ask", "left", "right"),
            call("one", target.url("/hit?of=left")),
            call("two", target.url("/hit?of=right")),
            end("ends", note=["ask", "note"], action=["ask", "__action_id"]),
        ],
        [
            ("start", "before"),
            ("before", "ask"),
            ("ask", "left", "one"),
            ("ask", "right", "two"),
            ("one", "ends"),
            ("two", "ends"),
        ],
    )
    handle = await perdure.start(flow, {})
    await until(handle, lambda view: bool(view.forms))
    await handle.pause("wait for me")
    await resume(place, handle)
    assert await handle.outputs() == {"note": "n", "action": "left"}
    assert target.hits() == {"before": 1, "left": 1}
    finished = [event.node_id for event in await events_of(handle) if event.type == "node_finished"]
    assert finished == ["start", "before", "ask", "one", "ends"]
