"""docs/complaints.md and the tests agree: every complaint that was promised has tests, and each of them is there."""

from __future__ import annotations

import ast
import re
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "complaints.md"
PROMISED = (1, *range(3, 9), *range(10, 31), 34, 36, 37, 39, 40)

ROW = re.compile(r"^\| (\d+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
NAMED = re.compile(r"`([^`\s]+\.py)::(\w+)`")
NUMBERS = re.compile(r"test_complaint_(\d+(?:_and_\d+)*)_")
# Fixtures that give a server with a worker: what only calls functions is no proof on its own.
DOORS = {"perdure", "mortal", "own_worker", "own", "days", "stack", "worker_settings"}


def table() -> dict[int, list[tuple[str, str]]]:
    """The tests of each complaint, by file and name."""
    rows = ROW.findall(PAGE.read_text(encoding="utf-8"))
    assert len({number for number, *_ in rows}) == len(rows)
    return {int(number): NAMED.findall(tests) for number, _complaint, _promise, tests in rows}


@cache
def functions_of(path: Path) -> dict[str, set[str]]:
    """The test functions of a file and what each asks for."""
    found = ast.parse(path.read_text(encoding="utf-8")).body
    functions = [each for each in found if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {each.name: {argument.arg for argument in each.args.args} for each in functions if "test_" in each.name[:5]}


def numbers(test: str) -> set[int]:
    """The complaints that a test names."""
    found = NUMBERS.match(test)
    return {int(number) for number in found[1].split("_and_")} if found else set()


def test_the_table_has_every_complaint_that_was_promised_in_order() -> None:
    assert tuple(table()) == PROMISED
    assert all(a < b for a, b in pairwise(PROMISED))


@pytest.mark.parametrize("complaint", PROMISED)
def test_the_tests_of_a_complaint_exist_and_name_it(complaint: int) -> None:
    named = table()[complaint]
    assert named
    doors: set[str] = set()
    for path, test in named:
        assert test in functions_of(TESTS / path), f"docs/complaints.md names {path}::{test}, which does not exist"
        assert complaint in numbers(test), test
        doors |= functions_of(TESTS / path)[test] & DOORS
    assert doors, "one of them at least goes through a client and a worker"


@pytest.mark.parametrize("path", sorted(TESTS.rglob("test_*.py")), ids=lambda path: str(path.relative_to(TESTS)))
def test_a_test_that_names_a_complaint_is_of_one_in_the_table(path: Path) -> None:
    named = {number for test in functions_of(path) for number in numbers(test)}
    assert named <= set(PROMISED)
    if path.parent == Path(__file__).parent and path != Path(__file__):
        assert all(numbers(test) for test in functions_of(path)), "each test here names its complaint"
