"""Hostile templates: no way to Python's insides, and nothing that holds up the templates of others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from perdure_activities.sandbox import close_pools
from perdure_activities.template import render_template
from perdure_graph.effects import RenderTemplate


@pytest.fixture(scope="module", autouse=True)
async def pools() -> AsyncIterator[None]:
    yield
    await close_pools()


async def failure(template: str, timeout_s: float = 5.0, **variables: Any) -> ApplicationError:
    with pytest.raises(ApplicationError) as caught:
        await render_template(RenderTemplate(template=template, variables=variables, timeout_s=timeout_s))
    assert caught.value.non_retryable
    return caught.value


async def works() -> bool:
    return (await render_template(RenderTemplate(template="{{ a }}", variables={"a": 1}))).text == "1"


ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''['__class__']['__mro__'][1]['__subclasses__']() }}",
    "{{ (''|attr('__class__')).__mro__ }}",
    "{{ ''|attr('\\x5f\\x5fclass\\x5f\\x5f')|attr('mro')() }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ self.__init__.__globals__ }}{{ self._TemplateReference__context.eval_ctx.environment.globals.x.y }}",
    "{{ '{0.__class__.__mro__}'.format(1) }}",
    "{{ '{a.__class__.__init__.__globals__}'.format_map({'a': 1}) }}",
    "{{ ['{0.__class__.__base__}'.format][0](1) }}",
    "{% for c in [1]|map(attribute='__class__') %}{{ c.__base__ }}{% endfor %}",
    "{{ range.__class__.mro() }}",
    "{{ joiner.__call__.__code__.co_consts[0] }}",
]


@pytest.mark.parametrize("template", ESCAPES)
async def test_no_way_to_the_insides(template: str) -> None:
    error = await failure(template, xs=[1])
    assert error.type == "TemplateError"
    assert "SecurityError" in error.message or "UndefinedError" in error.message


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 7 ** (7 ** 12) }}",
        "{% macro m() %}{% for i in range(99999) %}{{ m2(i) }}{% endfor %}{% endmacro %}"
        "{% macro m2(i) %}{% for j in range(99999) %}{% endfor %}{% endmacro %}{{ m() }}",
    ],
)
async def test_endless_templates_are_ended(template: str) -> None:
    assert (await failure(template, timeout_s=0.7)).type == "TemplateTimeoutError"
    assert await works()


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ 'a' * 10 ** 9 }}", "too much memory"),
        ("{{ 'a' * 10 ** 8 }}", "longer than"),
        ("{% for a in range(1000) %}{% for b in range(1000) %}aaaaaaaaaa{% endfor %}{% endfor %}", "longer than"),
        ("{{ range(10 ** 12) | list }}", "Range too big"),
        ("{% for a in range(10 ** 12) %}{% endfor %}", "Range too big"),
        ("{{ '%1000000000d' % 1 }}", "too much memory"),
        (
            "{% set x = namespace(s='a') %}{% for i in range(60) %}{% set x.s = x.s ~ x.s %}{% endfor %}",
            "too much memory",
        ),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "RecursionError"),
    ],
)
async def test_greedy_templates_fail(template: str, words: str) -> None:
    error = await failure(template)
    assert error.type == "TemplateError"
    assert words in error.message
    assert await works()


async def test_hostile_templates_do_not_spoil_those_beside_them() -> None:
    hostile = [failure("{{ 'a' * 10 ** 9 }}") for _ in range(4)] + [failure("{{ 7 ** (7 ** 12) }}", timeout_s=0.5)]
    good = [works() for _ in range(40)]
    outcome = await asyncio.gather(*hostile, *good)
    assert all(value is True for value in outcome[len(hostile) :])


async def test_nothing_is_left_for_the_next_template() -> None:
    request = RenderTemplate(template="{% set leak = 5 %}{% macro m() %}{% endmacro %}{{ leak }}", variables={"v": 1})
    await render_template(request)
    text = (await render_template(RenderTemplate(template="[{{ leak }}{{ v }}{{ m }}]", variables={}))).text
    assert text == "[]"
