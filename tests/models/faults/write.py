"""Play the whole table and write docs/model-faults.md; exit with 1 when anything fails.

PYTHONPATH=tests python -m models.faults.write
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from perdure_worker.settings import WorkerSettings

from .matrix import play_all
from .page import PAGE, page
from .table import ALL_PLAYED


async def main() -> int:
    began = time.monotonic()
    settings = WorkerSettings(address=None, db=None, ui_port=None, graceful_shutdown_s=1.0)
    with tempfile.TemporaryDirectory() as folder:
        verdicts = await play_all(settings, Path(folder))
    PAGE.write_text(page(verdicts), encoding="utf-8")
    wrong = {played.id: [str(c) for c in verdicts[played.id] if not c.holds] for played in ALL_PLAYED}
    wrong = {name: checks for name, checks in wrong.items() if checks}
    for name, checks in wrong.items():
        print(name, *checks, sep="\n    ")
    print(f"{len(verdicts) - len(wrong)} of {len(verdicts)} cases pass ({time.monotonic() - began:.0f} s): {PAGE.name}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
