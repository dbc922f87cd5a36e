"""The command `perdure fork`, and forks that are refused: the message names node, field and what is possible."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from client.conftest import Outside
from client.test_fork import batch, call, chain

from fakes.graphs import code, document, end, iteration, start
from perdure import Graph, InvalidInputs
from perdure_graph.graph import Document


def without_check(outside: Outside) -> Graph:
    nodes = [start(who="text-input"), call("a", outside.url("a-{{#start.who#}}")), end(status=["a", "status_code"])]
    return Graph.from_document(document(nodes, [("start", "a"), ("a", "end")]))


async def test_what_cannot_be_forked_is_said_with_what_can(outside: Outside) -> None:
    source = await outside.client.start(Graph.from_document(chain(outside)), {"who": "good"})
    await source.result()
    cases: list[tuple[dict[str, Any], str, tuple[str, str]]] = [
        (
            {"from_node": "chek"},
            r"there is no such node \(did you mean 'check'\?\)\. Possible are: start, a, b, check, c, end\.",
            ("chek", "from_node"),
        ),
        ({"from_node": "a[1]"}, "'a' is no iteration", ("a[1]", "from_node")),
        (
            {"from_node": "check", "graph": without_check(outside)},
            r"'check' is not in the new graph, so it cannot run there\. Possible are: start, a, end\.",
            ("check", "from_node"),
        ),
        ({}, "nothing of run .* would run anew.*Name a node to begin with", ("", "from_node")),
        (
            {"from_node": "b", "variables": {"c": {"body": "x"}}},
            "'c': it is not taken over.*Taken over are: start, a",
            ("c", "variables.c"),
        ),
        (
            {"variables": {"chek": {"r": "x"}}},
            r"cannot set variables of 'chek': no node 'chek' .* ended\. Did you mean 'check'\?",
            ("chek", "variables.chek"),
        ),
        (
            {"from_node": "c", "variables": {"check": {"s": "x"}}},
            r"cannot set check\.s: node 'check' put out no 's'\. There are: r\.",
            ("check", "variables.check.s"),
        ),
        ({"from_node": "b", "variables": {"env": {"x": "y"}}}, "belong to the graph", ("", "variables.env")),
        ({"inputs": {"who": 5}}, r"node 'start', input 'who': .* must be a string, got int 5", ("start", "who")),
        ({"from_node": "c", "inputs": {"who": 5}}, r"node 'start', input 'who': .* must be a string", ("start", "who")),
        ({"from_node": "c", "pins": {"c": {"fail_times": -1}}}, r"pins\.c\.fail_times", ("", "pins.c.fail_times")),
    ]
    for arguments, why, place in cases:
        with pytest.raises(InvalidInputs, match=why) as refused:
            await source.fork(**arguments)
        assert (refused.value.node, refused.value.field) == place, arguments
    assert outside.asked() == ["a-good", "b-200", "c-good"], "nothing was started"


async def test_items_that_cannot_be_entered(outside: Outside) -> None:
    strict = "def main(x):\n    if x > 3: raise ValueError('too much')\n    return {'r': x}"
    source = await outside.client.start(Graph.from_document(batch(outside, strict)), {"items": {"l": [1, 5, 2]}})
    await source.result()
    for from_node, why in [
        (
            "book",
            r"'book' is inside iteration 'it' and this does not say in which item; fork from 'it\[n\]' with n from",
        ),
        ("it[2]", r"only the first item of 'it' ended without a gap; fork from 'it\[1\]' or a lower item"),
        ("it[1].first", "there is no node 'first' in 'it'"),
        ("it[1].bok", r"there is no node 'bok' in 'it' \(did you mean 'book'\?\)"),
        ("end", "the run never reached 'end'"),
    ]:
        with pytest.raises(InvalidInputs, match=why) as refused:
            await source.fork(from_node)
        assert (refused.value.node, refused.value.field) == (from_node, "from_node")


def first_asked(outside: Outside, what: str) -> Document:
    """An iteration over what a first node gives."""
    items = code("items", f"def main():\n    return {{'l': {what}}}", {"l": "array[number]"})
    drawn = iteration(["items", "l"], [call("k", outside.url("k"), "it")], [("its", "k")], ["k", "status_code"])
    edges = [(e.source, e.target) for e in drawn.edges if e.target != "it"]
    return document([*drawn.nodes, items], [("start", "items"), ("items", "it"), *edges])


async def test_items_are_not_kept_when_what_gives_them_changes(outside: Outside) -> None:
    source = await outside.client.start(Graph.from_document(first_asked(outside, "[1, 2]")))
    await source.result()
    changed = Graph.from_document(first_asked(outside, "[7, 8, 9]"))
    with pytest.raises(InvalidInputs, match=r"nodes before 'it' run anew \('items'\).*Fork from 'it'"):
        await source.fork("it[1]", graph=changed)
    outside.asked()
    assert await (await source.fork("it", graph=changed)).outputs() == {"out": [200, 200, 200]}
    assert outside.asked() == ["k", "k", "k"]


async def test_the_command_says_what_is_taken_over_and_what_runs(outside: Outside) -> None:
    source = await outside.client.start(Graph.from_document(chain(outside)), {"who": "good"})
    await source.result()
    outside.asked()

    done = await outside.cli("fork", source.run_id, "--from", "c", "--set", "check.r=told", "--run-id", "by-command")
    assert done.code == 0, done.err
    assert "reused   start, a, b, check\n" in done.out
    assert "anew     c, end\n" in done.out
    assert await outside.client.run("by-command").outputs() == {"r": "told", "status": 200}
    assert outside.asked() == ["c-told"]

    done = await outside.cli("fork", source.run_id, "--from", "check", "-i", "who=fine", "--json")
    told = done.json
    assert (told["reused"], told["anew"]) == (["start", "a", "b"], ["check", "c", "end"])
    assert (told["forked_from"], told["partial"]) == (source.run_id, {})
    assert (await outside.client.run(told["run_id"]).result()).status == "failed"

    done = await outside.cli("fork", source.run_id, "--from", "nope")
    assert (done.code, "Possible are: start, a, b, check, c, end." in done.err) == (2, True)


async def test_the_command_refuses_with_its_own_words(outside: Outside, tmp_path: Path) -> None:
    source = await outside.client.start(Graph.from_document(chain(outside)), {"who": "good"})
    await source.result()
    done = await outside.cli("fork", source.run_id)
    assert (done.code, "nothing of run" in done.err) == (2, True)
    flow = tmp_path / "other.graph.json"
    flow.write_text(without_check(outside).document.model_dump_json())
    done = await outside.cli("fork", source.run_id, "--from", "check", "--flow", flow)
    assert (done.code, "'check' is not in the new graph" in done.err) == (2, True)
    done = await outside.cli("fork", "no-such-run")
    assert (done.code, "no-such-run" in done.err) == (1, True)
