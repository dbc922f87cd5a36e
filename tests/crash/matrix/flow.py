"""The flow that is killed: every kind of work a run does, each outside effect named so that it can be counted."""

from __future__ import annotations

import random
import string
from collections import Counter
from typing import Any

from fakes.graphs import code, document, end, node, start, template
from perdure import Client, Graph, RunHandle, RunOptions
from perdure_graph.graph import NodeSpec
from perdure_graph.options import NodeOptions

from .piece import Piece

ROWS = 2
ROUNDS = 2
OUTER = 2
INNER = 2
BULK = 4
WINDOW = 2
FORM = "approve"
ANSWER = {"note": "fine"}
UNANSWERED_S = 0.5
SCOPES = ("", *(f"bulk[{first}-{first + WINDOW - 1}]" for first in range(0, BULK, WINDOW)))

# Larger than the threshold from which values live in the blob store, see `stand`.
PAPER = "".join(random.Random(4).choices(string.ascii_letters + string.digits, k=4000))

OPTIONS = RunOptions(window_items=WINDOW, nodes={"remind": NodeOptions(deadline_s=UNANSWERED_S)})


def effects() -> Counter[str]:
    """Every outside effect of one run, by name: each must happen once."""
    names = ["notify"]
    names += [f"book-{row}" for row in range(ROWS)]
    names += [f"poll-{index}" for index in range(ROUNDS)]
    names += [f"mark-{outer}-{inner}" for outer in range(OUTER) for inner in range(INNER)]
    names += [f"stamp-{item}" for item in range(BULK)]
    return Counter(names)


def inputs(case: str) -> dict[str, Any]:
    """Inputs of a run; all but the name of the case are the same for all."""
    return {"case": case, "paper": PAPER}


def _post(node_id: str, parent: str | None, url: str, what: str, body: str = "x", **more: Any) -> NodeSpec:
    return node(
        node_id,
        "http-request",
        parent,
        method="post",
        url=f"{url}?case={{{{#start.case#}}}}&what={what}",
        headers="",
        params="",
        authorization={"type": "no-auth", "config": None},
        body={"type": "raw-text", "data": [{"key": "", "type": "text", "value": body}]},
        timeout={"connect": 5, "read": 15, "write": 15},
        **more,
    )


def _iteration(
    node_id: str, selector: list[str], output: list[str], parent: str | None = None, **more: Any
) -> NodeSpec:
    return node(
        node_id,
        "iteration",
        parent,
        start_node_id=f"{node_id}start",
        iterator_selector=selector,
        output_selector=output,
        flatten_output=False,
        **more,
    )


def _head(url: str) -> list[NodeSpec]:
    split = (
        "def main(paper):\n"
        f"    return {{'rows': [paper[i * 3:i * 3 + 3] for i in range({ROWS})], 'bulk': list(range({BULK})),\n"
        f"            'outer': list(range({OUTER})), 'text': paper[::-1]}}"
    )
    kinds = {"rows": "array[string]", "bulk": "array[number]", "outer": "array[number]", "text": "string"}
    return [
        start(case="text-input", paper="paragraph"),
        code("split", split, kinds, paper=["start", "paper"]),
        template("cover", "{{ text | length }} {{ rows | join('-') }}", text=["split", "text"], rows=["split", "rows"]),
        _post("notify", None, url, "notify", "{{#cover.output#}}"),
    ]


def _rows(url: str) -> list[NodeSpec]:
    inside = {"isInIteration": True, "iteration_id": "rows"}
    price = "def main(row, i):\n    return {'price': i * 100 + len(row)}"
    return [
        _iteration("rows", ["split", "rows"], ["book", "body"], is_parallel=True, parallel_nums=2),
        node("rowsstart", "iteration-start", "rows", **inside),
        code("price", price, {"price": "number"}, "rows", row=["rows", "item"], i=["rows", "index"]),
        _post("book", "rows", url, "book-{{#rows.index#}}", "{{#price.price#}}", **inside),
    ]


def _loop(url: str) -> list[NodeSpec]:
    inside = {"isInLoop": True, "loop_id": "poll"}
    variables = [{"label": "n", "var_type": "number", "value_type": "constant", "value": "0"}]
    step = "def main(n):\n    return {'n': n + 1}"
    write = {"variable_selector": ["poll", "n"], "input_type": "variable", "operation": "over-write"}
    return [
        node(
            "poll",
            "loop",
            start_node_id="pollstart",
            loop_count=ROUNDS,
            break_conditions=[],
            logical_operator="and",
            loop_variables=variables,
        ),
        node("pollstart", "loop-start", "poll", **inside),
        _post("ask", "poll", url, "poll-{{#poll.n#}}", **inside),
        code("count", step, {"n": "number"}, "poll", n=["poll", "n"]),
        node("keep", "assigner", "poll", version="2", items=[{**write, "value": ["count", "n"]}], **inside),
    ]


