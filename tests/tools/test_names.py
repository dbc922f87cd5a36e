"""Names that providers take: reversible, deterministic, and as close to the tool's own as can be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from perdure_activities.tools.names import is_allowed, safe_names


@given(
    st.lists(st.one_of(st.text(max_size=80), st.sampled_from(["a.b", "a_b", "a b", "", "天气", "查询", "a_b_x" * 20])))
)
def test_any_names_map_back(names: list[str]) -> None:
    safe = safe_names(names)
    assert all(is_allowed(name) for name in safe)
    assert len(set(safe)) == len(names)
    assert safe_names(names) == safe
    assert all(
        mine == name for mine, name in zip(safe, names, strict=True) if is_allowed(name) and names.count(name) == 1
    )


def test_what_is_allowed_stays_and_dots_become_lines() -> None:
    assert safe_names(["math.add", "get-user", "search"]) == ("math_add", "get-user", "search")


def test_names_that_would_be_the_same_are_told_apart_in_any_order() -> None:
    there, back = safe_names(["a.b", "a b", "a_b"]), safe_names(["a_b", "a b", "a.b"])
    assert there[2] == "a_b"
    assert there == back[::-1]
    assert there[0].startswith("a_b_")
    assert len({*there}) == 3


def test_two_tools_of_one_name() -> None:
    first, second = safe_names(["search", "search"])
    assert first == "search"
    assert second.startswith("search_")


def test_long_names_and_names_without_letters() -> None:
    long, chinese = safe_names(["x" * 90, "天气"])
    assert long.startswith("xxx")
    assert len(long) == 64
    assert chinese.startswith("tool_")
