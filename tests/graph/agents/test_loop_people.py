"""What an agent asks people: approvals, calls that were interrupted, going in circles."""

from __future__ import annotations

import json
from typing import Any

import pytest
from graph.agents.looping import Run, call, config, said, script, tool

from perdure_graph.agents import loop, observations
from perdure_graph.agents.config import AgentLimits, ApprovalPolicy
from perdure_graph.agents.effects import RunTool, ToolResult
from perdure_graph.agents.memory import are_paired
from perdure_graph.models.messages import UserMessage, text_of
from perdure_graph.nodes.base import Failed, Form, FormReply
from perdure_graph.nodes.human_input import check_submission

PAY = tool("pay", approval="required", label="Pay a bill")
ASK, LOOK = tool("ask", approval="policy"), tool("look")


def answering(action: str | None, **values: Any) -> Any:
    """Somebody who gives one answer to all, as it is checked when it is submitted."""

    def person(_name: str, form: Form) -> FormReply:
        return FormReply(action=None) if action is None else check_submission(form, action, values)

    return person


def paid(run: Run) -> list[dict[str, Any]]:
    return [one.arguments for one in run.ran if isinstance(one, RunTool) and one.name == "pay"]


def test_an_approved_call_is_made() -> None:
    run = Run(config(name="clerk"), script(said("", call("pay", "c1", sum=3)), said("Paid.")), [PAY])
    assert run.answer().text == "Paid."
    [(name, form)] = run.forms
    assert (name, form.call) == ("a1.0", "c1")
    assert "clerk" in form.content and "Pay a bill" in form.content and '"sum": 3' in form.content
    assert [one.id for one in form.actions] == ["approve", "deny"]
    assert json.loads(str(form.inputs[0].default)) == {"sum": 3}
    assert paid(run) == [{"sum": 3}]
    first, last, _ = run.told("agent_thought")
    assert (first["calls"][0]["status"], first["calls"][0]["form"]) == ("waiting", name)
    assert last["calls"][0]["status"] == "done" and "form" not in last["calls"][0]


def test_a_denied_call_is_not_made_and_no_failure() -> None:
    rounds = [said("", call("pay", f"c{number}", sum=number)) for number in range(4)]
    run = Run(config(), script(*rounds, said("Well.")), [PAY], person=answering("deny", reason="too much"))
    answer = run.answer()
    assert (answer.end, answer.calls, paid(run)) == ("answer", 0, [])
    assert run.observations()[0] == (
        "A person denied this call of 'pay', so it was not run. The reason given: too much"
    )


def test_changed_arguments_are_those_of_the_call_and_everybody_hears_of_it() -> None:
    run = Run(
        config(),
        script(said("", call("pay", "c1", sum=300)), said("Paid.")),
        [PAY],
        person=answering("approve", arguments='{"sum": 3}'),
    )
    run.answer()
    assert paid(run) == [{"sum": 3}]
    told = run.told("agent_thought")[1]["calls"][0]
    assert (told["arguments"], told["asked_arguments"], told["changed_by"]) == ({"sum": 3}, {"sum": 300}, "person")
    assert isinstance(run.last_thread[-1], UserMessage)
    assert '{"sum": 3}' in text_of(run.last_thread[-1])


def test_arguments_that_are_no_object_are_asked_for_again() -> None:
    answers = iter(["[1]", "{", '{"sum": 4}'])
    person = lambda name, form: answering("approve", arguments=next(answers))(name, form)  # noqa: E731
    run = Run(config(), script(said("", call("pay", "c1", sum=3)), said("Paid.")), [PAY], person=person)
    run.answer()
    assert [name for name, _ in run.forms] == ["a1.0", "a1.0.2", "a1.0.3"]
    assert "must be one JSON object" in run.forms[1][1].content
    assert paid(run) == [{"sum": 4}]


def test_a_call_that_waits_holds_back_no_other() -> None:
    calls = [call("pay", "p", sum=1), call("look", "a"), call("look", "b", q=1)]
    run = Run(
        config(max_parallel_tools=1),
        script(said("", *calls), said("Done.")),
        [PAY, LOOK],
        pick=lambda n: n - 1,
    )
    run.answer()
    assert next(one.call_id for one in run.ran if isinstance(one, RunTool)) == "a"
    assert [one.call_id for one in run.last_thread if one.role == "tool"] == ["p", "a", "b"]


def test_sequential_calls_keep_their_order_while_one_waits() -> None:
    first = tool("first", sequential=True, approval="required")
    then = tool("then", sequential=True)
    calls = [call("first", "f"), call("then", "t"), call("look", "l")]
    # Forms are answered last.
    run = Run(config(), script(said("", *calls), said("Done.")), [first, then, LOOK], pick=lambda n: n - 1)
    run.answer()
    assert [one.call_id for one in run.ran if isinstance(one, RunTool)] == ["l", "f", "t"]


@pytest.mark.parametrize(("asks", "forms"), [(True, 1), (False, 0)])
def test_a_policy_says_which_calls_wait(asks: bool, forms: int) -> None:
    one = call("ask").model_copy(update={"asks": asks})
    run = Run(config(), script(said("", one), said("Done.")), [ASK])
    run.answer()
    assert len(run.forms) == forms


