"""Histories of every release are replayed with the code of today: runs that they began can go on with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from replay.golden import SCENARIOS
from temporalio.client import WorkflowHistory

from perdure_graph.effects import RunCode
from perdure_payloads import data_converter
from perdure_worker.replay import Replayed, read_histories, replay

VERSIONS = sorted((Path(__file__).parent / "histories").iterdir())


async def replayed(folder: Path) -> dict[str, list[Replayed]]:
    """Replay all histories of a version, by scenario."""

    async def given(histories: list[WorkflowHistory]) -> AsyncIterator[WorkflowHistory]:
        for history in histories:
            yield history

    found: dict[str, list[Replayed]] = {}
    for scenario in sorted(folder.iterdir()):
        histories = read_histories(sorted(scenario.glob("*.json")))
        found[scenario.name] = [result async for result in replay(given(histories), data_converter())]
        assert len(found[scenario.name]) == len(histories)
    return found


@pytest.mark.parametrize("folder", VERSIONS, ids=lambda folder: folder.name)
async def test_the_histories_of_a_release_can_be_replayed(folder: Path) -> None:
    results = await replayed(folder)
    assert {f"{name}: {result.error}" for name, all_ in results.items() for result in all_ if result.error} == set()
    assert set(results) >= set(SCENARIOS)
    assert {"GraphRun", "IterationWindow"} <= {result.workflow_type for all_ in results.values() for result in all_}


def no_timers(state: object, now: int) -> list[Any]:
    """A run that goes on forgets its timers."""
    return []


CHANGES = {
    "another effect": (
        (RunCode, "activity", "run_script"),
        {"everything", "windows", "stopped", "moved", "failing", "forked"},
        r"the run has activity type 'run_code', this code 'run_script'",
    ),
    "no timers": (
        ("perdure_graph.timers.armed", no_timers),
        {"moved"},
        r"at event \d+ the run started a timer, this code",
    ),
    "other names of effects": (
        ("perdure_graph.lifecycle.effect_key", None),
        set[str](),
        "",
    ),
}


@pytest.mark.parametrize("change", ["another effect", "no timers"])
async def test_changed_code_is_refused_where_it_differs_and_says_how(
    change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch, scenarios, words = CHANGES[change]
    monkeypatch.setattr(*patch)
    results = await replayed(VERSIONS[-1])
    refused = {name for name, all_ in results.items() if any(result.error for result in all_)}
    assert refused == scenarios
    assert all(not result.deterministic for all_ in results.values() for result in all_ if result.error)
    (first, *_) = [result.error for name in sorted(refused) for result in results[name] if result.error]
    import re

    assert re.search(words, first)
