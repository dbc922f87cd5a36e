"""Where two runs part, through the client and the command line."""

from __future__ import annotations

from typing import Any

import pytest
from client.conftest import Outside
from client.test_fork import batch, call, chain

from fakes.graphs import code, document, end, start
from perdure import Graph, RunNotFound
from perdure.diff import Record, Step, compare, parts
from perdure_graph.graph import Document


def priced(outside: Outside, source: str) -> Document:
    """start -> fetch (POST) -> price (code, of an object) -> end."""
    return document(
        [
            start(n="number"),
            call("fetch", outside.url("fetch")),
            code("price", source, {"items": "array[object]"}, n=["start", "n"]),
            end(items=["price", "items"]),
        ],
        [("start", "fetch"), ("fetch", "price"), ("price", "end")],
    )


PRICE = "def main(n):\n    return {'items': [{'id': 1, 'price': 5}, {'id': 2, 'price': n}]}"
DEARER = PRICE.replace("'price': n", "'price': n + 1")


async def test_equal_runs_are_equal_though_one_took_over_what_the_other_did(outside: Outside) -> None:
    graph = Graph.from_document(priced(outside, PRICE))
    first = await outside.client.start(graph, {"n": 3})
    second = await outside.client.start(graph, {"n": 3})
    forked = None
    await first.result()
    await second.result()
    forked = await first.fork("price")
    await forked.result()
    for other in (second, forked):
        found = await outside.client.diff(first.run_id, other.run_id)
        assert (found.equal, found.same_graph, found.differences) == (True, True, [])


async def test_the_first_difference_is_where_they_part_with_the_path_into_the_value(outside: Outside) -> None:
    first = await outside.client.start(Graph.from_document(priced(outside, PRICE)), {"n": 3})
    second = await outside.client.start(Graph.from_document(priced(outside, DEARER)), {"n": 3})
    await first.result()
    await second.result()
    found = await outside.client.diff(first.run_id, second.run_id)
    assert (found.equal, found.changed) == (False, ["price"])
    place = found.differences[0]
    assert (place.key, place.field, place.path, place.a, place.b) == ("price", "outputs", "items[1].price", "3", "4")
    other_input = await outside.client.start(Graph.from_document(priced(outside, PRICE)), {"n": 4})
    await other_input.result()
    place = (await outside.client.diff(first.run_id, other_input.run_id)).differences[0]
    assert (place.key, place.field, place.path) == ("start", "inputs", "n")


async def test_runs_that_went_other_ways(outside: Outside) -> None:
    failing = Graph.from_document(chain(outside))
    good, bad = [await outside.client.start(failing, {"who": who}) for who in ("good", "bad")]
    await good.result()
    await bad.result()
    found = await outside.client.diff(good.run_id, bad.run_id)
    shown = [(d.key, d.field, d.path, d.a, d.b) for d in found.differences]
    assert ("check", "status", "", "succeeded", "failed") in shown
    assert ("c", "missing", "", "succeeded", "did not end") in shown
    assert ("", "status", "", "succeeded", "failed") in shown


async def test_items_that_were_taken_over_are_not_missing(outside: Outside) -> None:
    graph = Graph.from_document(batch(outside, "def main(x):\n    return {'r': x}"))
    first = await outside.client.start(graph, {"items": {"l": [1, 2, 3]}})
    await first.result()
    forked = await first.fork("it[2]")
    await forked.result()
    assert (await outside.client.diff(first.run_id, forked.run_id)).equal
    assert (await outside.client.diff(forked.run_id, first.run_id)).equal


async def test_the_command_gives_an_exit_code(outside: Outside) -> None:
    graphs = [Graph.from_document(priced(outside, source)) for source in (PRICE, DEARER)]
    runs = [await outside.client.start(graph, {"n": 3}) for graph in (graphs[0], graphs[0], graphs[1])]
    for run in runs:
        await run.result()
    a, b, c = (run.run_id for run in runs)
    same = await outside.cli("diff", a, b)
    assert (same.code, same.out) == (0, f"{a} and {b} did the same\n")
    apart = await outside.cli("diff", a, c)
    assert apart.code == 1
    assert apart.out.startswith(
        f"the graphs differ: changed price\n{a} and {c} part at price, outputs.items[1].price\n    - 3\n    + 4\n"
    )
    told = (await outside.cli("diff", a, c, "--json")).json
    assert (told["equal"], told["differences"][0]["key"]) == (False, "price")
    missing = await outside.cli("diff", a, "no-such-run")
    assert (missing.code, "no-such-run" in missing.err) == (2, True)
    with pytest.raises(RunNotFound):
        await outside.client.diff("no-such-run", a)


def step(node_id: str, **more: Any) -> Step:
    fields: dict[str, Any] = {"key": node_id, "node_id": node_id, "frame": "", "title": node_id, "container": False}
    return Step(**(fields | {"status": "succeeded", "outputs": {}, "inputs": {}, "attempts": 1} | more))


def record(*steps: Step) -> Record:
    return Record(run_id="r", status="succeeded", outputs={}, steps=list(steps))


def test_attempts_count_only_when_asked_for() -> None:
    a, b = record(step("k", attempts=1)), record(step("k", attempts=3))
    assert compare(a, b) == []
    assert [(d.field, d.a, d.b) for d in compare(a, b, attempts=True)] == [("attempts", "1", "3")]


def test_handles_and_nodes_of_the_second_run_alone() -> None:
    found = compare(record(step("if", handle="yes")), record(step("if", handle="no"), step("late")))
    assert [(d.key, d.field, d.a, d.b) for d in found] == [
        ("if", "handle", "yes", "no"),
        ("late", "missing", "did not end", "succeeded"),
    ]


@pytest.mark.parametrize(
    ("a", "b", "found"),
    [
        ({"x": 5}, {"x": 5.0}, []),
        ({"x": 1}, {"x": True}, [("x", "1", "true")]),
        ({"x": [1, {"y": "a"}]}, {"x": [1, {"y": "b"}]}, [("x[1].y", '"a"', '"b"')]),
        ({"x": [1]}, {"x": [1, 2]}, [("x[1]", "(absent)", "2")]),
        ({"x": 1}, {"z": None}, [("x", "1", "(absent)"), ("z", "(absent)", "null")]),
        ("a" * 300 + "b", "a" * 300 + "c", [("", '(from character 250) "' + "a" * 50 + 'b"', None)]),
    ],
)
def test_paths_into_values(a: Any, b: Any, found: list[tuple[str, str, str | None]]) -> None:
    shown = list(parts(a, b))
    assert len(shown) == len(found)
    for got, (path, left, right) in zip(shown, found, strict=True):
        assert got[:2] == (path, left)
        assert right is None or got[2] == right
