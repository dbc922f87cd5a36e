"""Histories of every release are replayed with the code of today: runs that they began can go on with it."""

from __future__ import annotations

import re
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


@pytest.mark.parametrize(
    ("patch", "scenarios", "words"),
    [
        (
            (RunCode, "activity", "run_script"),
            set(SCENARIOS),
            "the run has activity type 'run_code', this code 'run_script'",
        ),
        (("perdure_workflows.shell.armed", no_timers), {"moved"}, r"at event \d+ the run started a timer, this code"),
    ],
    ids=["another effect", "lost timers"],
)
async def test_changed_code_is_refused_where_it_differs_and_says_how(
    patch: tuple[Any, ...], scenarios: set[str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*patch)
    results = await replayed(VERSIONS[-1])
    refused = {name: [result for result in all_ if result.error] for name, all_ in results.items()}
    assert {name for name, found in refused.items() if found} == scenarios
    for found in refused.values():
        assert not any(result.deterministic for result in found)
        assert found == [] or any(re.search(words, result.error or "") for result in found)
