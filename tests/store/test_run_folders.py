"""The folders of runs go with their runs: of those that are over and old, never through a link."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from store.logs import attended, meta
from store.test_cli import store_command

from fakes.command_line import Done
from perdure_graph.errors import PlatformError
from perdure_store.database import parse
from perdure_store.read import Store
from perdure_store.recorder import Recorder
from perdure_store.retention import DAY_MS, Removed, retain
from perdure_store.run_folders import RunFolders, folder_of

NAMED, ODD = "old-1", "old/../../2"
ATTENDED = attended()


def finished(at: int) -> dict[str, object]:
    return {"type": "run_finished", "seq": 1, "at": at, "status": "succeeded", "outputs": {}}


@pytest.fixture
async def filled(recorder: Recorder) -> None:
    """Two runs that ended long ago, one with an id that is no name; one that goes on; one that ended a day later."""
    for run_id in (NAMED, ODD):
        assert await recorder.record(meta(run_id, "", [finished(1000)])) == "yes"
    assert await recorder.record(meta("open", "", [event for _, event in ATTENDED][:20])) == "yes"
    assert await recorder.record(meta("late", "", [finished(1000 + DAY_MS)])) == "yes"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder for each, and for a run that nobody knows; what else may lie beside them."""
    root = tmp_path / "runs"
    for run_id in (NAMED, ODD, "open", "late", "unknown"):
        folder = folder_of(root, run_id)
        (folder / "notes").mkdir(parents=True)
        (folder / "notes" / "plan.md").write_text(run_id)
    (root / "README").write_text("not of a run")
    return root


def there(runs: Path) -> set[str]:
    return {entry.name for entry in runs.iterdir()}


@pytest.mark.usefixtures("filled")
async def test_the_command_removes_the_folders_of_the_runs_that_it_removes(
    url: str, store: Store, runs: Path, tmp_path: Path
) -> None:
    async def clear(*arguments: object, **more: str) -> Done:
        done = await store_command("retention", "--days", "1", *arguments, folder=tmp_path, PERDURE_STORE=url, **more)
        assert done.code == 0, done.err
        return done

    before = there(runs)
    gone = {folder_of(runs, run_id) for run_id in (NAMED, ODD, "late")}
    dry = await clear("--dry-run", "--runs-dir", runs)
    assert {line.strip() for line in dry.out.splitlines()[1:]} == {str(folder) for folder in gone}
    assert "3 folders" in dry.out.splitlines()[0]
    assert there(runs) == before
    without = await clear("--dry-run")
    assert "folders of runs stay" in without.out and "--runs-dir" in without.out
    assert (await clear("--dry-run", "--json")).json["folders"] is None
    told = (await clear("--json", PERDURE_RUNS_DIR=str(runs))).json
    assert (told["runs"], told["folders"], told["left"]) == (3, 3, {})
    assert there(runs) == before - {folder.name for folder in gone} == {"open", "unknown", "README"}
    assert {run.id for run in await store.runs()} == {"open"}
    again = await clear("--runs-dir", runs)
    assert "0 folders" in again.out


@pytest.mark.usefixtures("filled")
async def test_without_the_setting_folders_stay_and_nothing_is_said(url: str, runs: Path, tmp_path: Path) -> None:
    before = there(runs)
    done = await store_command("retention", "--days", "1", folder=tmp_path, PERDURE_STORE=url, PERDURE_RUNS_DIR="")
    assert (done.code, "folder" in done.out + done.err) == (0, False), done.err
    assert there(runs) == before


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("at_once", [1, 100])
async def test_only_folders_of_runs_that_are_old_go(url: str, runs: Path, at_once: int) -> None:
    before, folders = there(runs), RunFolders(runs)
    removed = await retain(parse(url), days=1, folders=folders, at_once=at_once, now=1000 + DAY_MS + 1)
    assert removed == Removed(runs=2, events=2)
    assert before - there(runs) == {folder_of(runs, run_id).name for run_id in (NAMED, ODD)}
    assert (len(folders.found), folders.left) == (2, {})


@pytest.mark.usefixtures("filled")
async def test_links_are_not_followed_and_a_run_whose_folder_is_one_stays(
    url: str, store: Store, runs: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    # Within a folder a link goes, and what it leads to stays.
    (folder_of(runs, ODD) / "notes" / "out").symlink_to(outside)
    shutil.rmtree(folder_of(runs, NAMED))
    folder_of(runs, NAMED).symlink_to(outside)
    arguments = ("retention", "--days", "1", "--runs-dir", runs)
    done = await store_command(*arguments, folder=tmp_path, PERDURE_STORE=url)
    assert done.code == 1
    assert f"{runs / NAMED} cannot be removed (it is a link, or a file), so its run stays too" in done.err
    assert (outside / "kept").read_text() == "kept"
    assert not folder_of(runs, ODD).exists()
    assert {run.id for run in await store.runs()} == {NAMED, "open"}
    folder_of(runs, NAMED).unlink()
    done = await store_command(*arguments, folder=tmp_path, PERDURE_STORE=url)
    assert (done.code, {run.id for run in await store.runs()}) == (0, {"open"})


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("at_once", [1, 2])
async def test_a_folder_that_cannot_be_removed_keeps_its_run_and_no_other(
    url: str, store: Store, runs: Path, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    removing = shutil.rmtree

    def refusing(folder: Path) -> None:
        if folder.name == NAMED:
            raise PermissionError(13, "Permission denied")
        removing(folder)

    monkeypatch.setattr(shutil, "rmtree", refusing)
    folders = RunFolders(runs)
    removed = await retain(parse(url), days=1, folders=folders, at_once=at_once)
    assert (removed.runs, folders.left) == (2, {runs / NAMED: "Permission denied"})
    assert {run.id for run in await store.runs()} == {NAMED, "open"}
    monkeypatch.undo()
    assert (await retain(parse(url), days=1, folders=RunFolders(runs))).runs == 1
    assert there(runs) == {"open", "unknown", "README"}


@pytest.mark.usefixtures("filled")
async def test_a_folder_that_is_not_there_is_said_and_a_file_is_refused(url: str, runs: Path, tmp_path: Path) -> None:
    command = ("retention", "--days", "1", "--dry-run", "--runs-dir")
    nowhere = await store_command(*command, tmp_path / "nowhere", folder=tmp_path, PERDURE_STORE=url)
    assert (nowhere.code, f"there is no folder {tmp_path}/nowhere" in nowhere.out) == (0, True)
    file = await store_command(*command, runs / "README", folder=tmp_path, PERDURE_STORE=url)
    assert (file.code, "is no folder" in file.err) == (1, True)
    with pytest.raises(PlatformError, match="PERDURE_RUNS_DIR"):
        RunFolders(runs / "README")
