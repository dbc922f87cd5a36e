"""Every row of the fault table, on every wire where it applies (docs/model-faults.md)."""

from __future__ import annotations

import pytest
from models.faults.case import Played
from models.faults.matrix import Verdicts, play_all
from models.faults.table import ALL_PLAYED, CASES, ROWS

from perdure_worker.embedded import EmbeddedStack
from perdure_worker.settings import WorkerSettings

# All are played by the first that asks: one process of the test run is to have them.
pytestmark = pytest.mark.xdist_group("faults")


@pytest.fixture(scope="module")
async def verdicts(
    stack: EmbeddedStack, worker_settings: WorkerSettings, tmp_path_factory: pytest.TempPathFactory
) -> Verdicts:
    """All of them are played once, side by side."""
    given = {"address": stack.address, "blobs": stack.blobs, "blobs_create": False}
    return await play_all(worker_settings.model_copy(update=given), tmp_path_factory.mktemp("faults"))


@pytest.mark.timeout(400)
@pytest.mark.parametrize("played", ALL_PLAYED, ids=[played.id for played in ALL_PLAYED])
async def test_a_row_of_the_table(played: Played, verdicts: Verdicts) -> None:
    checks = verdicts[played.id]
    assert checks
    assert [str(check) for check in checks if not check.holds] == []


def test_every_row_has_a_case_on_both_adapters_where_it_applies() -> None:
    assert {case.row for case in CASES} == set(ROWS) == set(range(1, 43))
    # Chat Completions alone has servers with odd calls.
    for row in set(ROWS) - {31}:
        wires = {wire for case in CASES for wire in case.wires if case.row == row}
        assert {"openai-chat", "anthropic-messages"} <= wires, row
    assert len({played.id for played in ALL_PLAYED}) == len(ALL_PLAYED)