def _people() -> list[NodeSpec]:
    actions = [{"id": "yes", "title": "Yes"}]
    fields = [{"type": "text_input", "output_variable_name": "note"}]
    return [
        node(FORM, "human-input", form_content="Go on?", inputs=fields, user_actions=actions),
        # Nobody answers; its deadline takes the fail branch.
        node("remind", "human-input", form_content="Still there?", user_actions=actions, error_strategy="fail-branch"),
    ]


def _nested(url: str) -> list[NodeSpec]:
    inside = {"isInIteration": True, "iteration_id": "outer"}
    deeper = {"isInIteration": True, "iteration_id": "inner"}
    pieces = f"def main(o, text):\n    return {{'pieces': [text[o + i] for i in range({INNER})]}}"
    return [
        _iteration("outer", ["split", "outer"], ["inner", "output"]),
        node("outerstart", "iteration-start", "outer", **inside),
        code("cut", pieces, {"pieces": "array[string]"}, "outer", o=["outer", "item"], text=["split", "text"]),
        _iteration("inner", ["cut", "pieces"], ["mark", "body"], "outer", is_parallel=True, parallel_nums=2, **inside),
        node("innerstart", "iteration-start", "inner", **deeper),
        _post("mark", "inner", url, "mark-{{#outer.index#}}-{{#inner.index#}}", "{{#inner.item#}}", **deeper),
    ]


def _bulk(url: str) -> list[NodeSpec]:
    inside = {"isInIteration": True, "iteration_id": "bulk"}
    weigh = "def main(n, text):\n    return {'weight': ord(text[n])}"
    return [
        _iteration("bulk", ["split", "bulk"], ["stamp", "body"], is_parallel=True, parallel_nums=2),
        node("bulkstart", "iteration-start", "bulk", **inside),
        code("weigh", weigh, {"weight": "number"}, "bulk", n=["bulk", "item"], text=["split", "text"]),
        _post("stamp", "bulk", url, "stamp-{{#bulk.index#}}", "{{#weigh.weight#}}", **inside),
    ]


def graph(url: str) -> Graph:
    """Build the flow; its effects go to `url`."""
    total = (
        "def main(bodies, marks, stamps):\n"
        "    every = {'bodies': bodies, 'marks': marks, 'stamps': stamps}\n"
        "    return {'count': len(bodies) + len(stamps), 'every': every}"
    )
    tail = [
        code(
            "total",
            total,
            {"count": "number", "every": "object"},
            bodies=["rows", "output"],
            marks=["outer", "output"],
            stamps=["bulk", "output"],
        ),
        end(
            count=["total", "count"],
            every=["total", "every"],
            cover=["cover", "output"],
            notified=["notify", "body"],
            rounds=["poll", "n"],
            note=[FORM, "note"],
            text=["split", "text"],
        ),
    ]
    nodes = [*_head(url), *_rows(url), *_loop(url), *_people(), *_nested(url), *_bulk(url), *tail]
    edges: list[tuple[str, ...]] = [
        ("start", "split"),
        ("split", "cover"),
        ("cover", "notify"),
        ("notify", "rows"),
        ("rowsstart", "price"),
        ("price", "book"),
        ("rows", "poll"),
        ("pollstart", "ask"),
        ("ask", "count"),
        ("count", "keep"),
        ("poll", FORM),
        (FORM, "yes", "outer"),
        ("outerstart", "cut"),
        ("cut", "inner"),
        ("innerstart", "mark"),
        ("outer", "remind"),
        ("remind", "fail-branch", "bulk"),
        ("bulkstart", "weigh"),
        ("weigh", "stamp"),
        ("bulk", "total"),
        ("total", "end"),
    ]
    return Graph.from_document(document(nodes, edges))


async def _start(client: Client, url: str, case: str, run_id: str) -> RunHandle:
    return await client.start(graph(url), inputs(case), run_id=run_id, options=OPTIONS)


PIECE = Piece(_start, effects, "partial-succeeded", SCOPES, form=FORM, answer=ANSWER)
