"""What an agent tells of itself, in our words and in Dify's."""

from __future__ import annotations

import json

from graph.agents.looping import Run, bad, call, config, said, script, tool, written

from perdure_graph.agents import thoughts
from perdure_graph.agents.effects import ToolResult
from perdure_graph.agents.tools import Toolset

LOOK = tool("look", label="Look up")


def test_thoughts_as_dify_keeps_them() -> None:
    calls = [call("look", "a", q=1), call("look", "b", q=2), bad("mail", "c", "no JSON")]
    run = Run(
        config(),
        script(said("I look.", *calls), said("Done.")),
        [LOOK, tool("mail")],
        lambda effect: ToolResult(text=f"é{effect.call_id}", elapsed=0.5, files=({"id": f"f{effect.call_id}"},)),
    )
    run.answer()
    first, last = thoughts.as_dify(run.told("agent_thought"), message_id="m", user="u")
    assert (first["position"], last["position"]) == (1, 2)
    assert first["tool"] == "look;look#2;mail"
    assert json.loads(first["tool_input"]) == {"look": {"q": 1}, "look#2": {"q": 2}, "mail": "{"}
    assert json.loads(first["observation"]) == {"look": "éa", "look#2": "éb", "mail": "no JSON"}
    assert "é" in first["observation"]
    assert first["tool_labels"]["look#2"] == {"en_US": "Look up", "zh_Hans": "Look up"}
    assert first["tool_meta"]["look"]["time_cost"] == 0.5 and first["tool_meta"]["look"]["error"] is None
    assert first["tool_meta"]["mail"]["error"] == "no JSON"
    assert first["tool_meta"]["look"]["tool_config"]["provider"] == "test"
    assert first["message_files"] == ["fa", "fb"]
    assert (first["thought"], first["answer"], last["thought"], last["answer"]) == ("I look.", "", "Done.", "Done.")
    assert (last["message_token"], last["answer_token"], last["tokens"]) == (10, 1, 11)
    assert (last["tool"], last["tool_input"], last["message_id"], last["created_by"]) == ("", "", "m", "u")


def test_the_log_is_a_tree_of_rounds() -> None:
    results = lambda effect: ToolResult(text="x" * 2_000, error="bad", error_kind="invoke", elapsed=0.5)  # noqa: E731
    run = Run(config(), script(said("Hm.", call("look"), model="m"), said("Done.", model="m")), [LOOK], results)
    run.answer()
    entries = run.told("agent_log")
    rounds = {one["id"]: one["label"] for one in entries if one["parent_id"] is None}
    assert list(rounds.values()) == ["ROUND 1", "ROUND 2"]
    inner = [(rounds[one["parent_id"]], one["label"], one["status"]) for one in entries if one["parent_id"]]
    assert inner == [
        ("ROUND 1", "m Thought", "success"),
        ("ROUND 1", "CALL look", "start"),
        ("ROUND 1", "CALL look", "error"),
        ("ROUND 2", "m Thought", "success"),
    ]
    failed = next(one for one in entries if one["status"] == "error")
    assert failed["error"] == "bad" and failed["metadata"]["elapsed_time"] == 0.5
    assert len(failed["data"]["output"]) < 600


def test_the_log_says_when_and_what_it_cost() -> None:
    results = lambda _e: ToolResult(text="4", elapsed=0.5)  # noqa: E731
    run = Run(config(), script(said("Hm.", call("look"), provider="p"), said("Done.")), [LOOK], results)
    run.answer()
    entries = {(one["label"], one["status"]): one["metadata"] for one in run.told("agent_log")}
    assert entries["ROUND 1", "start"] == {"started_at": 1_001.0}
    assert entries["CALL look", "start"] == {"started_at": 1_002.0, "provider": "test"}
    # Of a tool and of a model counts what they took themselves, not how long it was until the run heard of it.
    assert entries["CALL look", "success"] == {
        "started_at": 1_002.0,
        "finished_at": 1_003.0,
        "elapsed_time": 0.5,
        "provider": "test",
    }
    assert entries["ROUND 1", "success"] == {
        "started_at": 1_001.0,
        "finished_at": 1_003.0,
        "elapsed_time": 2.0,
        "provider": "p",
        "total_price": "0",
        "currency": "USD",
        "total_tokens": 11,
    }
    assert entries["ROUND 2", "success"]["started_at"] == 1_003.0


def test_the_log_of_react_tells_the_action() -> None:
    texts = ['Thought: so\nAction: {"action": "look", "action_input": {"q": 1}}', "Final Answer: 4"]
    run = Run(config(), lambda e, _t: written(texts[e.round - 1], number=e.round), [LOOK], strategy="react")
    run.answer()
    said_first = next(one for one in run.told("agent_log") if one["label"].endswith("Thought"))
    assert said_first["data"] == {"thought": "so", "action": "look", "action_input": {"q": 1}}
    rounds = [one["data"] for one in run.told("agent_log") if one["status"] == "success" and one["parent_id"] is None]
    assert rounds[0] | {"observation": ""} == {
        "action_name": "look",
        "action_input": {"q": 1},
        "thought": "so",
        "observation": "",
    }
    assert "look" in rounds[0]["observation"]
    assert (rounds[1]["action_name"], rounds[1]["observation"]) == ("", "")


def test_the_log_says_what_is_not_as_it_was_wanted() -> None:
    class Worse(Run):
        def _open(self, effect):  # type: ignore[no-untyped-def]
            opened = super()._open(effect)
            toolset = Toolset(skipped=(("mail", "its server is away"),))
            opening = opened.opening.model_copy(update={"fallback": "it calls no tools", "toolset": toolset})
            return opened.model_copy(update={"opening": opening})

    run = Worse(config(), script(said("Done.")))
    run.answer()
    assert run.told("agent_log")[0]["data"] == {
        "strategy": "function_calling",
        "fallback": "it calls no tools",
        "skipped_tools": {"mail": "its server is away"},
    }
