"""docs/model-faults.md and the cases agree."""

from __future__ import annotations

from models.faults.page import PAGE, line, verdicts_of
from models.faults.table import ALL_PLAYED, ROWS


def test_the_page_has_every_case_as_it_is_and_none_fails() -> None:
    text = PAGE.read_text(encoding="utf-8")
    found = verdicts_of(text)
    assert set(found) == {played.id for played in ALL_PLAYED}
    assert set(found.values()) == {"pass"}
    lines = set(text.splitlines())
    missing = [played.id for played in ALL_PLAYED if line(played, "pass") not in lines]
    assert missing == [], "write it anew: PYTHONPATH=tests python -m models.faults.write"


def test_the_page_names_every_row() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"\n## {row}. {name}\n" in text for row, name in ROWS.items())
