"""The folders of runs, where their tools read and write files: how they are named, and how they go with their runs."""

from __future__ import annotations

import hashlib
import re
import shutil
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from perdure_graph.errors import PlatformError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


def folder_of(runs_dir: Path, run_id: str) -> Path:
    """Give the folder of a run, whose id may be any text; two runs never share one."""
    if _NAME.fullmatch(run_id):
        return runs_dir / run_id
    return runs_dir / f"~{hashlib.sha256(run_id.encode('utf-8', 'replace')).hexdigest()[:32]}"


class RunFolders:
    """The folders below `runs_dir` of runs that are over, by their ids; no other one is touched, nor a link followed.

    found: folders that went, or would go. left: those that stay, and why.

    Raises:
        PlatformError: `runs_dir` is no folder. One that is not there holds none.
    """

    def __init__(self, runs_dir: Path) -> None:
        if runs_dir.exists() and not runs_dir.is_dir():
            raise PlatformError(f"{runs_dir} is no folder. Name the one that workers have as PERDURE_RUNS_DIR.")
        self.runs_dir = runs_dir
        self.found: list[Path] = []
        self.left: dict[Path, str] = {}

    def look(self, run_ids: Iterable[str]) -> None:
        """Find folders; nothing is removed."""
        self._each(run_ids, lambda _folder: None)

    def remove(self, run_ids: Iterable[str]) -> set[str]:
        """Remove folders, with all that is in them; gives the runs whose folder stays."""
        return self._each(run_ids, _remove)

    def _each(self, run_ids: Iterable[str], act: Callable[[Path], None]) -> set[str]:
        stay: set[str] = set()
        for run_id in run_ids:
            folder = folder_of(self.runs_dir, run_id)
            try:
                if _is_there(folder):
                    act(folder)
                    self.found.append(folder)
            except OSError as error:
                self.left[folder] = error.strerror or str(error)
                stay.add(run_id)
        return stay


def _is_there(folder: Path) -> bool:
    try:
        mode = folder.lstat().st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISDIR(mode):
        raise OSError("it is a link, or a file")
    return True


def _remove(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except OSError:
        # Somebody else who clears may have been faster.
        if _is_there(folder):
            raise
