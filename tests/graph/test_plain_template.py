"""Plain templates are filled as Jinja2 would; all others are left to it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2.sandbox import SandboxedEnvironment

from perdure_graph.plain_template import fill

JINJA = SandboxedEnvironment()
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abk"), inner), max_leaves=6
)
PIECES = st.sampled_from(
    [
        "{{ x }}",
        "{{x}}",
        "{{ y.a }}",
        "{{ y.a.b }}",
        "{{ gone }}",
        "\n",
        " ",
        "{",
        "}",
        "}}",
        "{ {x} }",
        "$",
        "é",
        "{{ y.items }}",
        "{{ x | upper }}",
        "{% if x %}a{% endif %}",
        "{# no #}",
        "{{- x -}}",
        "{{ x[0] }}",
        "{{ 'x' }}",
        "{{ none }}",
        "{{ range }}",
    ]
)


@given(st.lists(PIECES | st.text(max_size=4), max_size=6), VALUES, st.dictionaries(st.sampled_from("abk"), VALUES))
def test_what_is_filled_equals_what_jinja_renders(pieces: list[str], x: Any, y: dict[str, Any]) -> None:
    template = "".join(pieces)
    text = fill(template, {"x": x, "y": y})
    if text is not None:
        assert text == JINJA.from_string(template).render(x=x, y=y)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("Hello, {{ x }}!", "Hello, 1.5!"),
        ("{{ y.a }}{{ y.b }}\n", "None[1, 'z']"),
        ("{{gone}}.\n\n", ".\n"),
        ("no braces", "no braces"),
    ],
)
def test_plain_ones_are_filled_here(template: str, text: str) -> None:
    assert fill(template, {"x": 1.5, "y": {"a": None, "b": [1, "z"]}}) == text


@pytest.mark.parametrize(
    "template",
    [
        "{{ x|int }}",
        "{% set a = 1 %}",
        "{# c #}",
        "{{- x }}",
        "{{ x",
        "{{ y.items }}",
        "{{ y.gone }}",
        "{{ x.real }}",
        "{{ _.a }}",
        "a\r\nb",
        "{{ x.__class__ }}",
        "{{ range }}",
        "{{ true }}",
        "{{ gone.a }}",
        "{{ x() }}",
        "{{ x + 1 }}",
        "{{ 'a' }}",
    ],
)
def test_all_others_are_left_to_the_engine(template: str) -> None:
    assert fill(template, {"x": 1, "y": {"a": 1}}) is None
