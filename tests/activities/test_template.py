"""Template nodes: Jinja2 as Dify renders it, failures with a line, concurrency."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import psutil
import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from perdure_activities.sandbox import close_pools
from perdure_activities.template import render_template
from perdure_graph.effects import RenderTemplate


@pytest.fixture(scope="module", autouse=True)
async def pools() -> AsyncIterator[None]:
    yield
    await close_pools()


async def render(template: str, /, max_chars: int = 400_000, **variables: Any) -> str:
    request = RenderTemplate(template=template, variables=variables, max_chars=max_chars)
    return (await render_template(request)).text


async def failure(template: str, /, **more: Any) -> ApplicationError:
    with pytest.raises(ApplicationError) as caught:
        await render(template, **more)
    assert caught.value.non_retryable
    return caught.value


CASES = {
    "text": ("plain", "plain"),
    "variable": ("Hello {{ name }}!", "Hello Bob!"),
    "undefined": ("[{{ nobody }}]", "[]"),
    "none": ("[{{ nothing }}]", "[None]"),
    "values": ("{{ n }} {{ f }} {{ yes }} {{ xs }} {{ d }}", "1 5.0 True [1, 'a'] {'k': None}"),
    "one trailing newline": ("a\n\n", "a\n"),
    "loop": ("{% for x in xs %}{{ loop.index }}={{ x }};{% endfor %}", "1=1;2=a;"),
    "condition": ("{% if n > 0 %}more{% else %}less{% endif %}", "more"),
    "not escaped": ("{{ html }}", "<b>&</b>"),
    "filters": (
        "{{ name | upper }} {{ xs | length }} {{ d | tojson }} {{ nobody | default('x') }}",
        'BOB 2 {"k": null} x',
    ),
    "macro": ("{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m(n) }}", "<1>"),
    "namespace": ("{% set s = namespace(t=0) %}{% for x in [1, 2] %}{% set s.t = s.t + x %}{% endfor %}{{ s.t }}", "3"),
    "unicode": ("{{ emoji }}\x00", "😀\x00"),
}
VARIABLES = {
    "name": "Bob",
    "nothing": None,
    "n": 1,
    "f": 5.0,
    "yes": True,
    "xs": [1, "a"],
    "d": {"k": None},
    "html": "<b>&</b>",
    "emoji": "😀",
}


@pytest.mark.parametrize("name", CASES)
async def test_renders_as_plain_jinja(name: str) -> None:
    template, expected = CASES[name]
    assert await render(template, **VARIABLES) == expected


async def test_the_output_limit_counts_characters() -> None:
    assert await render("{{ 'é' * 10 }}", max_chars=10) == "é" * 10
    error = await failure("{{ 'é' * 11 }}", max_chars=10)
    assert error.type == "TemplateError" and "longer than 10 characters" in error.message


async def test_large_variables_and_results_pass() -> None:
    text = "x" * 390_000
    assert await render("{{ text }}", text=text) == text


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("a\n{% for %}", "line 2: TemplateSyntaxError"),
        ("a\nb\n{{ n.a.b }}", "line 3: UndefinedError"),
        ("{{ 1 / 0 }}", "line 1: ZeroDivisionError: division by zero"),
        ("{% include 'x' %}", "no loader"),
        ("{{ [1, 2] | random }}", "random"),
        ("{{ lipsum() }}", "lipsum"),
        ("{{ '\\ud800' }}", "surrogate"),
    ],
)
async def test_failures_name_the_line_and_the_reason(template: str, words: str) -> None:
    error = await failure(template, n=1)
    assert error.type == "TemplateError"
    assert words in error.message


async def test_two_hundred_renders_at_once() -> None:
    texts = await asyncio.gather(*(render("{{ i }}:{{ i * i }}", i=i) for i in range(200)))
    assert texts == [f"{i}:{i * i}" for i in range(200)]


async def test_many_different_templates_pass_the_cache() -> None:
    body = "x" * 10_000
    for i in range(150):
        assert (await render(f"{i}{body}{{{{ v }}}}", v=i)).endswith(f"x{i}")


async def test_a_killed_idle_child_is_replaced() -> None:
    await close_pools()
    before = {child.pid for child in psutil.Process().children()}
    assert await render("a") == "a"
    started = [child for child in psutil.Process().children() if child.pid not in before]
    assert started
    for child in started:
        child.kill()
    assert await render("b") == "b"


async def test_it_is_an_activity() -> None:
    request = RenderTemplate(template="{{ a }}", variables={"a": 1})
    assert (await ActivityEnvironment().run(render_template, request)).text == "1"


async def test_a_template_may_fill_its_own_lists() -> None:
    request = RenderTemplate(template="{% set _ = xs.append(2) %}{{ xs }}", variables={"xs": [1]})
    assert [(await render_template(request)).text for _ in range(2)] == ["[1, 2]", "[1, 2]"]
