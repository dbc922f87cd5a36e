"""The loop within the real core: the graph that is drawn of an agent, driven in memory."""

from __future__ import annotations

from graph.agents.looping import Run, call, config, said, tool

from fakes.driver import Driver
from perdure_graph.agents.effects import AskRound
from perdure_graph.agents.run import document_of
from perdure_graph.commands import Approve, Retry
from perdure_graph.effects import Effect, Reply
from perdure_graph.errors import NodeError
from perdure_graph.events import AgentThought
from perdure_graph.graph import graph_of
from perdure_graph.nodes.base import Failed
from perdure_graph.request import RunOptions, RunRequest


def driven(run: Run, **options: object) -> Driver:
    graph = graph_of(document_of(run.config))

    def perform(effect: Effect) -> Reply:
        reply = run._perform("", effect)
        if isinstance(reply, Failed):
            raise NodeError(reply.message, reply.error_type)
        return reply

    request = RunRequest(graph=graph.document, query="Q", options=RunOptions.model_validate(options))
    return Driver(graph, request, performer=perform, round_trip=True)


def test_an_agent_waits_for_its_approval_and_goes_on() -> None:
    answers = [said("Look.", call("look", "a"), call("pay", "b", sum=1)), said("Done.")]
    tools = [tool("look"), tool("pay", approval="required")]
    run = Run(config(), lambda effect, _thread: answers[effect.round - 1], tools)
    driver = driven(run)
    driver.run()
    assert driver.state.status == "paused"
    driver.send(Approve(id="x", call="b"))
    driver.run()
    assert (driver.state.status, driver.state.outputs["answer"]) == ("succeeded", "Done.")
    assert run.observations() == ["look {}", "pay {'sum': 1}"]
    thoughts = [event for event in driver.state.events if isinstance(event, AgentThought)]
    assert [(one.position, one.node_id) for one in thoughts] == [(1, "agent"), (1, "agent"), (2, "agent")]


def test_an_agent_whose_model_failed_goes_on_with_the_same_round_when_an_operator_retries() -> None:
    answers = [said("", call("look", "a")), Failed("no quota", "quota"), said("Done.")]
    run = Run(config(), lambda _effect, _thread: answers.pop(0), [tool("look")], stores=lambda: True)
    driver = driven(run, on_failure="wait")
    driver.run()
    assert [failure.message for failure in driver.state.failures.values()] == ["no quota"]
    driver.send(Retry(id="x", node="agent"))
    driver.run()
    assert (driver.state.status, driver.state.outputs["answer"]) == ("partial-succeeded", "Done.")
    asked = [call.effect for call in driver.calls if isinstance(call.effect, AskRound)]
    assert [effect.round for effect in asked] == [1, 2, 2]
    assert asked[1].thread == asked[2].thread and len(run.ran) == 1