@pytest.mark.parametrize(
    ("on", "end", "made"), [("deny", "answer", 0), ("approve", "answer", 1), ("stop", "denied", 0)]
)
def test_nobody_approves_in_time(on: Any, end: str, made: int) -> None:
    policy = ApprovalPolicy(timeout_s=60, on_timeout=on)
    run = Run(
        config(approval=policy),
        script(said("I pay.", call("pay")), said("Well.")),
        [PAY],
        person=answering(None),
    )
    answer = run.answer()
    assert run.forms[0][1].timeout_s == 60
    assert (answer.end, answer.calls) == (end, made)
    assert answer.text == ("I pay." if on == "stop" else "Well.")


def test_an_agent_that_stops_lets_its_tools_finish_and_starts_none() -> None:
    calls = [call("pay", "p"), call("look", "a"), call("look", "b", q=1)]
    file = {"type": "document", "url": "https://example.com/x"}
    run = Run(
        config(max_parallel_tools=1, approval=ApprovalPolicy(timeout_s=1, on_timeout="stop")),
        script(said("", *calls)),
        [PAY, LOOK],
        lambda _e: ToolResult(text="seen", files=(file,)),
        person=answering(None),
        # The form runs out first.
        pick=lambda n: n - 1,
    )
    answer = run.answer()
    assert (answer.end, answer.calls, answer.files) == ("denied", 1, (file,))
    assert answer.text == observations.partial("look: seen")
    assert [one["status"] for one in run.told("agent_thought")[-1]["calls"]] == ["failed", "done", "failed"]


ONCE = tool("send", retry="never")


@pytest.mark.parametrize(
    ("action", "values", "sent", "told"),
    [
        ("run_again", {}, 2, "sent"),
        ("give_result", {"result": "It was sent."}, 1, "It was sent."),
        ("not_known", {}, 1, "It is not known whether it was done"),
    ],
)
def test_a_call_that_was_interrupted_and_must_not_be_repeated(
    action: str, values: dict[str, Any], sent: int, told: str
) -> None:
    replies: list[Any] = [Failed("its worker died", "Interrupted", interrupted=True), ToolResult(text="sent")]
    run = Run(
        config(),
        script(said("", call("send", "s")), said("Done.")),
        [ONCE],
        lambda _e: replies.pop(0),
        person=answering(action, **values),
    )
    assert run.answer().calls == 1
    assert len(run.ran) == sent
    assert "its worker died" in run.forms[0][1].content
    assert told in run.observations()[0]


def test_a_call_that_was_interrupted_and_may_be_repeated_just_failed() -> None:
    run = Run(
        config(),
        script(said("", call("look")), said("Done.")),
        [LOOK],
        lambda _e: Failed("lost", "EffectTimeout", interrupted=True),
    )
    run.answer()
    assert not run.forms and "lost" in run.observations()[0]


@pytest.mark.parametrize(
    ("action", "end", "closed"),
    [("go_on", "max_iterations", True), ("finish", "oscillation", True), ("stop", "oscillation", False)],
)
def test_a_person_decides_about_going_in_circles(action: str, end: str, closed: bool) -> None:
    turns = [said("", call("look", f"c{number}", q=number % 2)) for number in range(30)]
    run = Run(
        config(limits=AgentLimits(max_iteration=7, cycles=2, on_oscillation="ask")),
        script(*turns),
        [LOOK],
        person=answering(action, note="Try the other one."),
    )
    answer = run.answer()
    assert answer.end == end
    assert run.rounds[-1][0].closing == closed
    said_to = [text_of(one) for one in run.last_thread[1:] if isinstance(one, UserMessage)]
    assert said_to == (["Try the other one."] if action == "go_on" else [])


def test_forms_show_arguments_that_no_fence_ends() -> None:
    run = Run(config(), script(said("", call("pay", "c", text="```\n# boo")), said("Paid.")), [PAY])
    run.answer()
    assert "````json" in run.forms[0][1].content


def test_a_node_that_failed_while_calls_were_under_way_goes_on_with_them() -> None:
    calls = [call("look", "a"), call("pay", "p"), call("send", "s"), call("look", "d", q=1)]
    run = Run(config(max_parallel_tools=2), script(said("", *calls)), [LOOK, PAY, ONCE])

    def stop(_effect: Any) -> Any:
        raise KeyboardInterrupt

    run.results = stop
    with pytest.raises(KeyboardInterrupt):
        run.answer()
    assert run.state is not None
    move = loop.again(run.config, run.state)
    # The place of the call that waits now is free.
    assert [name for name, _ in move.perform] == ["r1.c0.2", "r1.c3"]
    assert [name for name, _ in move.wait] == ["a1.1.2", "i1.2"]
    done = loop.came(run.config, move.state, "r1.c0.2", ToolResult(text="seen"))
    assert not done.perform
    state, moves = done.state, []
    for name, reply in [
        ("r1.c3", ToolResult(text="seen")),
        ("a1.1.2", FormReply(action="deny")),
        ("i1.2", FormReply(action="not_known")),
    ]:
        moves.append(loop.came(run.config, state, name, reply))
        state = moves[-1].state
    [(name, effect)] = moves[-1].perform
    assert name == "r2"
    assert are_paired([one for one in effect.fresh if one is not None])  # type: ignore[attr-defined]
